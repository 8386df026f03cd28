"""What a running container is given anew, as CRI's numbers, and when its memory can't be made less.

Pure. Called by `execute` for UpdateContainerResources. The kernel kills a container that holds more than a
new memory limit, so such a limit is refused, and asked for again later. Follows KEP-1287 and CRI v1, where 0
leaves a number as it is.
"""

from __future__ import annotations

from agent.pods.actions import UpdateContainerResources
from agent.pods.config.container_config import build_container_resources
from agent.resources.pod_limits import CPU_PERIOD_MICROSECONDS
from agent.resources.requests import read_amount
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import Container, Pod

UPDATE_ERROR = "Error"


def build_resource_update(
    pod: Pod, container: Container, action: UpdateContainerResources, memory_capacity_bytes: int
) -> cri.LinuxContainerResources:
    """The numbers of `action.wanted`; a limit that is gone is named, as -1."""
    resources = build_container_resources(pod, container, memory_capacity_bytes)
    if "cpu" in action.actuated.limits and not resources.cpu_quota:
        resources.cpu_period, resources.cpu_quota = CPU_PERIOD_MICROSECONDS, -1
    if "memory" in action.actuated.limits and not resources.memory_limit_in_bytes:
        resources.memory_limit_in_bytes = -1
    return resources


def is_memory_lowered(action: UpdateContainerResources) -> bool:
    """Whether the container may use less memory afterwards."""
    limit, before = _limits(action)
    return limit > 0 and (before == 0 or limit < before)


def find_memory_conflict(action: UpdateContainerResources, used_bytes: int | None) -> str | None:
    """A sentence where a lower limit would leave less than is in use; also where nobody knows what is."""
    limit, _ = _limits(action)
    if used_bytes is None:
        return f"the runtime doesn't tell how much memory container {action.container} uses"
    if used_bytes < limit:
        return None
    return (
        f'attempting to set container "{action.container}" memory limit ({limit}) '
        f"below current usage ({used_bytes})"
    )


def _limits(action: UpdateContainerResources) -> tuple[int, int]:
    return read_amount(action.wanted.limits, "memory"), read_amount(action.actuated.limits, "memory")
