"""Which pods of this node are leaving the Services, and which have left: `agent.pods.ports.ServiceDrain`.

Pure (no IO), with state. The proxy tells it what it planned and applied; the pod lanes ask before they send a
stop signal. Only this node's rules are minded. A handshake with the other nodes' proxies would be another
implementation of the same port, true when both are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from agent.pods.ports import RunningPod
from agent.proxy.changes import ServiceChanges
from kubeapi.pod import PodUID


class LocalDrain:
    """`choose` with each round's pods before planning, `note_applied` after the rules are in the kernel."""

    def __init__(self) -> None:
        self._draining: frozenset[PodUID] = frozenset()
        self._terminating: frozenset[PodUID] = frozenset()
        self._released: frozenset[PodUID] = frozenset()
        self._handlers: list[Callable[[PodUID], None]] = []

    @property
    def draining(self) -> frozenset[PodUID]:
        """Pods that are to get no new connections."""
        return self._draining

    def choose(self, pods: Collection[RunningPod], changes: ServiceChanges) -> None:
        """Takes in what ends now. A pod that is gone drains on while a slice lists it, lest it come back."""
        terminating = [pod for pod in pods if pod.terminating]
        self._terminating = frozenset(pod.uid for pod in terminating)
        mirrors = {uid for pod in terminating if pod.static and (uid := changes.find_uid(pod.key))}
        lingering = {uid for uid in self._draining if changes.services_of(uid)}
        draining = self._terminating | mirrors | lingering
        for uid in draining ^ self._draining:
            changes.note_pod(uid)
        self._draining = draining

    def note_applied(self) -> None:
        """The kernel has the rules that were planned after the last `choose`."""
        released = self._terminating - self._released
        self._released = self._terminating
        for uid in released:
            for handler in self._handlers:
                handler(uid)

    def is_released(self, uid: PodUID) -> bool:
        return uid in self._released

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        self._handlers.append(handler)


class NoDrain:
    """Where somebody else runs the Service rules, or nobody: there is nothing to wait for."""

    def is_released(self, uid: PodUID) -> bool:  # noqa: ARG002
        return True

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        """Never calls."""
