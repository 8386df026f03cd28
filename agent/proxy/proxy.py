"""The service proxy: keeps this node's rules what the cluster's Services and the node's host ports ask for.

Shell and loop. Informer notices mark Services as changed; one task plans those again and applies them, one
transaction per IP family; what changes meanwhile is gathered for the next. Where there are rules, nothing is
programmed before both informers have synced, so that a restart never puts an empty ruleset over a full one;
and rules stay when the agent stops. Somebody else's edits of our rules are noticed and mended. Called by
`agent.app`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from typing import Final, Protocol, TypeVar

from agent.pods.ports import PodDirectory, RunningPod
from agent.proxy.backends import Backends, build_ruleset_settings, choose_backends, other_backends
from agent.proxy.changes import ServiceChanges
from agent.proxy.drain import LocalDrain
from agent.proxy.lane import FamilyLane
from agent.proxy.plan import ProxyNode, plan_host_ports, plan_service
from agent.settings import AgentSettings, ProxyMode
from kubeapi.backoff import Backoff
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import Object, ObjectKey
from netrules.conntrack_client import remove_stale_flows
from netrules.errors import RulesError, RulesUnsupported
from netrules.iptables.backend import IptablesBackend
from netrules.model import Family
from netrules.nftables.backend import NftablesBackend
from netrules.nftables.monitor import NftablesMonitor
from netrules.services import Intent

ObjectT = TypeVar("ObjectT", bound=Object)
ResultT = TypeVar("ResultT")

_RETRY: Final = Backoff(initial_seconds=0.5, maximum_seconds=30.0)
_PATIENCE_SECONDS: Final = 10.0
_VERIFY_SECONDS: Final = {"nftables": 300.0, "iptables": 30.0}
"""nftables tells us of every change, so this only covers what nobody thought of; iptables tells nothing."""

logger = logging.getLogger(__name__)


class ObjectSource(Protocol[ObjectT]):
    """What the proxy needs of an informer."""

    async def wait_until_synced(self) -> None: ...

    def get(self, key: ObjectKey) -> ObjectT | None: ...

    def objects(self) -> Mapping[ObjectKey, ObjectT]: ...

    def subscribe(self, handler: Callable[[Change[ObjectT]], None]) -> None: ...


class Proxy:
    """`run` until cancelled; `remove` takes all of our rules out of the kernel, for `berth reset`."""

    def __init__(
        self,
        services: ObjectSource[Service],
        slices: ObjectSource[EndpointSlice],
        directory: PodDirectory,
        settings: AgentSettings,
        drain: LocalDrain,
    ) -> None:
        self._services = services
        self._slices = slices
        self._directory = directory
        self._mode = settings.proxy_mode
        self._rules = build_ruleset_settings(settings.cluster_cidr)
        self._node = ProxyNode(settings.node_name, settings.cluster_dns)
        self._changes = ServiceChanges(settings.node_name)
        self._drain = drain
        self._pods_changed = False
        self._verify_due = False
        self._wake = asyncio.Event()
        self._lanes: tuple[FamilyLane, ...] = ()
        self._pod_owners: frozenset[str] = frozenset()
        self._failures = 0

    async def run(self) -> None:
        if self._mode is ProxyMode.NONE:
            return
        self._subscribe()
        backends = await self._until_done(lambda: choose_backends(self._mode, self._rules))
        self._lanes = tuple(
            FamilyLane(settings.family, backend, remove_stale_flows)
            for settings, backend in zip(self._rules, backends, strict=True)
        )
        with ExitStack() as stack:
            for backend in backends:
                stack.callback(backend.close)
            has_rules = await self._until_done(lambda: self._has_rules(backends))
            await self._wait_for_services(None if has_rules else _PATIENCE_SECONDS)
            await self._until_done(self._load)
            await self._remove_rules_of_other_mode(backends)
            self._watch_kernel(backends, stack)
            while True:
                await self._wait(_verify_period(backends))
                await self._until_done(self._catch_up)

    async def remove(self) -> None:
        """Removes exactly our rules, of both kinds; nothing there is success. Raises RulesError."""
        for settings in self._rules:
            for backend in (NftablesBackend(settings), IptablesBackend(settings)):
                with closing(backend), suppress(RulesUnsupported):
                    await backend.remove()

    async def _has_rules(self, backends: Backends) -> bool:
        """Whether the kernel holds rules of ours, of whichever kind; after a reboot it holds none."""
        if any([(await backend.read()).tables for backend in backends]):
            return True
        for backend in other_backends(backends, self._rules):
            with closing(backend), suppress(RulesUnsupported):
                if (await backend.read()).tables:
                    return True
        return False

    async def _wait_for_services(self, patience_seconds: float | None) -> None:
        """With rules in place, as long as it takes. Without, there is nothing to lose: host ports and
        masquerading don't need an API server that is away.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await self._services.wait_until_synced()
                await self._slices.wait_until_synced()

    # --- noticing -------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        self._services.subscribe(self._on_service)
        self._slices.subscribe(self._on_slice)
        self._directory.subscribe_running(self._on_pods)

    def _on_service(self, change: Change[Service]) -> None:
        self._changes.note_service(change)
        self._wake.set()

    def _on_slice(self, change: Change[EndpointSlice]) -> None:
        self._changes.note_slice(change)
        self._wake.set()

    def _on_pods(self) -> None:
        self._pods_changed = True
        self._wake.set()

    def _on_kernel_change(self) -> None:
        self._verify_due = True
        self._wake.set()

    def _watch_kernel(self, backends: Backends, stack: ExitStack) -> None:
        ours = tuple(backend for backend in backends if isinstance(backend, NftablesBackend))
        if ours:
            monitor = NftablesMonitor(lambda: (backend.port_id for backend in ours), self._on_kernel_change)
            stack.enter_context(monitor)

    async def _wait(self, verify_seconds: float) -> None:
        try:
            async with asyncio.timeout(verify_seconds):
                await self._wake.wait()
        except TimeoutError:
            self._verify_due = True

    # --- applying -------------------------------------------------------------------------------------------

    async def _until_done(self, step: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """The step's result, tried again with growing pauses while the kernel or its tools refuse it."""
        while True:
            try:
                result = await step()
            except RulesError as error:
                delay = _RETRY.delay(self._failures, random.random())
                self._failures += 1
                logger.warning(
                    "service rules could not be applied, trying again",
                    extra={"error": str(error), "attempt": self._failures, "retry_seconds": delay},
                )
                await asyncio.sleep(delay)
            else:
                self._failures = 0
                return result

    async def _load(self) -> None:
        """The first load, from everything that is known; later notices come as changes."""
        self._wake.clear()
        self._pods_changed = False
        running = self._directory.running_pods()
        self._drain.choose(running, self._changes)
        self._changes.take()
        pods = {f"pod {pod.uid}": pod for pod in running}
        for lane in self._lanes:
            wanted = dict(self._plan_everything(lane.family))
            wanted.update((owner, plan_host_ports(pod, lane.family)) for owner, pod in pods.items())
            await lane.load(wanted)
        self._pod_owners = frozenset(pods)
        self._drain.note_applied()
        logger.info("service rules loaded", extra={"services": len(self._services.objects())})

    def _plan_everything(self, family: Family) -> Iterator[tuple[str, tuple[Intent, ...]]]:
        for key in self._services.objects():
            yield _owner(key), self._plan(key, family)

    def _plan(self, key: ObjectKey, family: Family) -> tuple[Intent, ...]:
        service = self._services.get(key)
        if service is None:
            return ()
        return plan_service(service, self._changes.slices(key), self._node, family, self._drain.draining)

    async def _catch_up(self) -> None:
        """Plans what changed and applies it; changes that arrive meanwhile wait for the next round."""
        self._wake.clear()
        running = self._directory.running_pods()
        self._drain.choose(running, self._changes)
        changed = self._changes.take()
        for lane in self._lanes:
            for key in changed:
                lane.set_intents(_owner(key), self._plan(key, lane.family))
        if self._pods_changed:
            self._pods_changed = False
            self._plan_pods(running)
        if self._verify_due:
            self._verify_due = False
            for lane in self._lanes:
                lane.doubt()
        for lane in self._lanes:
            await lane.apply_changes()
        self._drain.note_applied()

    def _plan_pods(self, running: Collection[RunningPod]) -> None:
        pods = {f"pod {pod.uid}": pod for pod in running}
        for lane in self._lanes:
            for owner in self._pod_owners - pods.keys():
                lane.set_intents(owner, ())
            for owner, pod in pods.items():
                lane.set_intents(owner, plan_host_ports(pod, lane.family))
        self._pod_owners = frozenset(pods)

    async def _remove_rules_of_other_mode(self, chosen: Backends) -> None:
        """Only now that the new rules are in; what cannot be removed is told and left."""
        for backend in other_backends(chosen, self._rules):
            with closing(backend):
                try:
                    await backend.remove()
                except RulesUnsupported:
                    continue
                except RulesError:
                    logger.warning("rules of another proxy mode could not be removed", exc_info=True)


def _owner(service: ObjectKey) -> str:
    return f"service {service}"


def _verify_period(backends: Backends) -> float:
    is_nftables = any(isinstance(backend, NftablesBackend) for backend in backends)
    return _VERIFY_SECONDS["nftables" if is_nftables else "iptables"]
