"""Every state in which a pod waits, and how it is explained: one good pod, one fact changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from agent.pods.actions import RunPodSandbox, StopContainer
from agent.pods.goal import Ending, PodGoal, Termination
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.overdue import build_call, compute_overdue_at, mark_overdue
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, ProbeVerdict, SandboxID
from agent.pods.progress import Failure, InFlight, Progress
from agent.pods.waits import CallInFlight, Wait, compute_waits
from agent.runtime.values import ContainerState
from kubeapi.pod import (
    Container,
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodReadinessGate,
    Probe,
)
from tests import builders

NOW = builders.NOW.timestamp()
BEGAN = NOW - 60
SANDBOX = ObservedSandbox(SandboxID("s1"), 0, True, NOW - 50, ("10.1.0.1",))
HOOK = LifecycleHandler(exec=ExecAction(command=("true",)))
HTTP = Probe(http_get=HTTPGetAction(port=80))
EXEC = Probe(exec=ExecAction(command=("true",)))


def attempt(
    name: str = "web", state: ContainerState = ContainerState.RUNNING, **facts: object
) -> ObservedContainer:
    good = ObservedContainer(
        ContainerID(f"{name}-0"), SANDBOX.id, name, 0, state, created_at=NOW - 40, started_at=NOW - 39
    )
    return replace(good, **facts)  # type: ignore[arg-type]


RUNNING = ObservedPod((SANDBOX,), (attempt(),))
READY = Progress(volumes={})


@dataclass(frozen=True, slots=True)
class Situation:
    """A pod that runs as it should, but for what is given."""

    expected: tuple[Wait, ...]
    containers: tuple[Container, ...] = (builders.container(),)
    inits: tuple[Container, ...] = ()
    gates: tuple[PodReadinessGate, ...] = ()
    observed: ObservedPod = RUNNING
    progress: Progress = READY
    termination: Termination | None = None
    held: frozenset[str] = frozenset()

    def pod(self) -> Pod:
        spec = {
            "containers": self.containers,
            "init_containers": self.inits,
            "readiness_gates": self.gates,
        }
        return builders.pod(spec=spec)

    def waits(self) -> tuple[Wait, ...]:
        goal = PodGoal(self.pod(), self.termination, BEGAN)
        return compute_waits(goal, self.observed, self.progress, PodPlan(held=self.held), NOW)


def in_flight(**calls: InFlight) -> dict[str, InFlight]:
    return {key.replace("__", "/"): call for key, call in calls.items()}


def call(what: str, target: str = "", **more: float) -> InFlight:
    return InFlight(what, NOW - 5, target=target, **more)  # type: ignore[arg-type]


BARE = ObservedPod()
MADE = ObservedPod((SANDBOX,))
DELETED = Termination(Ending.DELETED, NOW - 8, 30)
PULL_FAILED = Failure("ImagePullBackOff", "Back-off", NOW - 2, NOW + 8, 3, NOW - 20)
CREATING = "ContainerCreating"

SITUATIONS = {
    "nothing": Situation(()),
    "volumes in flight": Situation(
        (
            Wait(
                "volumes",
                CREATING,
                "the volumes are being filled: data",
                NOW - 5,
                None,
                CallInFlight("PrepareVolumes of data", NOW - 5),
            ),
            Wait("container web", CREATING, "it waits for the pod's volumes", NOW - 50),
        ),
        observed=MADE,
        progress=Progress(in_flight=in_flight(volumes=call("PrepareVolumes", "data"))),
    ),
    "volumes failed": Situation(
        (
            Wait("volumes", "FailedMount", "no such secret", NOW - 30, NOW + 2),
            Wait("container web", CREATING, "it waits for the pod's volumes", NOW - 50),
        ),
        observed=MADE,
        progress=Progress(
            failures={
                "PrepareVolumes:volumes": Failure(
                    "FailedMount", "no such secret", NOW - 1, NOW + 2, 4, NOW - 30
                )
            }
        ),
        held=frozenset({"PrepareVolumes:volumes"}),
    ),
    "sandbox in flight": Situation(
        (
            Wait(
                "sandbox",
                CREATING,
                "the sandbox and its network are being made",
                NOW - 5,
                None,
                CallInFlight("RunPodSandbox of attempt 0", NOW - 5),
            ),
        ),
        observed=BARE,
        progress=Progress(volumes={}, in_flight=in_flight(sandbox=call("RunPodSandbox", "attempt 0"))),
    ),
    "sandbox not begun": Situation(
        (Wait("sandbox", CREATING, "a new sandbox is made once nothing of an older one runs", BEGAN),),
        observed=BARE,
    ),
    "image in flight": Situation(
        (
            Wait(
                "container web",
                CREATING,
                'image "a:1" is looked up, and pulled if need be',
                NOW - 5,
                None,
                CallInFlight('EnsureImage of image "a:1"', NOW - 5),
            ),
        ),
        observed=MADE,
        progress=replace(READY, in_flight=in_flight(container__web=call("EnsureImage", 'image "a:1"'))),
    ),
    "image pull back-off": Situation(
        (Wait("container web", "ImagePullBackOff", "Back-off", NOW - 20, NOW + 8),),
        observed=MADE,
        progress=replace(READY, failures={"EnsureImage:container/web": PULL_FAILED}),
        held=frozenset({"EnsureImage:container/web"}),
    ),
    "a failure that nobody waits out any more": Situation(
        (), progress=replace(READY, failures={"EnsureImage:container/web": PULL_FAILED})
    ),
    "init container order": Situation(
        (
            Wait(
                "container first", "PodInitializing", "it runs; what comes next waits for its end", NOW - 39
            ),
            Wait("container second", "PodInitializing", "it waits for the init container first", NOW - 50),
            Wait("container web", "PodInitializing", "it waits for the init container first", NOW - 50),
        ),
        inits=(builders.container("first"), builders.container("second")),
        observed=ObservedPod((SANDBOX,), (attempt("first"),)),
    ),
    "crash loop": Situation(
        (
            Wait(
                "container web",
                "CrashLoopBackOff",
                "back-off 20s restarting failed container web, which ended with exit code 3",
                NOW - 4,
                NOW + 16,
            ),
        ),
        observed=ObservedPod(
            (SANDBOX,),
            (attempt(state=ContainerState.EXITED, finished_at=NOW - 4, exit_code=3, backoff_seconds=20.0),),
        ),
    ),
    "startup probe": Situation(
        (Wait("container web", "Unstarted", "its startup probe has not passed yet", NOW - 39),),
        containers=(builders.container(startup_probe=HTTP),),
        progress=replace(READY, verdicts={ContainerID("web-0"): ProbeVerdict(False, False, True)}),
    ),
    "readiness probe": Situation(
        (Wait("container web", "ContainersNotReady", "statuscode: 503", NOW - 39),),
        containers=(builders.container(readiness_probe=HTTP),),
        progress=replace(
            READY,
            verdicts={
                ContainerID("web-0"): ProbeVerdict(True, False, True, "statuscode: 503")
            },
        ),
    ),
    "readiness command, whose words stay out": Situation(
        (
            Wait(
                "container web",
                "ContainersNotReady",
                "the command of its readiness probe does not succeed",
                NOW - 39,
            ),
        ),
        containers=(builders.container(readiness_probe=EXEC),),
        progress=replace(
            READY, verdicts={ContainerID("web-0"): ProbeVerdict(True, False, True, "password: hunter2")}
        ),
    ),
    "readiness gate": Situation(
        (
            Wait(
                "pod",
                "ReadinessGatesNotReady",
                'the status of pod readiness gate "example.com/up" is not "True"',
                NOW - 60,
            ),
        ),
        gates=(PodReadinessGate(condition_type="example.com/up"),),
    ),
    "postStart hook": Situation(
        (
            Wait(
                "container web",
                "PostStartHook",
                "its postStart hook runs; it isn't started before that ends",
                NOW - 5,
                None,
                CallInFlight("RunPostStartHook of container web", NOW - 5),
            ),
        ),
        containers=(builders.container(lifecycle=Lifecycle(post_start=HOOK)),),
        progress=replace(
            READY, in_flight=in_flight(container__web=call("RunPostStartHook", "container web"))
        ),
    ),
    "preStop hook": Situation(
        (
            Wait(
                "container web",
                "Killing",
                "its preStop hook runs",
                NOW - 5,
                NOW + 22,
                CallInFlight("RunPreStopHook of container web", NOW - 5),
            ),
        ),
        progress=replace(
            READY,
            in_flight=in_flight(container__web=call("RunPreStopHook", "container web", kill_at=NOW + 22)),
        ),
        termination=DELETED,
    ),
    "grace period, and who comes after": Situation(
        (
            Wait(
                "container web",
                "Killing",
                "it was told to stop; SIGKILL at 2026-01-02T03:04:27Z",
                NOW - 5,
                NOW + 22,
                CallInFlight("StopContainer of container web", NOW - 5),
            ),
            Wait("pod", "Terminating", "still to be stopped after web: proxy", NOW - 8, NOW + 22),
        ),
        observed=ObservedPod((SANDBOX,), (attempt(), attempt("proxy"))),
        progress=replace(
            READY,
            in_flight=in_flight(container__web=call("StopContainer", "container web", kill_at=NOW + 22)),
        ),
        termination=DELETED,
    ),
    "Services still send clients": Situation(
        (
            Wait(
                "pod",
                "Terminating",
                "Services of this node still send it clients; its containers are told to stop after that",
                NOW - 8,
                NOW + 2,
            ),
        ),
        progress=replace(READY, released=False),
        termination=DELETED,
    ),
    "a teardown that is blocked": Situation(
        (Wait("volumes", "FailedUnmount", "data is busy", NOW - 9, NOW + 3),),
        observed=BARE,
        progress=Progress(
            failures={
                "RemoveVolumes:volumes": Failure("FailedUnmount", "data is busy", NOW, NOW + 3, 2, NOW - 9)
            },
            in_flight={},
        ),
        termination=Termination(Ending.FAILED, NOW - 8, 30),
        held=frozenset({"RemoveVolumes:volumes"}),
    ),
    "API server away at the deletion": Situation(
        (
            Wait(
                "API object",
                "FailedDeletePod",
                "the API server is away",
                NOW - 9,
                None,
                CallInFlight("DeletePod", NOW - 5),
            ),
        ),
        observed=BARE,
        progress=Progress(
            failures={
                "DeletePod:api": Failure("FailedDeletePod", "the API server is away", NOW, NOW, 2, NOW - 9)
            },
            in_flight=in_flight(api=call("DeletePod")),
        ),
        termination=DELETED,
    ),
    "admission": Situation(
        (Wait("pod", "OutOfcpu", "Pod was rejected: not enough cpu", NOW - 8),),
        observed=BARE,
        termination=Termination(
            Ending.FAILED, NOW - 8, 30, "OutOfcpu", "Pod was rejected: not enough cpu"
        ),
    ),
    "the runtime doesn't say": Situation(
        (Wait("runtime", "FailedSync", "ContainerStatus of container web …", NOW - 25),),
        progress=replace(
            READY, unreadable="ContainerStatus of container web …", unreadable_since=NOW - 25
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_wait_has_a_reason_a_message_and_a_time(name: str) -> None:
    assert SITUATIONS[name].waits() == SITUATIONS[name].expected


def test_a_pod_that_is_gone_waits_for_nothing() -> None:
    goal = PodGoal(builders.pod(), DELETED, BEGAN)
    assert compute_waits(goal, BARE, Progress(), PodPlan(finished=True), NOW) == ()


def test_what_the_plan_waits_out_is_what_is_explained() -> None:
    progress = replace(READY, failures={"EnsureImage:container/web": PULL_FAILED})
    goal = PodGoal(builders.pod(), None, BEGAN)
    plan = plan_pod(goal, MADE, progress, NOW)
    waits = compute_waits(goal, MADE, progress, plan, NOW)
    assert [(wait.reason, wait.next_retry) for wait in waits] == [("ImagePullBackOff", NOW + 8)]


def test_a_call_is_overdue_after_twenty_seconds_and_a_stop_after_its_grace_period_too() -> None:
    pod = builders.pod()
    assert compute_overdue_at(build_call(RunPodSandbox(0), pod, NOW)) == NOW + 20
    stop = StopContainer("web", ContainerID("web-0"), NOW + 30)
    assert compute_overdue_at(build_call(stop, pod, NOW)) == NOW + 50
    assert mark_overdue(build_call(RunPodSandbox(0), pod, NOW)).overdue == (
        "RunPodSandbox of attempt 0 has not returned since 2026-01-02T03:04:05Z"
    )
