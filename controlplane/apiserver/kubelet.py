"""Where a node's own server is, and what a pod's log, exec, attach and port-forward are called there.

Pure. Called by `node_requests`. The API's option names differ from the kubelet's (stdin is input there);
the mapping follows the kubelet's HTTP interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from controlplane.apiserver.failures import bad_request, internal_error
from controlplane.apiserver.request_path import is_true

Query = Iterable[tuple[str, str]]

_STREAMS: Final = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
_LOG_OPTIONS: Final = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)
_CONTAINER_LISTS: Final = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node's HTTPS server listens."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_node_address(node: Mapping[str, Any]) -> NodeAddress:
    """The internal IP and the port that the Node reports; ApiFailure 500 if it reports none."""
    name, status = node["metadata"]["name"], node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    for address in status.get("addresses") or ():
        if address.get("type") == "InternalIP" and port:
            return NodeAddress(address["address"], int(port))
    raise internal_error(f"node {name} has reported no internal address and port yet")


def choose_container(pod: Mapping[str, Any], wanted: str) -> str:
    """The container a request means; ApiFailure 400 if that is unclear or there is none of that name."""
    name, spec = pod["metadata"]["name"], pod.get("spec") or {}
    known = {each["name"] for field in _CONTAINER_LISTS for each in spec.get(field) or ()}
    if wanted:
        if wanted not in known:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    candidates = [each["name"] for each in spec.get("containers") or ()]
    if len(candidates) == 1 and not spec.get("initContainers"):
        return str(candidates[0])
    if len(candidates) == 1 and len(known) == len(candidates):
        return str(candidates[0])
    inits = [each["name"] for each in spec.get("initContainers") or ()]
    listed = f"choose one of: [{' '.join(candidates)}]"
    if inits:
        listed += f" or one of the init containers: [{' '.join(inits)}]"
    raise bad_request(f"a container name must be specified for pod {name}, {listed}")


def require_host(pod: Mapping[str, Any]) -> str:
    """The node a pod is bound to; ApiFailure 400 if none."""
    node_name = (pod.get("spec") or {}).get("nodeName")
    if not node_name:
        raise bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(node_name)


def build_log_target(namespace: str, pod: str, container: str, query: Mapping[str, str]) -> str:
    options = [(name, query[name]) for name in _LOG_OPTIONS if query.get(name)]
    return _target(("containerLogs", namespace, pod, container), options)


def build_stream_target(
    verb: str, namespace: str, pod: str, container: str, query: Mapping[str, str], commands: Iterable[str]
) -> str:
    """The target of exec or attach; ApiFailure 400 if the options contradict each other."""
    wanted = {name for name, _ in _STREAMS if is_true(query.get(name))}
    if not wanted & {"stdin", "stdout", "stderr"}:
        raise bad_request("you must specify at least one of stdin, stdout, stderr")
    if {"tty", "stderr"} <= wanted:
        raise bad_request("tty and stderr cannot both be true")
    told = tuple(commands)
    if verb == "exec" and not told:
        raise bad_request("you must specify at least 1 command for the container")
    options = [("command", command) for command in told]
    options += [(kubelet_name, "1") for name, kubelet_name in _STREAMS if name in wanted]
    return _target((verb, namespace, pod, container), options)


def build_port_forward_target(namespace: str, pod: str, ports: Iterable[str]) -> str:
    """A WebSocket client names its ports in the query, once per port or comma-separated."""
    listed = [("port", port) for text in ports for port in text.split(",") if port]
    return _target(("portForward", namespace, pod), listed)


def _target(segments: Iterable[str], query: Query) -> str:
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    text = urlencode(list(query))
    return f"{path}?{text}" if text else path
