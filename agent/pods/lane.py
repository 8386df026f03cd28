"""One pod's lane: looks, plans, starts what is planned, reports; over and over until the pod is gone.

The shell around `plan`: it awaits, keeps the memory between looks and runs the actions, each as a task of its
own, so that a call which hangs stops neither the lane nor another container. One lane for each pod uid, made
by `lanes`; nothing is shared between two of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import msgspec

from agent.checkpoint.records import PodRecord
from agent.checkpoint.store import Checkpoint
from agent.pods.actions import (
    Action,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemovePodFiles,
    RemoveVolumes,
    StopContainer,
)
from agent.pods.desired import compute_deadline, compute_goal, merge_status
from agent.pods.execute import Executor, PodView
from agent.pods.goal import PodGoal, find_container
from agent.pods.lifecycle import find_current_sandbox
from agent.pods.observe import PodObserver, ReadMessage
from agent.pods.observed import ObservedPod, add_container
from agent.pods.outcomes import ActionResult, ContainerCreated, note_failure, note_success
from agent.pods.plan import PodPlan, failure_key, plan_pod
from agent.pods.pod_events import (
    PodEvent,
    PodEvents,
    describe_begin,
    describe_crash_loops,
    describe_failure,
    describe_success,
)
from agent.pods.ports import ContainerID, ProbeRunner, ProbeTarget, ProbeVerdict, Unavailable
from agent.pods.progress import InFlight, Progress, with_entry, without_entry
from agent.pods.status import NodeFacts, compute_pod_status
from agent.pods.status_writer import StatusWriter
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.relist import Fingerprint
from kubeapi.errors import KubeAPIError
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)

_RUNTIME_RETRY_SECONDS: Final = 1.0
_INVISIBLE_TO_RUNTIME: Final = (
    PrepareVolumes,
    RefreshVolumes,
    RemoveVolumes,
    EnsureImage,
    RemovePodFiles,
    DeletePod,
)
_EXPECTED: Final = (RuntimeServiceError, Unavailable, KubeAPIError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class LaneTools:
    """What all lanes share: ports and pure settings, no state of any pod."""

    executor: Executor
    probes: ProbeRunner
    checkpoint: Checkpoint
    status_writer: StatusWriter
    events: PodEvents
    node_facts: Callable[[], NodeFacts]
    read_message: ReadMessage
    now: Callable[[], float]
    random: Callable[[], float]


class Lane:
    """`on_look` is called after each look, with nothing awaited since the facts changed."""

    def __init__(self, record: PodRecord, tools: LaneTools, on_look: Callable[[Lane], None]) -> None:
        self.record = record
        self.observed = ObservedPod()
        self.progress = Progress()
        self.looked = False
        self._tools = tools
        self._on_look = on_look
        self._observer = PodObserver(tools.executor.runtime, record.pod.uid, tools.read_message)
        self._targets: tuple[ProbeTarget, ...] = ()
        self._tasks: dict[str, asyncio.Task[ActionResult]] = {}
        self._wake = asyncio.Event()
        self._stale = True
        self._effects = 0  # how many calls to the runtime have returned

    # --- what others may tell a lane: hints, and the newest wish --------------------------------------------

    @property
    def pod(self) -> Pod:
        return self.record.pod

    def set_pod(self, pod: Pod) -> None:
        """The pod as its source has it now."""
        merged = msgspec.structs.replace(pod, status=merge_status(self.record.pod.status, pod.status))
        self._change_record(pod=merged, gone=False)
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
        if not self.pod.spec.volumes or not self.progress.volumes_ready:
            return
        self.progress = replace(self.progress, volumes_stale=True)
        self._wake.set()

    def hint(self, fingerprint: Fingerprint | None) -> None:
        """The runtime may show something new; a fingerprint that is known already says it doesn't."""
        if fingerprint is None or fingerprint != self._observer.fingerprint:
            self._stale = True
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
            for task in self._tasks.values():
                task.cancel()

    async def _look(self) -> PodPlan:
        if self._stale and not await self._observe():
            return PodPlan(next_look=self._tools.now() + _RUNTIME_RETRY_SECONDS)
        goal = self._update_goal()
        self._update_probes(goal)
        plan = plan_pod(goal, self.observed, self.progress, self._tools.now())
        for key in plan.cancel:
            self._tasks[key].cancel()
        for action in plan.actions:
            self._start(action)
        self._report(goal, plan)
        self._on_look(self)
        return self._mind_deadline(plan)

    async def _observe(self) -> bool:
        self._stale = False
        try:
            self.observed = await self._read_settled()
        except RuntimeServiceError as error:
            self._stale = True
            _logger.warning("a pod can't be read from the runtime", extra=self._fields(error=str(error)))
            return False
        if not self.looked:
            # What runs at the first look was started by an earlier process, which ran its postStart hook.
            running = {container.id for container in self.observed.containers if container.running}
            self.progress = replace(self.progress, post_started=frozenset(running))
            self.looked = True
        return True

    async def _read_settled(self) -> ObservedPod:
        """Lists that were asked for before a call of ours returned may lack its effect: they are asked for
        again.
        """
        while True:
            effects = self._effects
            observed = await self._observer.observe()
            if effects == self._effects:
                return observed

    async def _wait(self, next_look: float | None) -> None:
        timeout = None if next_look is None else max(0.0, next_look - self._tools.now())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _mind_deadline(self, plan: PodPlan) -> PodPlan:
        deadline = compute_deadline(self.record)
        if deadline is None or deadline <= self._tools.now():
            return plan
        return replace(plan, next_look=min(deadline, plan.next_look or deadline))

    # --- the pod's wish and its memory ----------------------------------------------------------------------

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

    # --- probes ---------------------------------------------------------------------------------------------

    def _update_probes(self, goal: PodGoal) -> None:
        targets = tuple(self._list_targets(goal.pod))
        if targets != self._targets:
            self._targets = targets
            self._tools.probes.set_targets(goal.pod.uid, targets)
        verdicts: Mapping[ContainerID, ProbeVerdict] = {
            target.container_id: self._tools.probes.verdict(target) for target in targets
        }
        self.progress = replace(self.progress, verdicts=MappingProxyType(dict(verdicts)))

    def _list_targets(self, pod: Pod) -> list[ProbeTarget]:
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
                targets.append(ProbeTarget(pod, container, running.id, target_ip, started))
        return targets

    def _pod_ips(self) -> tuple[str, ...]:
        sandbox = find_current_sandbox(self.pod, self.observed)
        if sandbox is None:
            return ()
        return self._tools.node_facts().host_ips if self.pod.spec.host_network else sandbox.ips

    # --- actions --------------------------------------------------------------------------------------------

    def _start(self, action: Action) -> None:
        kill_at = action.kill_at if isinstance(action, StopContainer) else None
        call = InFlight(type(action).__name__, self._tools.now(), kill_at)
        self.progress = replace(
            self.progress, in_flight=with_entry(self.progress.in_flight, action.key, call)
        )
        self._tell(describe_begin(action))
        view = PodView(self.pod, self.observed, self.progress, self._pod_ips())
        task = asyncio.get_running_loop().create_task(
            self._carry_out(action, view), name=f"{call.what} of {self.pod.key}"
        )
        self._tasks[action.key] = task
        task.add_done_callback(lambda done: self._finish(action, done))

    async def _carry_out(self, action: Action, view: PodView) -> ActionResult:
        try:
            result = await self._tools.executor.execute(action, view)
        except _EXPECTED as error:
            self._note_failure(action, error)
        except Exception as error:
            _logger.exception(
                "an action ended in an unexpected error", extra=self._fields(action=str(action))
            )
            self._note_failure(action, error)
        else:
            self.progress = note_success(self.progress, action, result)
            self._tell(describe_success(self.pod, action, result))
            return result
        return None

    def _note_failure(self, action: Action, error: Exception) -> None:
        tools = self._tools
        self.progress = note_failure(self.progress, action, error, tools.now(), tools.random())
        failure = self.progress.failures[failure_key(action)]
        _logger.warning("an action failed", extra=self._fields(action=str(action), error=failure.message))
        self._tell(describe_failure(self.pod, action, failure))

    def _finish(self, action: Action, done: asyncio.Task[ActionResult]) -> None:
        self.progress = replace(self.progress, in_flight=without_entry(self.progress.in_flight, action.key))
        self._tasks.pop(action.key, None)
        if not isinstance(action, _INVISIBLE_TO_RUNTIME):
            self._note_effect(None if done.cancelled() else done.result())
        self._wake.set()

    def _note_effect(self, result: ActionResult) -> None:
        self._effects += 1
        if isinstance(result, ContainerCreated):
            # The answer is as good as a list, and a container that waits to be started costs time.
            self.observed = add_container(self.observed, result.container)
        else:
            self._stale = True

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
            self._change_record(pod=msgspec.structs.replace(self.pod, status=status))
        tools.status_writer.submit(self.pod, status)

    def _was_running(self) -> bool:
        return any(status.container_id for status in self.pod.status.container_statuses)

    def _fields(self, **more: str) -> dict[str, str]:
        return {"pod": str(self.pod.key), "uid": self.pod.uid, **more}
