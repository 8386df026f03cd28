"""CRI protobuf messages as this agent's values.

Pure. Called by `agent.runtime.client`. Follows CRI v1: times in nanoseconds since the epoch, 0 meaning never.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import (
    CONTAINER_NAME_LABEL,
    POD_UID_LABEL,
    ContainerState,
    ContainerUsage,
    FilesystemUsage,
    HandlerFeatures,
    LinuxResources,
    LinuxUser,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeFeatures,
    RuntimeImage,
    RuntimeSandbox,
    RuntimeSandboxStatus,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID

_STATES = {
    cri.CONTAINER_CREATED: ContainerState.CREATED,
    cri.CONTAINER_RUNNING: ContainerState.RUNNING,
    cri.CONTAINER_EXITED: ContainerState.EXITED,
}


def decode_time(nanoseconds: int) -> float | None:
    """Seconds since the epoch, or None for CRI's 0."""
    return nanoseconds / 1e9 if nanoseconds > 0 else None


def decode_sandbox(message: cri.PodSandbox) -> RuntimeSandbox:
    return RuntimeSandbox(
        id=SandboxID(message.id),
        pod_uid=PodUID(message.metadata.uid),
        pod_name=message.metadata.name,
        pod_namespace=message.metadata.namespace,
        attempt=message.metadata.attempt,
        ready=message.state == cri.SANDBOX_READY,
        created_at=message.created_at / 1e9,
        labels=MappingProxyType(dict(message.labels)),
        annotations=MappingProxyType(dict(message.annotations)),
    )


def decode_sandbox_status(message: cri.PodSandboxStatus) -> RuntimeSandboxStatus:
    first = (message.network.ip,) if message.network.ip else ()
    return RuntimeSandboxStatus(
        id=SandboxID(message.id),
        ready=message.state == cri.SANDBOX_READY,
        ips=first + tuple(ip.ip for ip in message.network.additional_ips),
        created_at=message.created_at / 1e9,
    )


def decode_container(message: cri.Container) -> RuntimeContainer:
    return RuntimeContainer(
        id=ContainerID(message.id),
        sandbox_id=SandboxID(message.pod_sandbox_id),
        name=message.metadata.name,
        attempt=message.metadata.attempt,
        state=_STATES.get(message.state, ContainerState.UNKNOWN),
        created_at=message.created_at / 1e9,
        image=message.image.image,
        image_ref=message.image_ref,
        labels=MappingProxyType(dict(message.labels)),
        annotations=MappingProxyType(dict(message.annotations)),
    )


def decode_container_status(message: cri.ContainerStatus) -> RuntimeContainerStatus:
    return RuntimeContainerStatus(
        id=ContainerID(message.id),
        state=_STATES.get(message.state, ContainerState.UNKNOWN),
        started_at=decode_time(message.started_at),
        finished_at=decode_time(message.finished_at),
        exit_code=message.exit_code,
        reason=message.reason,
        message=message.message,
        image=message.image.image,
        image_ref=message.image_ref,
        log_path=message.log_path,
        stop_signal=_decode_signal(message.stop_signal),
        resources=_decode_resources(message.resources.linux) if message.HasField("resources") else None,
        user=_decode_user(message.user.linux) if message.user.HasField("linux") else None,
    )


def _decode_user(message: cri.LinuxContainerUser) -> LinuxUser:
    return LinuxUser(message.uid, message.gid, tuple(message.supplemental_groups))


def decode_features(message: cri.StatusResponse) -> RuntimeFeatures:
    groups = message.features.supplemental_groups_policy
    return RuntimeFeatures(
        handlers=MappingProxyType(
            {
                listed.name: HandlerFeatures(
                    recursive_read_only=listed.features.recursive_read_only_mounts,
                    user_namespaces=listed.features.user_namespaces,
                    supplemental_groups_policy=groups,
                )
                for listed in message.runtime_handlers
            }
        ),
        supplemental_groups_policy=groups,
    )


def _decode_resources(message: cri.LinuxContainerResources) -> LinuxResources:
    return LinuxResources(
        cpu_period=message.cpu_period,
        cpu_quota=message.cpu_quota,
        cpu_shares=message.cpu_shares,
        memory_limit_bytes=message.memory_limit_in_bytes,
    )


def _decode_signal(signal: cri.Signal) -> str:
    """As the pod API spells it; empty where the runtime doesn't tell."""
    if signal == cri.RUNTIME_DEFAULT:
        return ""
    return cri.Signal.Name(signal).replace("PLUS", "+").replace("MINUS", "-")


def decode_pid(info: Mapping[str, str]) -> int | None:
    """The process id in a verbose answer: CRI leaves its form open, containerd and CRI-O write it alike."""
    try:
        return msgspec.json.decode(info.get("info", ""), type=_Info).pid or None
    except msgspec.MsgspecError:
        return None


class _Info(msgspec.Struct):
    pid: int = 0


def decode_image(message: cri.Image) -> RuntimeImage:
    return RuntimeImage(
        id=message.id,
        tags=tuple(message.repo_tags),
        digests=tuple(message.repo_digests),
        size_bytes=message.size,
        user_id=message.uid.value if message.HasField("uid") else None,
        user_name=message.username,
        pinned=message.pinned,
    )


def decode_filesystem(message: cri.FilesystemUsage) -> FilesystemUsage:
    return FilesystemUsage(message.fs_id.mountpoint, message.used_bytes.value, message.inodes_used.value)


def decode_usage(message: cri.ContainerStats) -> ContainerUsage:
    labels = message.attributes.labels
    return ContainerUsage(
        container_id=ContainerID(message.attributes.id),
        pod_uid=PodUID(labels.get(POD_UID_LABEL, "")),
        container_name=labels.get(CONTAINER_NAME_LABEL, ""),
        cpu_nanoseconds=message.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=message.memory.working_set_bytes.value,
    )
