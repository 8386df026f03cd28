"""One pod's lane: looks, plans, starts what is planned, reports; over and over until the pod is gone.

The shell around `plan`: it awaits and keeps the memory between looks. What is in flight is the business of
`calls`, how fresh the picture of the runtime is that of `reading`. One lane for each pod uid, made by
`lanes`; nothing is shared between two of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import msgspec

from agent.checkpoint.records import PodRecord
from agent.checkpoint.store import Checkpoint
from agent.journal.recorder import JournalRecorder
from agent.journal.store import NoJournal, PodJournal
from agent.pods.actions import (
    Action,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemovePodFiles,
    RemoveVolumes,
    RunPodSandbox,
    UpdatePodCgroup,
)
from agent.pods.admission import Refusal
from agent.pods.critical_pods import PREEMPTED_MESSAGE, PREEMPTING
from agent.pods.desired import (
    compute_deadline,
    compute_goal,
    keep_deletion,
    list_post_started,
    list_pre_stopped,
    merge_status,
)
from agent.pods.execute import Executor, PodView
from agent.pods.goal import PodGoal, find_container
from agent.pods.lanes.calls import Ended, PodCalls
from agent.pods.lanes.launch_queue import GRANTED, LaunchQueue, Turn
from agent.pods.lanes.reading import LaneReading
from agent.pods.lifecycle import find_current_sandbox
from agent.pods.observe import PodObserver, ReadMessage
from agent.pods.observed import ObservedPod
from agent.pods.outcomes import (
    ContainerResized,
    note_begin,
    note_config_change,
    note_failure,
    note_success,
)
from agent.pods.overdue import build_call, format_instant, mark_overdue
from agent.pods.plan import PodPlan, failure_key, plan_pod
from agent.pods.pod_events import (
    PodEvent,
    PodEvents,
    describe_begin,
    describe_crash_loops,
    describe_failure,
    describe_names,
    describe_overdue,
    describe_success,
    describe_unreadable,
)
from agent.pods.ports import ContainerID, ProbeRunner, ProbeTarget, ProbeVerdict, ServiceDrain
from agent.pods.progress import Failure, Progress, with_entry, without_entry
from agent.pods.resize.plan import compute_resource_record, mark_replaced
from agent.pods.resize.report import describe_resize
from agent.pods.resize.wish import note_decision, note_wish
from agent.pods.status.pod_status import NodeFacts, compute_pod_status, order_pod_ips
from agent.pods.status.writer import StatusWriter
from agent.pods.waits import Wait, compute_waits
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.relist import Fingerprint
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_RUNTIME_RETRY_SECONDS: Final = 1.0
_PARTIAL_RETRY_SECONDS: Final = 5.0
_INVISIBLE_TO_RUNTIME: Final = (
    PrepareVolumes,
    RefreshVolumes,
    RemoveVolumes,
    EnsureImage,
    RemovePodFiles,
    DeletePod,
    UpdatePodCgroup,
)
_LAUNCHES: Final = frozenset({"RunPodSandbox", "CreateContainer", "StartContainer"})


@dataclass(frozen=True, slots=True)
class LaneTools:
    """What all lanes share: ports and pure settings, no state of any pod."""

    executor: Executor
    probes: ProbeRunner
    checkpoint: Checkpoint
    status_writer: StatusWriter
    events: PodEvents
    drain: ServiceDrain
    node_facts: Callable[[], NodeFacts]
    read_message: ReadMessage
    now: Callable[[], float]
    random: Callable[[], float]
    journal: PodJournal = field(default_factory=NoJournal)
    launches: LaunchQueue = field(default_factory=LaunchQueue)


class Lane:
    """`on_look` is called after each look, with nothing awaited since the facts changed.

    `list_yielding`: the pods that still end to make room for this one. `is_new`: the runtime has nothing of
    the pod, so that it needn't be asked.
    """

    def __init__(
        self,
        record: PodRecord,
        tools: LaneTools,
        on_look: Callable[[Lane], None],
        list_yielding: Callable[[PodUID], tuple[Pod, ...]],
        *,
        is_new: bool = False,
    ) -> None:
        self.record = record
        self.observed = ObservedPod()
        self.progress = Progress(pre_stopped=frozenset(map(ContainerID, record.pre_stopped)))
        self.looked = is_new
        self.journal = JournalRecorder(tools.journal, record.pod)
        self._tools = tools
        self._on_look = on_look
        self._list_yielding = list_yielding
        self._reading = LaneReading(
            PodObserver(tools.executor.runtime, record.pod.uid, tools.read_message),
            tools.now,
            self._note_unreadable,
            is_new=is_new,
        )
        self._calls = PodCalls(tools.executor, tools.now, self._note_overdue, self._note_end)
        self._targets: tuple[ProbeTarget, ...] = ()
        self._plan = PodPlan()
        self._wake = asyncio.Event()

    # --- what others may tell a lane: hints, and the newest wish --------------------------------------------

    @property
    def pod(self) -> Pod:
        return self.record.pod

    def set_pod(self, pod: Pod) -> None:
        """The pod as its source has it now."""
        pod, resources = note_wish(self.record, pod)
        pod = keep_deletion(self.record.pod, pod)
        merged = msgspec.structs.replace(pod, status=merge_status(self.record.pod.status, pod.status))
        if _has_other_fields(merged, self.record.pod):
            self.refresh_volumes()  # files may name them
        if not self.record.gone and resources == self.record.resources and _is_same(merged, self.record.pod):
            return  # our own status coming back
        self._change_record(pod=merged, gone=False, resources=resources)
        self._wake.set()

    def preempt(self, critical: PodUID) -> None:
        """The pod makes room for a critical one: it ends in its grace period and has failed."""
        self._tell(PodEvent(PREEMPTING, PREEMPTED_MESSAGE, warning=True))
        rejection = (PREEMPTING, PREEMPTED_MESSAGE)
        self._change_record(rejection=rejection, disrupted=True, makes_room_for=critical)
        self._wake.set()

    def note_resize(self, refusal: Refusal | None) -> None:
        """What the node says to the resources that the pod wants; None: they are its own from now on."""
        decided = note_decision(self.record, refusal, self._tools.now())
        if decided == self.record:
            return
        self._change_record(pod=decided.pod, resources=decided.resources)
        self.refresh_volumes()  # files may name the resources
        self._wake.set()

    def set_gone(self) -> None:
        """No source wants the pod any more."""
        self._change_record(gone=True)
        self._wake.set()

    def look_again(self) -> None:
        """Something in memory may have changed: verdicts, the node."""
        self._wake.set()

    def refresh_volumes(self) -> None:
        """A ConfigMap or Secret of the pod changed, or its time has come."""
        self.progress = note_config_change(self.progress, bool(self.pod.spec.volumes))
        self._wake.set()

    def hint(self, fingerprint: Fingerprint | None) -> None:
        """The runtime may show something new; a fingerprint that is known already says it doesn't."""
        if self._reading.hint(fingerprint):
            self._wake.set()

    # --- the loop -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod is gone from this node; cancelling it leaves the pod as it is."""
        try:
            while True:
                self._wake.clear()
                plan = await self._look()
                if plan.finished:
                    return
                await self._wait(plan.next_look)
        finally:
            self._reading.end()
            self._tools.launches.leave(self.pod.uid, self._tools.now())
            self._calls.give_up_all()

    async def _look(self) -> PodPlan:
        if self._reading.is_due(self.progress) and not await self._observe():
            return PodPlan(next_look=self._tools.now() + _RUNTIME_RETRY_SECONDS)
        goal = self._mind_resize(self._update_goal())
        self._update_probes(goal)
        self._update_released(goal)
        plan = self._mind_turn(plan_pod(goal, self.observed, self.progress, self._tools.now()))
        for key in plan.cancel:
            self._calls.give_up(key)
        for action in plan.actions:
            self._start(action)
        self._plan = plan
        self._report(goal, plan)
        self._tell_journal(goal, plan)
        self._on_look(self)
        return self._mind_times(plan)

    async def _observe(self) -> bool:
        try:
            self.observed = await self._reading.read(self.observed, self._is_ending)
        except RuntimeServiceError as error:
            _logger.warning("a pod can't be read from the runtime", extra=self._fields(error=str(error)))
            return False
        if self.progress.unreadable and not self._reading.is_partial:
            self.progress = replace(self.progress, unreadable="", unreadable_since=None)
        if not self.looked:
            self._remember_hooks()
            self.looked = True
        return True

    def _remember_hooks(self) -> None:
        """What runs at the first look was started by an earlier process, which may have run its hook."""
        noted = self.record.post_started
        running = (container.id for container in self.observed.containers if container.running)
        done = frozenset(running if noted is None else map(ContainerID, noted))
        self.progress = replace(self.progress, post_started=done)
        self._note_hooks()

    def _note_hooks(self) -> None:
        self._change_record(
            pre_stopped=list_pre_stopped(self.progress, self.observed),
            post_started=list_post_started(self.pod, self.progress, self.observed),
        )

    async def _wait(self, next_look: float | None) -> None:
        timeout = None if next_look is None else max(0.0, next_look - self._tools.now())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _mind_times(self, plan: PodPlan) -> PodPlan:
        """The pod's deadline, and what the runtime didn't answer, ask for a look too."""
        now = self._tools.now()
        looks = [plan.next_look] if plan.next_look is not None else []
        deadline = compute_deadline(self.record)
        if deadline is not None and deadline > now:
            looks.append(deadline)
        if self._reading.is_partial:
            self._reading.hint(None)
            looks.append(now + _PARTIAL_RETRY_SECONDS)
        return replace(plan, next_look=min(looks, default=None))

    def _mind_turn(self, plan: PodPlan) -> PodPlan:
        """A new sandbox waits for the pods that make room for it, then for a place among the pods that start;
        it is given back after the last call.
        """
        uid, now, launches = self.pod.uid, self._tools.now(), self._tools.launches
        turn = GRANTED
        if any(isinstance(action, RunPodSandbox) for action in plan.actions):
            turn = self._await_room() or launches.ask(uid, self._wake.set, now)
        elif not self._is_starting(plan):
            launches.leave(uid, now)
        if turn != self.progress.turn:
            self.progress = replace(self.progress, turn=turn)
        if turn.granted:
            return plan
        looks = (look for look in (plan.next_look, turn.ask_again_at) if look is not None)
        actions = tuple(action for action in plan.actions if not isinstance(action, RunPodSandbox))
        return replace(plan, actions=actions, next_look=min(looks, default=None))

    def _await_room(self) -> Turn | None:
        names = ", ".join(str(pod.key) for pod in self._list_yielding(self.pod.uid))
        if not names:
            return None
        return Turn(
            False, f"waits for the end of pods that make room for it: {names}", self.record.start_time
        )

    def _is_starting(self, plan: PodPlan) -> bool:
        in_flight = (call.what for call in self.progress.in_flight.values())
        planned = (type(action).__name__ for action in plan.actions)
        return not _LAUNCHES.isdisjoint((*in_flight, *planned))

    # --- calls that hang ------------------------------------------------------------------------------------

    def _note_unreadable(self, since: float) -> None:
        what = self._reading.describe_hanging()
        message = f"{what} has not been answered by the runtime since {format_instant(since)}"
        self.progress = replace(self.progress, unreadable=message, unreadable_since=since)
        self._tell(describe_unreadable(message))
        self._note_hang(message, "")

    def _note_overdue(self, action: Action) -> None:
        call = self.progress.in_flight.get(action.key)
        if call is None:
            return
        call = mark_overdue(call)
        self.progress = replace(
            self.progress, in_flight=with_entry(self.progress.in_flight, action.key, call)
        )
        self._tell(describe_overdue(action, call))
        self._note_hang(call.overdue, getattr(action, "container", ""))

    def _note_hang(self, message: str, container: str) -> None:
        """Reports with what was last seen: the next look may hang itself."""
        _logger.warning("a call for a pod hangs", extra=self._fields(call=message))
        self.journal.note_overdue(message, container, self._tools.now())
        goal = compute_goal(self.record, self._tools.now())
        if self.looked or not self._was_running():
            self._report(goal, self._plan)
        self._tell_journal(goal, self._plan)

    # --- the pod's wish and its memory ----------------------------------------------------------------------

    def _is_ending(self) -> bool:
        return compute_goal(self.record, self._tools.now()).termination is not None

    def _update_goal(self) -> PodGoal:
        now = self._tools.now()
        goal = compute_goal(self.record, now)
        ends = goal.termination is not None
        if ends != (self.record.terminating_since is not None):
            self._change_record(terminating_since=now if ends else None)
        return goal

    def _change_record(self, **changes: object) -> None:
        record = msgspec.structs.replace(self.record, **changes)
        if record != self.record:
            self.record = record
            self._tools.checkpoint.save(record)

    def _mind_resize(self, goal: PodGoal) -> PodGoal:
        """Whether a resize goes on, and which exits belong to it."""
        self.observed = mark_replaced(goal, self.observed)
        resources = compute_resource_record(goal, self.observed, self.progress)
        self._change_record(resources=resources)
        return replace(goal, resources=resources)

    def _note_resized(self, resized: ContainerResized) -> None:
        actuated = with_entry(self.record.resources.actuated, resized.container_id, resized.resources)
        resources = msgspec.structs.replace(self.record.resources, actuated=dict(actuated))
        self._change_record(resources=resources)
        self._reading.forget(resized.container_id)

    # --- probes ---------------------------------------------------------------------------------------------

    def _update_probes(self, goal: PodGoal) -> None:
        targets = tuple(self._list_targets(goal.pod, terminating=goal.termination is not None))
        if targets != self._targets:
            self._targets = targets
            self._tools.probes.set_targets(goal.pod.uid, targets)
        verdicts: Mapping[ContainerID, ProbeVerdict] = {
            target.container_id: self._tools.probes.verdict(target) for target in targets
        }
        if verdicts != self.progress.verdicts:
            self.progress = replace(self.progress, verdicts=MappingProxyType(dict(verdicts)))

    def _update_released(self, goal: PodGoal) -> None:
        serves = find_current_sandbox(goal.pod, self.observed) is not None
        waits = goal.termination is not None and serves
        released = not waits or self._tools.drain.is_released(goal.pod.uid)
        if released != self.progress.released:
            self.progress = replace(self.progress, released=released)

    def _list_targets(self, pod: Pod, *, terminating: bool) -> list[ProbeTarget]:
        sandbox = find_current_sandbox(pod, self.observed)
        if sandbox is None:
            return []
        ips = self._pod_ips()
        targets = []
        for running in (c for c in self.observed.containers if c.running and c.sandbox_id == sandbox.id):
            container = find_container(pod, running.name)
            if container is None:
                continue
            if container.startup_probe or container.readiness_probe or container.liveness_probe:
                started = running.started_at or running.created_at
                target_ip = ips[0] if ips else ""
                targets.append(ProbeTarget(pod, container, running.id, target_ip, started, terminating))
        return targets

    def _pod_ips(self) -> tuple[str, ...]:
        sandbox = find_current_sandbox(self.pod, self.observed)
        if sandbox is None:
            return ()
        host_ips = self._tools.node_facts().host_ips
        return host_ips if self.pod.spec.host_network else order_pod_ips(sandbox.ips, host_ips)

    # --- actions --------------------------------------------------------------------------------------------

    def _start(self, action: Action) -> None:
        call = build_call(action, self.pod, self._tools.now())
        progress = note_begin(self.progress, action)
        self.progress = replace(progress, in_flight=with_entry(progress.in_flight, action.key, call))
        self._tell(describe_begin(action))
        if isinstance(action, RunPodSandbox):
            for event in describe_names(self.pod, self._tools.executor.environment):
                self._tell(event)
        self._calls.start(action, PodView(self.pod, self.observed, self.progress, self._pod_ips()))

    def _note_end(self, ended: Ended) -> None:
        action = ended.action
        if ended.error is not None:
            self._note_failure(ended, ended.error)
        elif not ended.given_up:
            self._note_success(ended)
        self.progress = replace(self.progress, in_flight=without_entry(self.progress.in_flight, action.key))
        if not isinstance(action, _INVISIBLE_TO_RUNTIME):
            self.observed = self._reading.note_effect(self.observed, ended.result)
        self._wake.set()

    def _note_success(self, ended: Ended) -> None:
        self.progress = note_success(self.progress, ended.action, ended.result)
        self._note_hooks()
        if isinstance(ended.result, ContainerResized):
            self._note_resized(ended.result)
        self._tell(describe_success(self.pod, ended.action, ended.result))
        self._journal_action(ended, None)

    def _note_failure(self, ended: Ended, error: Exception) -> None:
        action, tools = ended.action, self._tools
        self.progress = note_failure(self.progress, action, error, tools.now(), tools.random())
        failure = self.progress.failures[failure_key(action)]
        _logger.warning("an action failed", extra=self._fields(action=str(action), error=failure.message))
        self._tell(describe_failure(self.pod, action, failure))
        self._journal_action(ended, failure)

    def _journal_action(self, ended: Ended, failure: Failure | None) -> None:
        now = self._tools.now()
        self.journal.note_action(ended.action, ended.began_at, now, ended.result, failure)

    def _tell(self, event: PodEvent | None) -> None:
        if event is not None:
            self._tools.events.record(self.pod, event)

    # --- status ---------------------------------------------------------------------------------------------

    def _report(self, goal: PodGoal, plan: PodPlan) -> None:
        """Once the runtime shows nothing of a pod that ends, the last status is the final one."""
        if plan.finished or (goal.termination is not None and self.observed.empty and self._was_running()):
            return
        tools = self._tools
        status = compute_pod_status(
            goal, self.observed, self.progress, self.pod.status, tools.node_facts(), tools.now()
        )
        if status != self.pod.status:
            for event in describe_crash_loops(self.pod, status):
                self._tell(event)
            for event in describe_resize(goal, self.pod.status, status):
                self._tell(event)
            self.journal.note_status(self.pod.status, status, tools.now())
            self._change_record(pod=msgspec.structs.replace(self.pod, status=status))
        tools.status_writer.submit(self.pod, status)

    def _tell_journal(self, goal: PodGoal, plan: PodPlan) -> None:
        now = self._tools.now()
        self.journal.note_termination(goal.termination, now)
        if not plan.finished:
            waits = compute_waits(goal, self.observed, self.progress, plan, now)
            self.journal.show(self.pod.status, (*waits, *self._list_write_waits()), now)

    def _list_write_waits(self) -> tuple[Wait, ...]:
        """A status that the API server doesn't take yet."""
        trouble = self._tools.status_writer.find_trouble(self.pod.uid)
        if trouble is None:
            return ()
        return (Wait("status", "StatusNotWritten", trouble.message, trouble.since),)

    def _was_running(self) -> bool:
        return any(status.container_id for status in self.pod.status.container_statuses)

    def _fields(self, **more: str) -> dict[str, str]:
        return {"pod": str(self.pod.key), "uid": self.pod.uid, **more}


def _is_same(pod: Pod, known: Pod) -> bool:
    """Whether two versions of a pod say the same."""
    metadata = msgspec.structs.replace(pod.metadata, resource_version=known.metadata.resource_version)
    return msgspec.structs.replace(pod, metadata=metadata) == known


def _has_other_fields(pod: Pod, before: Pod) -> bool:
    """Whether something changed that the downward API offers."""
    old, new = before.metadata, pod.metadata
    return old.labels != new.labels or old.annotations != new.annotations
