"""One pod's facts, a clock, and the effect of every action on them at once: what plans are tried on.

Pure. What a runtime really does, late, twice or never, is the simulations' matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from agent.pods.actions import (
    Action,
    CreateContainer,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RemovePodFiles,
    RemovePodSandbox,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
    UpdateContainerResources,
    UpdatePodCgroup,
)
from agent.pods.goal import PodGoal, Termination, compute_spec_hash, find_container
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox, build_observed_pod
from agent.pods.outcomes import ActionResult, ContainerResized, ImageEnsured, VolumesPrepared, note_success
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID
from agent.pods.progress import Progress
from agent.runtime.values import ContainerState
from kubeapi.pod import Pod

_STEPS = 300


class World:
    """One pod's facts and a clock; `forget` is a restart of the agent."""

    def __init__(self, pod: Pod, observed: ObservedPod, termination: Termination | None) -> None:
        self.goal = PodGoal(pod, termination)
        self.observed = observed
        self.progress = Progress()
        self.now = 10_000.0
        self.count = 100
        self.created: list[CreateContainer] = []

    def plan(self) -> PodPlan:
        return plan_pod(self.goal, self.observed, self.progress, self.now)

    def forget(self) -> None:
        self.progress = Progress()

    def apply(self, action: Action) -> None:
        self.count += 1
        self.now += 0.1
        result = self._change(action)
        self.progress = note_success(self.progress, action, result)

    def _change(self, action: Action) -> ActionResult:
        match action:
            case RunPodSandbox(attempt):
                assert attempt not in {sandbox.attempt for sandbox in self.observed.sandboxes}
                new = ObservedSandbox(SandboxID(f"s{self.count}"), attempt, True, self.now, ("10.1.0.9",))
                self._set((*self.observed.sandboxes, new), self.observed.containers)
            case StopPodSandbox(sandbox_id):
                self._set(
                    tuple(
                        replace(s, ready=False) if s.id == sandbox_id else s for s in self.observed.sandboxes
                    ),
                    tuple(
                        self._exit(c, 137) if c.sandbox_id == sandbox_id else c
                        for c in self.observed.containers
                    ),
                )
            case RemovePodSandbox(sandbox_id):
                self._set(
                    tuple(s for s in self.observed.sandboxes if s.id != sandbox_id),
                    tuple(c for c in self.observed.containers if c.sandbox_id != sandbox_id),
                )
            case CreateContainer():
                self._create(action)
            case StartContainer(name, container_id):
                alive = [c for c in self.observed.attempts(name) if c.running]
                assert not alive, f"two live containers of {name}"
                self._update(container_id, state=ContainerState.RUNNING, started_at=self.now)
            case StopContainer(_, container_id):
                found = next(c for c in self.observed.containers if c.id == container_id)
                ended = self._exit(found, 143)
                self._update(container_id, state=ended.state, finished_at=self.now, exit_code=143)
            case RemoveContainer(_, container_id):
                kept = tuple(c for c in self.observed.containers if c.id != container_id)
                self._set(self.observed.sandboxes, kept)
            case UpdateContainerResources():
                return ContainerResized(action.container_id, action.wanted)
            case EnsureImage():
                return ImageEnsured(LocalImage("sha256:x", 0, ""))
            case PrepareVolumes():
                return VolumesPrepared({})
            case (
                RefreshVolumes()
                | RemoveVolumes()
                | RemovePodFiles()
                | DeletePod()
                | RunPreStopHook()
                | RunPostStartHook()
                | UpdatePodCgroup()
            ):
                pass
            case _:
                assert_never(action)
        return None

    def _create(self, action: CreateContainer) -> None:
        self.created.append(action)
        names = {(c.name, c.attempt) for c in self.observed.containers}
        assert (action.container, action.attempt) not in names
        container = find_container(self.goal.pod, action.container)
        assert container is not None
        new = ObservedContainer(
            id=ContainerID(f"c{self.count}"),
            sandbox_id=action.sandbox_id,
            name=action.container,
            attempt=action.attempt,
            state=ContainerState.CREATED,
            created_at=self.now,
            restart_count=action.restart_count,
            backoff_seconds=action.backoff_seconds,
            pod_restarts=action.pod_restarts,
            spec_hash=compute_spec_hash(container),
        )
        self._set(self.observed.sandboxes, (*self.observed.containers, new))

    def _exit(self, container: ObservedContainer, code: int) -> ObservedContainer:
        if not container.running:
            return container
        return replace(container, state=ContainerState.EXITED, finished_at=self.now, exit_code=code)

    def end(self, container: ObservedContainer, code: int) -> None:
        """A process ends by itself, which no action does."""
        self._update(container.id, state=ContainerState.EXITED, finished_at=self.now, exit_code=code)

    def _update(self, container_id: ContainerID, **changes: object) -> None:
        updated = tuple(
            replace(c, **changes) if c.id == container_id else c  # type: ignore[arg-type]
            for c in self.observed.containers
        )
        self._set(self.observed.sandboxes, updated)

    def _set(self, sandboxes: tuple[ObservedSandbox, ...], containers: tuple[ObservedContainer, ...]) -> None:
        self.observed = build_observed_pod(sandboxes, containers)

    def settle(self) -> None:
        """Applies plans until there is nothing to do but wait, and lets waits pass."""
        for _ in range(_STEPS):
            plan = self.plan()
            if plan.finished:
                return
            if not plan.actions and plan.next_look is None:
                return
            if not plan.actions and plan.next_look is not None:
                assert plan.next_look > self.now, "a look in the past would spin"
                self.now = plan.next_look
            for action in plan.actions:
                self.apply(action)
        raise AssertionError(f"no end after {_STEPS} plans; the last: {self.plan()}")
