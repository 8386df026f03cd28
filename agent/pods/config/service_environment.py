"""The environment variables by which a pod finds Services.

Pure. Called by `environment`. Follows the "Discovering services" section of the Service page:
`{NAME}_SERVICE_HOST` and the older Docker link variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kubeapi.core import Service, ServicePort
from kubeapi.pod import Pod

_MASTER: Final = ("default", "kubernetes")


def compute_service_environment(pod: Pod, services: Iterable[Service]) -> Mapping[str, str]:
    """Variables of the pod's own namespace, unless it wants none, and always those of the API server."""
    variables: dict[str, str] = {}
    links = pod.spec.enable_service_links is not False
    namespace = pod.metadata.namespace
    # The pod's own namespace comes last: a Service that is named kubernetes there counts for its pods.
    for service in sorted(services, key=lambda each: (each.metadata.namespace == namespace, each.key)):
        master = (service.metadata.namespace, service.metadata.name) == _MASTER
        own = links and service.metadata.namespace == namespace
        if (own or master) and _has_cluster_ip(service):
            variables.update(_list_variables(service))
    return variables


def _has_cluster_ip(service: Service) -> bool:
    return service.spec.cluster_ip not in ("", "None") and bool(service.spec.ports)


def _list_variables(service: Service) -> Iterator[tuple[str, str]]:
    name, host = _to_variable(service.metadata.name), service.spec.cluster_ip
    first = service.spec.ports[0]
    yield f"{name}_SERVICE_HOST", host
    yield f"{name}_SERVICE_PORT", str(first.port)
    for port in service.spec.ports:
        if port.name:
            yield f"{name}_SERVICE_PORT_{_to_variable(port.name)}", str(port.port)
    yield f"{name}_PORT", _build_url(host, first)
    for port in service.spec.ports:
        prefix = f"{name}_PORT_{port.port}_{port.protocol.upper()}"
        yield prefix, _build_url(host, port)
        yield f"{prefix}_PROTO", port.protocol.lower()
        yield f"{prefix}_PORT", str(port.port)
        yield f"{prefix}_ADDR", host


def _build_url(host: str, port: ServicePort) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{port.protocol.lower()}://{shown}:{port.port}"


def _to_variable(name: str) -> str:
    return name.upper().replace("-", "_")
