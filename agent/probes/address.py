"""Where a probe or hook goes: host, port and HTTP request of an action, from the container's spec.

Pure. Called by the checks in this package and by `agent.pods` for lifecycle hooks. Follows the API's
HTTPGetAction, TCPSocketAction and GRPCAction.
"""

from __future__ import annotations

from dataclasses import dataclass

from kubeapi.meta import IntOrString
from kubeapi.pod import Container, HTTPGetAction


@dataclass(frozen=True, slots=True)
class AddressRefused:
    """Why the action has no address, in one sentence."""

    message: str


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """`path` holds the query too and starts with a slash; `headers` are those of the spec, in its order."""

    scheme: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def resolve_port(container: Container, port: IntOrString) -> int | AddressRefused:
    """The number of a port that may be given by its name in the container."""
    named = next((entry.container_port for entry in container.ports if entry.name == port), None)
    number = named
    if number is None and (isinstance(port, int) or port.isdecimal()):
        number = int(port)
    if number is None:
        return AddressRefused(f"container {container.name!r} has no port named {port!r}")
    if not 0 < number < 65536:
        return AddressRefused(f"port {number} is not between 1 and 65535")
    return number


def build_http_request(
    container: Container, action: HTTPGetAction, pod_ip: str
) -> HTTPRequest | AddressRefused:
    """The request that a httpGet action stands for."""
    port = resolve_port(container, action.port)
    if isinstance(port, AddressRefused):
        return port
    path = action.path if action.path.startswith("/") else "/" + action.path
    headers = tuple((header.name, header.value) for header in action.http_headers)
    return HTTPRequest(action.scheme.lower() or "http", action.host or pod_ip, port, path, headers)
