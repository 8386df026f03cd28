"""Which Events a pod's doings make, and their words, which people know from any cluster."""

from __future__ import annotations

import pytest

from agent.pods.actions import CreateContainer, EnsureImage, RemoveVolumes, RunPodSandbox
from agent.pods.outcomes import ImageEnsured
from agent.pods.pod_events import (
    PodEvent,
    build_field_path,
    describe_crash_loops,
    describe_failure,
    describe_probe_failure,
    describe_pulling,
    describe_success,
    format_duration,
)
from agent.pods.ports import LocalImage, ProbeFailure, ProbeKind, ProbeTrouble, PullFacts, SandboxID
from agent.pods.progress import Failure
from kubeapi.pod import ContainerState, ContainerStateWaiting, ContainerStatus, PodStatus
from tests import builders

POD = builders.pod()
ENSURE = EnsureImage("web", 0)
RETRY_AT = 1010.0


def failure(reason: str, message: str) -> Failure:
    return Failure(reason, message, 1000.0, RETRY_AT)


@pytest.mark.parametrize(
    ("pulled", "message"),
    [
        (False, 'Container image "berth.local/web:1" already present on machine'),
        (True, 'Successfully pulled image "berth.local/web:1"'),
    ],
)
def test_an_image_at_hand_is_told(pulled: bool, message: str) -> None:
    image = LocalImage("sha256:1", 0, "", pulled)

    assert describe_success(POD, ENSURE, ImageEnsured(image)) == PodEvent("Pulled", message, "web")


def test_a_pull_is_told_when_it_begins_and_what_it_took() -> None:
    pull = PullFacts(seconds=1.2345, waiting_seconds=62.5, size_bytes=4711)

    told = [
        describe_pulling(builders.container("web")),
        describe_success(POD, ENSURE, ImageEnsured(LocalImage("sha256:1", 0, "", True, pull))),
    ]

    message = (
        'Successfully pulled image "berth.local/web:1" in 1.234s (1m2.5s including waiting). '
        "Image size: 4711 bytes."
    )
    assert told == [
        PodEvent("Pulling", 'Pulling image "berth.local/web:1"', "web"),
        PodEvent("Pulled", message, "web"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0437, "43ms"), (1, "1s"), (59.9, "59.9s"), (60, "1m0s"), (3725.04, "1h2m5.04s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_an_event_says_in_which_list_its_container_is() -> None:
    spec = {
        "init_containers": (builders.container("first"),),
        "ephemeral_containers": (builders.container("debugger"),),
    }
    pod = builders.pod(spec=spec)

    assert [build_field_path(pod, name) for name in ("", "first", "web", "debugger")] == [
        "",
        "spec.initContainers{first}",
        "spec.containers{web}",
        "spec.ephemeralContainers{debugger}",
    ]


def test_what_nobody_asks_about_makes_no_event() -> None:
    assert describe_success(POD, RemoveVolumes(), None) is None


def test_a_failed_pull_names_the_image() -> None:
    told = describe_failure(POD, ENSURE, failure("ErrImagePull", "no route to host"))

    message = 'Failed to pull image "berth.local/web:1": no route to host'
    assert told == PodEvent("Failed", message, "web", warning=True)


def test_a_pull_that_waits_is_a_back_off() -> None:
    told = describe_failure(POD, ENSURE, failure("ImagePullBackOff", 'Back-off pulling image "x"'))

    assert told == PodEvent("BackOff", 'Back-off pulling image "x"', "web")


def test_a_container_that_cannot_be_made_is_a_failure() -> None:
    create = CreateContainer("web", SandboxID("s0"), 0, 0, 0.0)

    told = describe_failure(POD, create, failure("CreateContainerConfigError", 'secret "s" not found'))

    assert told == PodEvent("Failed", 'Error: secret "s" not found', "web", warning=True)


def test_a_sandbox_that_cannot_be_made_belongs_to_no_container() -> None:
    told = describe_failure(POD, RunPodSandbox(0), failure("FailedCreatePodSandBox", "no network"))

    message = "Failed to create pod sandbox: no network"
    assert told == PodEvent("FailedCreatePodSandBox", message, warning=True)


def test_a_failed_probe_is_told_with_its_output() -> None:
    told = describe_probe_failure(ProbeFailure(POD.uid, "web", ProbeKind.LIVENESS, "no file"))

    assert told == PodEvent("Unhealthy", "Liveness probe failed: no file", "web", warning=True)


@pytest.mark.parametrize(
    ("trouble", "event"),
    [
        (
            ProbeTrouble.ERRORED,
            ("Unhealthy", "Readiness probe errored and resulted in unknown state: no port"),
        ),
        (ProbeTrouble.WARNING, ("ProbeWarning", "Readiness probe warning: no port")),
        (ProbeTrouble.HANGS, ("Unhealthy", "Readiness probe hangs: no port")),
    ],
)
def test_other_trouble_of_a_probe(trouble: ProbeTrouble, event: tuple[str, str]) -> None:
    failure = ProbeFailure(POD.uid, "web", ProbeKind.READINESS, "no port", trouble)
    told = describe_probe_failure(failure)
    assert (told.reason, told.message, told.warning) == (*event, True)


def crash_looping(container_id: str) -> PodStatus:
    waiting = ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff"))
    status = ContainerStatus(name="web", state=waiting, container_id=f"containerd://{container_id}")
    return PodStatus(container_statuses=(status,))


def test_each_crash_that_is_waited_out_is_told_once() -> None:
    told = [
        [event.reason for event in describe_crash_loops(builders.changed(POD, status=before), after)]
        for before, after in (
            (PodStatus(), crash_looping("a")),
            (crash_looping("a"), crash_looping("a")),
            (crash_looping("a"), crash_looping("b")),
            (crash_looping("b"), PodStatus()),
        )
    ]

    assert told == [["BackOff"], [], ["BackOff"], []]


def test_a_crash_loop_names_container_and_pod() -> None:
    (told,) = describe_crash_loops(POD, crash_looping("a"))

    message = "Back-off restarting failed container web in pod web-1_default(uid-web-1)"
    assert told == PodEvent("BackOff", message, "web", warning=True)
