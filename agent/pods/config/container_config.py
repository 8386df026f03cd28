"""A container as CRI's ContainerConfig.

Pure. Called by `execute` with everything that had to be read or made first. Follows CRI v1; annotations and
labels are those `observed` reads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.pods import observed
from agent.pods.actions import CreateContainer
from agent.pods.config.environment import expand_all
from agent.pods.config.sandbox_config import PodEnvironment, build_pod_labels
from agent.pods.goal import compute_spec_hash
from agent.pods.observed import ObservedPod
from agent.pods.ports import ContainerID, LocalImage, Unavailable
from agent.pods.security.contexts import build_container_security, build_id_mapping
from agent.pods.security.user_ids import IDRange
from agent.resources.qos import compute_cpu_quota, compute_cpu_shares, compute_oom_score_adj
from agent.runtime.values import CONTAINER_NAME_LABEL
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import Container, Pod
from kubeapi.quantity import parse_quantity

_CPU_PERIOD_MICROSECONDS: Final = 100_000
_PROPAGATION: Final[Mapping[str, cri.MountPropagation]] = {
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}


@dataclass(frozen=True, slots=True)
class ContainerMount:
    container_path: str
    host_path: Path
    read_only: bool = False
    propagation: str = ""
    recursive_read_only: bool = False
    image: str = ""
    image_sub_path: str = ""


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """What the shell prepared for one attempt of a container."""

    image: LocalImage
    environment: Mapping[str, str]
    mounts: tuple[ContainerMount, ...]
    termination_file: Path
    target_id: ContainerID | None = None
    users: IDRange | None = None

    def __repr__(self) -> str:
        return f"ContainerInputs({self.image.ref}, {len(self.environment)} variables)"


def build_log_path(action: CreateContainer) -> str:
    """Relative to the pod's log directory."""
    return f"{action.container}/{action.restart_count}.log"


def build_container_config(
    pod: Pod,
    container: Container,
    action: CreateContainer,
    inputs: ContainerInputs,
    environment: PodEnvironment,
) -> cri.ContainerConfig:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container.name, attempt=action.attempt),
        image=cri.ImageSpec(image=inputs.image.ref, user_specified_image=container.image),
        command=expand_all(container.command, inputs.environment),
        args=expand_all(container.args, inputs.environment),
        working_dir=container.working_dir,
        envs=[cri.KeyValue(key=name, value=value.encode()) for name, value in inputs.environment.items()],
        mounts=[_build_mount(mount, inputs.users) for mount in inputs.mounts],
        labels={**build_pod_labels(pod, environment), CONTAINER_NAME_LABEL: container.name},
        annotations=_build_annotations(pod, container, action, inputs),
        log_path=build_log_path(action),
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        stop_signal=_choose_stop_signal(container),
        linux=cri.LinuxContainerConfig(
            resources=build_container_resources(pod, container, environment.memory_capacity_bytes),
            security_context=build_container_security(
                pod, container, inputs.image, environment.seccomp_root, inputs.users
            ),
        ),
    )
    if inputs.target_id is not None:
        namespaces = config.linux.security_context.namespace_options
        namespaces.pid, namespaces.target_id = cri.TARGET, inputs.target_id
    return config


def find_target(container: Container, pod: Pod, there: ObservedPod) -> ContainerID | None:
    """The container whose processes an ephemeral container sees, if it names one; raises Unavailable while
    that one doesn't run. Nothing to join where the whole pod shares its processes.
    """
    name = container.target_container_name
    if not name or pod.spec.share_process_namespace or pod.spec.host_pid:
        return None
    target = there.newest(name)
    if target is None or not target.running:
        raise Unavailable("CreateContainerConfigError", f'unable to find target container "{name}"')
    return target.id


def build_container_resources(
    pod: Pod, container: Container, memory_capacity_bytes: int
) -> cri.LinuxContainerResources:
    """Requests and limits as the kernel's numbers; 0 means no limit."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = parse_quantity(limits["cpu"]).millis() if "cpu" in limits else 0
    cpu_request = parse_quantity(requests["cpu"]).millis() if "cpu" in requests else cpu_limit
    return cri.LinuxContainerResources(
        cpu_period=_CPU_PERIOD_MICROSECONDS if cpu_limit else 0,
        cpu_quota=compute_cpu_quota(cpu_limit, _CPU_PERIOD_MICROSECONDS),
        cpu_shares=compute_cpu_shares(cpu_request),
        memory_limit_in_bytes=parse_quantity(limits["memory"]).units() if "memory" in limits else 0,
        oom_score_adj=compute_oom_score_adj(pod, container, memory_capacity_bytes),
    )


def _build_annotations(
    pod: Pod, container: Container, action: CreateContainer, inputs: ContainerInputs
) -> dict[str, str]:
    return {
        observed.HASH_ANNOTATION: compute_spec_hash(container),
        observed.RESTART_COUNT_ANNOTATION: str(action.restart_count),
        observed.TERMINATION_PATH_ANNOTATION: container.termination_message_path,
        observed.TERMINATION_POLICY_ANNOTATION: container.termination_message_policy,
        observed.TERMINATION_FILE_ANNOTATION: str(inputs.termination_file),
        observed.GRACE_ANNOTATION: str(pod.spec.termination_grace_period_seconds),
        observed.BACKOFF_ANNOTATION: str(round(action.backoff_seconds)),
        observed.POD_RESTARTS_ANNOTATION: str(action.pod_restarts),
        observed.RESOURCES_ANNOTATION: observed.encode_resources(container.resources),
    }


def _build_mount(mount: ContainerMount, users: IDRange | None) -> cri.Mount:
    """With `users` files keep their owners: root's on the host are root's in the pod, and the other way."""
    mapping = [] if users is None else [build_id_mapping(users)]
    if mount.image:
        return cri.Mount(
            container_path=mount.container_path,
            readonly=True,
            image=cri.ImageSpec(image=mount.image),
            image_sub_path=mount.image_sub_path,
        )
    return cri.Mount(
        container_path=mount.container_path,
        host_path=str(mount.host_path),
        readonly=mount.read_only,
        recursive_read_only=mount.recursive_read_only,
        propagation=_PROPAGATION.get(mount.propagation, cri.PROPAGATION_PRIVATE),
        uidMappings=mapping,
        gidMappings=mapping,
    )


def _choose_stop_signal(container: Container) -> str:
    """The enum's name; one that CRI doesn't know leaves the choice to the image."""
    signal = (container.lifecycle.stop_signal if container.lifecycle else None) or ""
    name = signal.replace("+", "PLUS").replace("-", "MINUS")
    return name if name in cri.Signal.keys() else "RUNTIME_DEFAULT"  # noqa: SIM118
