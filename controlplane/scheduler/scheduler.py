"""The scheduler's lane: takes the next pod, decides, assumes, and binds in the background.

Does IO through `kubeapi.client` (bindings) and the reporters. Joined by `controlplane.scheduler.app`. One
decision at a time, each on a snapshot that holds all decisions before it, so that a burst of pods never
overcommits a node.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from controlplane.notes import Recorder
from controlplane.scheduler.binder import Binder, Bound, Gone, StillWaiting
from controlplane.scheduler.choose import (
    NO_STORAGE,
    Placement,
    Unschedulable,
    choose_node,
    is_feasible,
)
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts, build_pod_facts
from controlplane.scheduler.queue import SchedulingQueue
from controlplane.scheduler.reports import Delay, DelayReporter
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.storage_state import StorageState
from controlplane.volume_matching import list_claim_keys
from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.event_records import EventType, build_reference
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.resources import PODS

SCHEDULER_NAME: Final = "default-scheduler"
REFUSED_BACKOFF: Final = Backoff(initial_seconds=1.0, maximum_seconds=1.0)
_FINISHED_PHASES: Final = ("Succeeded", "Failed")
_GATED_MESSAGE: Final = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler:
    """Fed with changes by informers; `run` decides until cancelled."""

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        reporter: DelayReporter,
        *,
        storage: StorageState = NO_STORAGE,
        random_source: Callable[[], float] = random.random,
    ) -> None:
        self._recorder = recorder
        self._storage = storage
        self._reporter = reporter
        self._random = random_source
        self._snapshot = Snapshot()
        self._queue = SchedulingQueue()
        self._binder = Binder(client, random_source)

    # --- what the informers say -----------------------------------------------------------------------------

    def apply_pod(self, change: Change[Pod]) -> None:
        pod = change.new
        if pod is None or pod.status.phase in _FINISHED_PHASES:
            gone = pod or change.old
            if gone is not None:
                self._drop(gone.metadata.uid)
        elif pod.spec.node_name:
            self._queue.remove(pod.metadata.uid)
            self._snapshot.put_pod(self._know(pod), pod.spec.node_name)
        elif pod.spec.scheduler_name == SCHEDULER_NAME:
            self._apply_waiting(change.old, pod)

    def apply_node(self, change: Change[Node]) -> None:
        name = change.key.name
        if change.new is None:
            self._snapshot.remove_node(name)
            return
        self._snapshot.put_node(change.new)
        if change.old is None or _differs_for_pods(change.old, change.new):
            self._wake(name)

    def note_storage(self) -> None:
        """A claim, a volume or a class has changed: pods with claims may now find a node."""
        nodes = self._snapshot.nodes()
        self._queue.wake(
            lambda pod: (
                bool(list_claim_keys(pod.pod))
                and any(is_feasible(pod, node, self._storage) for node in nodes)
            )
        )

    def _apply_waiting(self, old: Pod | None, pod: Pod) -> None:
        uid = pod.metadata.uid
        if pod.metadata.deletion_timestamp is not None:
            self._queue.remove(uid)
        elif self._snapshot.is_assumed(uid):
            # Its binding is under way.
            return
        elif old is None or old.spec != pod.spec or old.metadata.labels != pod.metadata.labels:
            self._queue.put(build_pod_facts(pod))
        else:
            self._queue.refresh(build_pod_facts(pod))

    def _know(self, pod: Pod) -> PodFacts:
        """Computed anew only for what can change on a running pod: its labels and its resources."""
        node = self._snapshot.get_node(pod.spec.node_name)
        known = node.pods.get(pod.metadata.uid) if node is not None else None
        same = (
            known is not None
            and known.pod.metadata.labels == pod.metadata.labels
            and known.pod.spec.containers == pod.spec.containers
        )
        return known if known is not None and same else build_pod_facts(pod)

    def _drop(self, uid: str) -> None:
        """The pod needs no room any more; somebody may have waited for it."""
        self._queue.remove(uid)
        self._reporter.withdraw(uid)
        node_name = self._snapshot.remove_pod(uid)
        if node_name is not None:
            self._wake(node_name)

    def _wake(self, node_name: str) -> None:
        node = self._snapshot.get_node(node_name)
        if node is not None:
            found: NodeState = node
            self._queue.wake(
                lambda pod: not pod.pod.spec.scheduling_gates and is_feasible(pod, found, self._storage)
            )

    # --- deciding -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                pod = await self._queue.get()
                placement = self.decide(pod)
                if placement is not None:
                    tasks.create_task(self._bind(pod, placement.node_name))
                # The informers must get their turn between two decisions of a long queue.
                await asyncio.sleep(0)

    def decide(self, pod: PodFacts) -> Placement | None:
        """Assumes the placement, or parks the pod and says why."""
        if pod.pod.spec.scheduling_gates:
            self._queue.park(pod)
            self._reporter.report(Delay(pod.pod, "SchedulingGated", _GATED_MESSAGE))
            return None
        decision = choose_node(pod, self._snapshot.nodes(), self._storage)
        match decision:
            case Placement(node_name):
                self._snapshot.assume(pod, node_name)
                self._reporter.withdraw(pod.uid)
                return decision
            case Unschedulable():
                self._queue.park(pod)
                self._reporter.report(Delay(pod.pod, "Unschedulable", decision.message))
                self._say(pod, "FailedScheduling", decision.message, EventType.WARNING)
                return None

    # --- binding --------------------------------------------------------------------------------------------

    async def _bind(self, pod: PodFacts, node_name: str) -> None:
        match await self._binder.bind(pod.pod, node_name):
            case Bound():
                said = f"Successfully assigned {pod.pod.key} to {node_name}"
                self._say(pod, "Scheduled", said)
            case StillWaiting(live):
                self._try_again(live, node_name)
            case Gone():
                self._snapshot.forget(pod.uid)
                self._wake(node_name)

    def _try_again(self, live: Pod, node_name: str) -> None:
        """Later, because whatever refused the binding may refuse it again."""
        self._snapshot.forget(live.metadata.uid)
        self._wake(node_name)
        pod = build_pod_facts(live)
        delay = REFUSED_BACKOFF.delay(0, self._random())
        asyncio.get_running_loop().call_later(delay, self._put_again, pod)

    def _put_again(self, pod: PodFacts) -> None:
        """Unless a change of the pod has brought it back already."""
        if not self._queue.contains(pod.uid) and self._snapshot.get_node_name(pod.uid) is None:
            self._queue.put(pod)

    def _say(self, pod: PodFacts, reason: str, message: str, type_: EventType = EventType.NORMAL) -> None:
        self._recorder.record(build_reference(PODS, pod.pod), type_, reason, message)


def _differs_for_pods(old: Node, new: Node) -> bool:
    """Heartbeats alone help nobody."""
    return (
        old.status.allocatable != new.status.allocatable
        or old.spec.taints != new.spec.taints
        or old.spec.unschedulable != new.spec.unschedulable
        or old.metadata.labels != new.metadata.labels
    )
