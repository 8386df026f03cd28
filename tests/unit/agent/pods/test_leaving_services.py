"""A stop signal waits for the rules to send clients elsewhere, but never for long."""

from __future__ import annotations

from dataclasses import replace

from agent.pods.actions import RunPreStopHook, StopContainer, StopPodSandbox
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID
from agent.pods.progress import Progress, ReadyImage
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ExecAction, Lifecycle, LifecycleHandler
from tests import builders

SINCE = 1000.0
WEB = builders.container("web")
WEB_ID = ContainerID("web-0")
HELD = Progress(
    volumes={}, volumes_removed=True, images={"web": ReadyImage(0, LocalImage("i", 0, ""))}, released=False
)


def _plan(
    now: float,
    progress: Progress = HELD,
    grace_seconds: int = 30,
    web: Container = WEB,
    state: ContainerState = ContainerState.RUNNING,
) -> PodPlan:
    container = ObservedContainer(
        id=WEB_ID,
        sandbox_id=SandboxID("s0"),
        name="web",
        attempt=0,
        state=state,
        created_at=900.0,
        started_at=901.0,
        spec_hash=compute_spec_hash(web),
    )
    sandbox = ObservedSandbox(SandboxID("s0"), 0, ready=True, created_at=900.0, ips=("10.1.0.1",))
    pod = builders.pod(spec={"containers": (web,)}, status={"phase": "Running"})
    goal = PodGoal(pod, Termination(Ending.DELETED, SINCE, grace_seconds))
    return plan_pod(goal, ObservedPod((sandbox,), (container,)), progress, now)


def test_a_released_pod_is_told_at_once() -> None:
    released = replace(HELD, released=True)
    assert _plan(SINCE, released).actions == (StopContainer("web", WEB_ID, SINCE + 30),)


def test_a_pod_that_gets_clients_waits() -> None:
    assert _plan(SINCE) == PodPlan(next_look=SINCE + 10)


def test_it_waits_for_half_its_grace_at_most() -> None:
    assert _plan(SINCE, grace_seconds=8) == PodPlan(next_look=SINCE + 4)
    assert _plan(SINCE + 4, grace_seconds=8).actions == (StopContainer("web", WEB_ID, SINCE + 8),)


def test_without_grace_nothing_waits() -> None:
    assert _plan(SINCE, grace_seconds=0).actions == (StopContainer("web", WEB_ID, SINCE + 2),)


def test_the_hook_before_the_stop_runs_meanwhile() -> None:
    hook = LifecycleHandler(exec=ExecAction(command=("x",)))
    hooked = builders.container("web", lifecycle=Lifecycle(pre_stop=hook))
    plan = _plan(SINCE, web=hooked)
    assert plan == PodPlan((RunPreStopHook("web", WEB_ID, SINCE + 30),))


def test_what_has_exited_by_itself_is_cleared_away() -> None:
    assert _plan(SINCE, state=ContainerState.EXITED).actions == (StopPodSandbox(SandboxID("s0")),)
