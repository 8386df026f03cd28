"""Binds a pod to a node, and finds out what became of a binding that got no answer.

Does IO through `kubeapi.client`. Called by `controlplane.scheduler.scheduler`, once for each placement.
Never has two attempts for one pod in flight: after an unknown outcome the pod is looked up until its state
is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.pod import Pod
from kubeapi.resources import PODS

_logger = logging.getLogger(__name__)

MOST_BINDINGS_AT_ONCE: Final = 64
LOOK_UP_BACKOFF: Final = Backoff(initial_seconds=0.1, maximum_seconds=10.0)


@dataclass(frozen=True, slots=True)
class Bound:
    """The pod is on the node that was chosen."""


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """The binding was refused or lost; the pod, as it is now, has no node."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Gone:
    """The pod needs no node from us: deleted, being deleted, or bound elsewhere by somebody else."""


Outcome = Bound | StillWaiting | Gone


class Binder:
    def __init__(self, client: Client, random_source: Callable[[], float]) -> None:
        self._client = client
        self._random = random_source
        self._slots = asyncio.Semaphore(MOST_BINDINGS_AT_ONCE)

    async def bind(self, pod: Pod, node_name: str) -> Outcome:
        """Takes as long as it needs to know the outcome."""
        async with self._slots:
            try:
                await self._send(pod, node_name)
            except KubeAPIError as error:
                self._log(pod, node_name, error)
            else:
                return Bound()
        return await self._find_out(pod, node_name)

    async def _send(self, pod: Pod, node_name: str) -> None:
        meta = pod.metadata
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        await self._client.create(PODS, body, meta.namespace, name=meta.name, subresource="binding")

    async def _find_out(self, pod: Pod, node_name: str) -> Outcome:
        attempt = 0
        while True:
            try:
                live = await self._client.get(PODS, pod.metadata.name, pod.metadata.namespace)
            except ApiStatusError as error:
                if error.is_not_found:
                    return Gone()
            except KubeAPIError as error:
                self._log(pod, node_name, error)
            else:
                return _judge(pod, live, node_name)
            await asyncio.sleep(LOOK_UP_BACKOFF.delay(attempt, self._random()))
            attempt += 1

    def _log(self, pod: Pod, node_name: str, error: KubeAPIError) -> None:
        _logger.warning(
            "A pod's binding failed; the pod is looked up",
            extra={"pod": str(pod.key), "node": node_name, "error": str(error)},
        )


def _judge(pod: Pod, live: Pod, node_name: str) -> Outcome:
    if live.metadata.uid != pod.metadata.uid or live.metadata.deletion_timestamp is not None:
        return Gone()
    if not live.spec.node_name:
        return StillWaiting(live)
    return Bound() if live.spec.node_name == node_name else Gone()
