"""Which of a lane's doings are worth an Event, and in which words.

Pure. Called by the lanes; the recorder writes them. Reasons are those `kubectl describe pod` shows on any
cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from agent.pods.actions import (
    Action,
    CreateContainer,
    EnsureImage,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
)
from agent.pods.config.dns_config import lacks_cluster_dns, list_omissions
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.goal import find_container, is_ephemeral
from agent.pods.outcomes import ActionResult, HookFailed, ImageEnsured
from agent.pods.overdue import format_instant
from agent.pods.ports import LocalImage, ProbeFailure, ProbeTrouble
from agent.pods.progress import Failure, InFlight
from kubeapi.pod import Container, ContainerStatus, Pod, PodStatus


@dataclass(frozen=True, slots=True)
class PodEvent:
    """`container` names the part it is about, if one."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


class PodEvents(Protocol):
    def record(self, pod: Pod, event: PodEvent) -> None:
        """Notes that something happened; returns at once and never fails."""


def describe_pulling(container: Container) -> PodEvent:
    """Told by who pulls: most actions that ensure an image find it there."""
    return PodEvent("Pulling", f'Pulling image "{container.image}"', container.name)


def describe_begin(action: Action) -> PodEvent | None:
    """What is told before the action."""
    if isinstance(action, StopContainer):
        message = action.why or f"Stopping container {action.container}"
        return PodEvent("Killing", message, action.container)
    return None


def describe_names(pod: Pod, environment: PodEnvironment) -> Iterator[PodEvent]:
    """Told before a sandbox is made: how its resolv.conf differs from what the pod asks for."""
    dns = environment.cluster_dns
    if lacks_cluster_dns(pod, dns):
        message = (
            "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
            f'"{pod.spec.dns_policy}" policy. Falling back to "Default" policy.'
        )
        yield PodEvent("MissingClusterDNS", message, warning=True)
    for message in list_omissions(pod, environment.host_resolver, dns, environment.cluster_domain):
        yield PodEvent("DNSConfigForming", message, warning=True)


def describe_success(pod: Pod, action: Action, result: ActionResult) -> PodEvent | None:
    match action, result:
        case EnsureImage(), ImageEnsured(image):
            return PodEvent("Pulled", _describe_image(_image_name(pod, action), image), action.container)
        case CreateContainer(), _:
            return PodEvent("Created", f"Created container: {action.container}", action.container)
        case StartContainer(), _:
            return PodEvent("Started", f"Started container {action.container}", action.container)
        case RunPreStopHook(), HookFailed(message):
            return PodEvent("FailedPreStopHook", message, action.container, warning=True)
        case RunPostStartHook(), HookFailed(message):
            return PodEvent("FailedPostStartHook", message, action.container, warning=True)
        case _:
            return None


def describe_failure(pod: Pod, action: Action, failure: Failure) -> PodEvent:
    container = getattr(action, "container", "")
    reason, message = failure.reason, failure.message
    match action:
        case RunPodSandbox():
            message = f"Failed to create pod sandbox: {message}"
        case EnsureImage() if reason == "ErrImagePull":
            reason, message = "Failed", f'Failed to pull image "{_image_name(pod, action)}": {message}'
        case EnsureImage() if reason == "ImagePullBackOff":
            return PodEvent("BackOff", message, container)
        case CreateContainer() | StartContainer():
            reason, message = "Failed", f"Error: {message}"
        case _:
            pass
    return PodEvent(reason, message, container, warning=True)


_OVERDUE_REASONS: Final = MappingProxyType(
    {
        "PrepareVolumes": "FailedMount",
        "RefreshVolumes": "FailedMount",
        "RunPodSandbox": "FailedCreatePodSandBox",
        "EnsureImage": "Pulling",
        "CreateContainer": "Failed",
        "StartContainer": "Failed",
        "RunPostStartHook": "FailedPostStartHook",
        "RunPreStopHook": "Killing",
        "StopContainer": "FailedKillContainer",
        "DeletePod": "FailedSync",
    }
)
# They may well take longer than other calls, and nothing is wrong then.
_PATIENT: Final = frozenset({"EnsureImage", "RunPreStopHook"})


def describe_overdue(action: Action, call: InFlight) -> PodEvent:
    """A call that takes too long, while it is still in flight."""
    container = getattr(action, "container", "")
    reason = _OVERDUE_REASONS.get(call.what, "FailedKillPod")
    message = call.overdue
    if isinstance(action, RunPreStopHook):
        message += f"; the container is killed at {format_instant(action.kill_at)}"
    return PodEvent(reason, message, container, warning=call.what not in _PATIENT)


def describe_unreadable(message: str) -> PodEvent:
    """The runtime doesn't say how the pod is."""
    return PodEvent("FailedSync", f"error determining status: {message}", warning=True)


def describe_probe_failure(failure: ProbeFailure) -> PodEvent:
    match failure.trouble:
        case ProbeTrouble.FAILED | ProbeTrouble.HANGS | ProbeTrouble.WARNING as trouble:
            what = trouble.value
        case ProbeTrouble.ERRORED:
            what = "errored and resulted in unknown state"
    message = f"{failure.kind.value.capitalize()} probe {what}: {failure.message}"
    reason = "ProbeWarning" if failure.trouble is ProbeTrouble.WARNING else "Unhealthy"
    return PodEvent(reason, message, failure.container, warning=True)


def describe_crash_loops(pod: Pod, status: PodStatus) -> Iterator[PodEvent]:
    """One for each container that `status` newly shows in CrashLoopBackOff, against the pod's own status."""
    known = {_crash_looping(container) for container in _list_statuses(pod.status)}
    meta = pod.metadata
    for container in _list_statuses(status):
        if (crashed := _crash_looping(container)) is not None and crashed not in known:
            where = f"in pod {meta.name}_{meta.namespace}({meta.uid})"
            message = f"Back-off restarting failed container {container.name} {where}"
            yield PodEvent("BackOff", message, container.name, warning=True)


def _crash_looping(status: ContainerStatus) -> str | None:
    """The id of the container whose exit is waited out, if one is."""
    waiting = status.state.waiting
    return status.container_id if waiting is not None and waiting.reason == "CrashLoopBackOff" else None


def _list_statuses(status: PodStatus) -> tuple[ContainerStatus, ...]:
    return (*status.init_container_statuses, *status.container_statuses)


def _image_name(pod: Pod, action: EnsureImage) -> str:
    container = find_container(pod, action.container)
    return container.image if container is not None else ""


def _describe_image(name: str, image: LocalImage) -> str:
    if not image.pulled:
        return f'Container image "{name}" already present on machine'
    if (pull := image.pull) is None:
        return f'Successfully pulled image "{name}"'
    took, waited = format_duration(pull.seconds), format_duration(pull.waiting_seconds)
    size = f"Image size: {pull.size_bytes} bytes."
    return f'Successfully pulled image "{name}" in {took} ({waited} including waiting). {size}'


def format_duration(seconds: float) -> str:
    """Milliseconds as Go prints them: 543ms, 1.2s, 1m2.5s."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def build_field_path(pod: Pod, container: str) -> str:
    """Where in the pod the part lies that an event is about; empty for the pod itself."""
    if not container:
        return ""
    if any(init.name == container for init in pod.spec.init_containers):
        return f"spec.initContainers{{{container}}}"
    kind = "ephemeralContainers" if is_ephemeral(pod, container) else "containers"
    return f"spec.{kind}{{{container}}}"
