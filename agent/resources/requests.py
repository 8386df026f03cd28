"""What a whole pod holds of a resource: its containers' requests and limits added up as they run.

Pure. Called by the admission, the resize and the pod-level cgroup's numbers. CPU in millicores, everything
else in units. Follows the "Resource sharing within containers" section of the init container page, the
sidecar KEP-753 and the pod-level resources of KEP-2837.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kubeapi.meta import QuantityText
from kubeapi.pod import Container, Pod, ResourceRequirements
from kubeapi.quantity import parse_quantity

COMPUTE: Final = ("cpu", "memory")


def read_amount(quantities: Mapping[str, QuantityText], resource: str) -> int:
    """CPU in millicores, everything else in units; 0 where it isn't named."""
    if resource not in quantities:
        return 0
    quantity = parse_quantity(quantities[resource])
    return quantity.millis() if resource == "cpu" else quantity.units()


def compute_container_request(resources: ResourceRequirements, resource: str) -> int:
    """The request; of a container that names a limit alone, the limit is the request, too."""
    named = resources.requests if resource in resources.requests else resources.limits
    return read_amount(named, resource)


def compute_pod_request(pod: Pod, resource: str) -> int:
    """What the pod holds: its app containers and sidecars together, or more where an init container needs
    more beside the sidecars before it; the pod's own request where it has one; always with the overhead.
    """
    overhead = read_amount(pod.spec.overhead, resource)
    own = pod.spec.resources or ResourceRequirements()
    if resource in COMPUTE and (resource in own.requests or resource in own.limits):
        return compute_container_request(own, resource) + overhead
    return _add_up(pod, lambda container: compute_container_request(container.resources, resource)) + overhead


def list_requested(pod: Pod) -> tuple[str, ...]:
    """The names of all resources that the pod requests, each once: CPU and memory first."""
    own = (pod.spec.resources,) if pod.spec.resources else ()
    containers = (each.resources for each in (*pod.spec.init_containers, *pod.spec.containers))
    named = [name for part in (*own, *containers) for name in (*part.requests, *part.limits)]
    first = [name for name in COMPUTE if name in (*named, *pod.spec.overhead)]
    return tuple(dict.fromkeys((*first, *named, *pod.spec.overhead)))


def compute_pod_limit(pod: Pod, resource: str) -> int | None:
    """The most the pod may use; None where a container has no limit, and so the pod has none either."""
    overhead = read_amount(pod.spec.overhead, resource)
    own = pod.spec.resources or ResourceRequirements()
    if resource in COMPUTE and resource in own.limits:
        return read_amount(own.limits, resource) + overhead
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    if not containers or not all(read_amount(each.resources.limits, resource) for each in containers):
        return None
    return _add_up(pod, lambda container: read_amount(container.resources.limits, resource)) + overhead


def _add_up(pod: Pod, measure: Callable[[Container], int]) -> int:
    sidecars, peak = 0, 0
    for init in pod.spec.init_containers:
        amount = measure(init)
        if init.restart_policy == "Always":
            sidecars += amount
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + amount)
    return max(sum(map(measure, pod.spec.containers)) + sidecars, peak)
