"""Who may do what: one small table, until roles and bindings come.

Pure. Called by the HTTP layer for every request. Administrators and this cluster's own components may do
everything; a node reads what its pods need and writes its own Node, its Lease, pods' status and events;
anybody who is authenticated may discover what is served; nobody else may do more than ask for health and
version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.apiserver.authentication import User
from controlplane.apiserver.request_path import ResourceRequest

ADMINISTRATORS: Final = "system:masters"
NODES: Final = "system:nodes"
NODE_USER_PREFIX: Final = "system:node:"
NODE_LEASE_NAMESPACE: Final = "kube-node-lease"

_COMPONENTS: Final = frozenset(
    {"system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"}
)

PUBLIC_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz", "/version"})

_READ: Final = frozenset({"get", "list", "watch"})
_WRITE: Final = frozenset({"create", "update", "patch"})

# What every node may do, by plural and subresource.
_NODE_RULES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("pods", ""): _READ | {"create", "delete"},
    ("pods", "status"): frozenset({"get", "update", "patch"}),
    ("pods", "eviction"): frozenset({"create"}),
    ("services", ""): _READ,
    ("endpoints", ""): _READ,
    ("endpointslices", ""): _READ,
    ("configmaps", ""): _READ,
    ("secrets", ""): _READ,
    ("serviceaccounts", ""): _READ,
    ("serviceaccounts", "token"): frozenset({"create"}),
    ("persistentvolumes", ""): _READ,
    ("persistentvolumeclaims", ""): _READ,
    ("storageclasses", ""): _READ,
    ("runtimeclasses", ""): _READ,
    ("namespaces", ""): _READ,
    ("nodes", ""): _READ | {"create"},
    ("events", ""): _WRITE,
}

# What a node may do to the one object that bears its name.
_OWN_OBJECT_RULES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("nodes", ""): _WRITE,
    ("nodes", "status"): frozenset({"get", "update", "patch"}),
}
_OWN_LEASE_VERBS: Final = frozenset({"get", "update", "patch", "delete"})


def is_allowed(user: User, request: ResourceRequest) -> bool:
    """Whether the user may make this request for objects."""
    if ADMINISTRATORS in user.groups or user.name in _COMPONENTS:
        return True
    node_name = get_node_name(user)
    return bool(node_name) and _is_allowed_to_node(node_name, request)


def get_node_name(user: User) -> str:
    """Of a node's own agent; empty for anybody else."""
    if ADMINISTRATORS in user.groups or NODES not in user.groups:
        return ""
    return user.name.removeprefix(NODE_USER_PREFIX) if user.name.startswith(NODE_USER_PREFIX) else ""


def is_path_allowed(user: User, path: str) -> bool:
    """Whether the user may read this path, which names no objects."""
    return not user.is_anonymous or is_public_path(path)


def is_public_path(path: str) -> bool:
    """Health and version, health's single checks included."""
    head = "/".join(path.split("/", 2)[:2])
    return path in PUBLIC_PATHS or (head in PUBLIC_PATHS and head != "/version")


def explain_refusal(user: User, request: ResourceRequest) -> str:
    """The sentence after "is forbidden:"."""
    resource = f"{request.kind.plural}/{request.subresource}" if request.subresource else request.kind.plural
    scope = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    return (
        f'User "{user.name}" cannot {request.verb} resource "{resource}" '
        f'in API group "{request.kind.group}" {scope}'
    )


def _is_allowed_to_node(node_name: str, request: ResourceRequest) -> bool:
    resource = (request.kind.plural, request.subresource)
    if request.verb in _NODE_RULES.get(resource, ()):
        return True
    if resource == ("leases", ""):
        if request.namespace != NODE_LEASE_NAMESPACE:
            return False
        return request.verb == "create" or (request.verb in _OWN_LEASE_VERBS and request.name == node_name)
    return request.name == node_name and request.verb in _OWN_OBJECT_RULES.get(resource, ())
