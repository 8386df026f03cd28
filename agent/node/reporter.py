"""Registers this machine's Node and keeps its status true.

IO: CRI Status, the machine's facts, and the API server, in one loop with a deadline on each call. Called by
`agent.app`. What is reported is decided in `status`; the node's life sign is `lease`'s, on a task of its own.
A node that isn't ready is looked at often, and at once after a hint, because pods wait for it. What others
wrote over the report is reported again at once: it is compared with the Node as the informer shows it, and,
since a watch may take long to notice that the API server answers again, with the Node as read then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

import msgspec

from agent.node.api import NodeApi
from agent.node.conditions import RuntimeView
from agent.node.facts import MachineFacts
from agent.node.status import (
    NodeIdentity,
    Observation,
    build_allocatable,
    build_node,
    build_status,
    is_ready,
    is_same_report,
    plan_label_patch,
    shows_report,
)
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.values import RuntimeCondition, RuntimeFeatures, RuntimeImage, RuntimeVersion
from kubeapi.backoff import Backoff
from kubeapi.core import Node, NodeStatus
from kubeapi.errors import KubeAPIError
from kubeapi.meta import QuantityText, format_time, is_newer_version

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 300.0
_EAGER_LOOK_SECONDS: Final = 0.1
_PATIENT_LOOK_SECONDS: Final = 1.0
_EAGER_FOR_SECONDS: Final = 30.0
_IMAGES_SECONDS: Final = 60.0
_RETRY: Final = Backoff(initial_seconds=0.2, maximum_seconds=10.0)


class NodeRuntime(Protocol):
    """The part of CRI that says how the runtime is; raises RuntimeServiceError."""

    async def read_version(self) -> RuntimeVersion: ...

    async def read_conditions(self) -> tuple[RuntimeCondition, ...]: ...

    async def read_features(self) -> RuntimeFeatures: ...

    async def list_images(self) -> tuple[RuntimeImage, ...]: ...


class NodeReporter:
    """`clock` answers the time of day; `read_facts` reads the machine."""

    def __init__(
        self,
        api: NodeApi,
        runtime: NodeRuntime,
        identity: NodeIdentity,
        read_facts: Callable[[], MachineFacts],
        clock: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._runtime = runtime
        self._identity = identity
        self._read_facts = read_facts
        self._clock = clock
        self._find_stall: Callable[[], str] = str  # knows of none
        self._facts: MachineFacts | None = None
        self._node: Node | None = None
        self._seen: Node | None = None
        self._must_read = False
        self._reported: NodeStatus | None = None
        self._reported_at = float("-inf")
        self._version: RuntimeVersion | None = None
        self._features: RuntimeFeatures | None = None
        self._images: tuple[RuntimeImage, ...] = ()
        self._images_at = float("-inf")
        self._hint = asyncio.Event()
        self._hinted_at = float("-inf")
        self._registered = asyncio.Event()

    # --- lookups in memory ----------------------------------------------------------------------------------

    @property
    def features(self) -> RuntimeFeatures | None:
        """What the runtime said last that it can do; None before it has said so."""
        return self._features

    @property
    def node(self) -> Node | None:
        """The Node as the API server last answered it; None before the registration."""
        return self._node

    @property
    def node_uid(self) -> str:
        return self._node.metadata.uid if self._node is not None else ""

    @property
    def is_ready(self) -> bool:
        """Whether the last reported status says Ready."""
        return self._reported is not None and is_ready(self._reported)

    def allocatable(self) -> Mapping[str, QuantityText]:
        """What pods may use of this machine."""
        if self._facts is None:
            self._facts = self._read_facts()
        return build_allocatable(self._facts, self._identity.max_pods)

    async def wait_until_registered(self) -> None:
        await self._registered.wait()

    def watch_pods(self, find_stall: Callable[[], str]) -> None:
        """`find_stall` answers why nobody knows how the node's pods are, or nothing: then it isn't Ready."""
        self._find_stall = find_stall

    def look_again(self) -> None:
        """A hint that readiness may have changed, such as a new CNI configuration."""
        self._hint.set()

    def note_node(self, node: Node) -> None:
        """Our Node as the API shows it, at its every change."""
        self._seen = node
        if self._is_overwritten():
            self._hint.set()

    def note_recovery(self) -> None:
        """The API server answers again: who knows what was written meanwhile."""
        self._must_read = True
        self._hint.set()

    # --- the loop -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Registers, then reports until cancelled."""
        failures = 0
        self._hinted_at = asyncio.get_running_loop().time()
        while True:
            try:
                await self.look()
                failures = 0
                delay = self._compute_delay()
            except KubeAPIError as error:
                delay = _RETRY.delay(failures, random.random())
                failures += 1
                _log.warning(
                    "the node's status could not be reported",
                    extra={"attempt": failures, "why": str(error), "retry_seconds": round(delay, 1)},
                )
            await self._wait(delay)

    async def look(self) -> None:
        """Observes once and tells the API server what it doesn't know yet; raises KubeAPIError."""
        observation = await self._observe()
        if self._must_read:
            await self._read_again()
        if self._node is None:
            await self._register(observation)
        status = build_status(self._identity, observation, self._known_status(), format_time(self._clock()))
        loop_time = asyncio.get_running_loop().time()
        same = self._reported is not None and is_same_report(status, self._reported)
        if same and not self._is_overwritten() and loop_time - self._reported_at < HEARTBEAT_SECONDS:
            return
        await self._report(status)
        self._reported_at = loop_time

    async def _report(self, status: NodeStatus) -> None:
        was_ready = self.is_ready
        node = await self._api.patch_node_status(self._identity.name, msgspec.to_builtins(status))
        if node is None:
            # Somebody deleted the Node: register anew at the next look.
            self._node = None
            self._hint.set()
            return
        self._node, self._reported = node, status
        if self.is_ready != was_ready:
            ready = next(each for each in status.conditions if each.type == "Ready")
            _log.info("the node's readiness changed", extra={"ready": ready.status, "why": ready.message})

    async def _register(self, observation: Observation) -> None:
        name = self._identity.name
        node = await self._api.read_node(name)
        if node is None:
            document = build_node(self._identity, observation, format_time(self._clock()))
            node = await self._api.create_node(document)
            _log.info("the node is registered", extra={"node": name})
        elif (patch := plan_label_patch(self._identity, observation.facts, node)) is not None:
            node = await self._api.patch_node(name, patch)
        self._node = node
        self._reported = None
        self._registered.set()

    async def _read_again(self) -> None:
        found = await self._api.read_node(self._identity.name)
        self._must_read = False
        if found is None:
            self._node = None
        else:
            self._seen = found

    def _is_overwritten(self) -> bool:
        """Whether the Node was last written by somebody who doesn't say what we reported."""
        if self._node is None or self._seen is None or self._reported is None:
            return False
        shown, ours = self._seen.metadata.resource_version, self._node.metadata.resource_version
        return is_newer_version(shown, ours) and not shows_report(self._seen.status, self._reported)

    def _known_status(self) -> NodeStatus | None:
        if self._seen is not None and self._is_overwritten():
            return self._seen.status  # it was different for a while: a transition, as the kubelet has it
        return self._reported or (self._node.status if self._node is not None else None)

    async def _observe(self) -> Observation:
        facts = self._facts = self._read_facts()
        try:
            view = RuntimeView(await self._runtime.read_conditions(), stall=self._find_stall())
            if self._version is None:
                await self.read_features()
                self._version = await self._runtime.read_version()
            await self._read_images()
        except RuntimeServiceError as error:
            view = RuntimeView(trouble=str(error))
            # A runtime that comes back may be another version.
            self._version = None
        return Observation(facts, view, self._version, self._images, self._features)

    async def read_features(self) -> None:
        """Asks the runtime what it can do; raises RuntimeServiceError."""
        self._features = await self._runtime.read_features()

    async def _read_images(self) -> None:
        """From time to time; a list that doesn't come says nothing about the pods."""
        now = asyncio.get_running_loop().time()
        if now - self._images_at < _IMAGES_SECONDS:
            return
        self._images_at = now
        try:
            self._images = await self._runtime.list_images()
        except RuntimeServiceError as error:
            _log.warning("the images can't be listed", extra={"error": str(error)})

    def _compute_delay(self) -> float:
        if self.is_ready:
            return LOOK_SECONDS
        waited = asyncio.get_running_loop().time() - self._hinted_at
        return _EAGER_LOOK_SECONDS if waited < _EAGER_FOR_SECONDS else _PATIENT_LOOK_SECONDS

    async def _wait(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._hint.wait()
        except TimeoutError:
            return
        self._hint.clear()
        self._hinted_at = asyncio.get_running_loop().time()
