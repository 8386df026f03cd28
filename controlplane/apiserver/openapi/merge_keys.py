"""Which lists and objects a strategic merge patch merges, and by what key.

Pure data: facts of the Kubernetes API reference ("Patch strategy: merge on key …"). A list that isn't named
here is replaced as a whole. Read by the strategic merge patch and by the OpenAPI documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class PatchStrategy:
    """How a field is patched; the key is empty for lists of plain values and for objects."""

    merge_key: str = ""
    merge: bool = True
    retain_keys: bool = False

    def __str__(self) -> str:
        names = (("merge", self.merge), ("retainKeys", self.retain_keys))
        return ",".join(name for name, holds in names if holds)


_CORE: Final = "io.k8s.api.core.v1."
_APPS: Final = "io.k8s.api.apps.v1."
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."

_CONTAINER_FIELDS: Final = {
    "ports": PatchStrategy("containerPort"),
    "env": PatchStrategy("name"),
    "volumeMounts": PatchStrategy("mountPath"),
    "volumeDevices": PatchStrategy("devicePath"),
}
_CONDITIONS: Final = {"conditions": PatchStrategy("type")}

PATCH_STRATEGIES: Final[Mapping[str, Mapping[str, PatchStrategy]]] = MappingProxyType(
    {
        _META + "ObjectMeta": {"ownerReferences": PatchStrategy("uid"), "finalizers": PatchStrategy()},
        _CORE + "PodSpec": {
            "volumes": PatchStrategy("name", retain_keys=True),
            "initContainers": PatchStrategy("name"),
            "containers": PatchStrategy("name"),
            "ephemeralContainers": PatchStrategy("name"),
            "imagePullSecrets": PatchStrategy("name"),
            "hostAliases": PatchStrategy("ip"),
            "topologySpreadConstraints": PatchStrategy("topologyKey"),
            "schedulingGates": PatchStrategy("name"),
            "resourceClaims": PatchStrategy("name", retain_keys=True),
        },
        _CORE + "Container": _CONTAINER_FIELDS,
        _CORE + "EphemeralContainer": _CONTAINER_FIELDS,
        _CORE + "PodStatus": {
            **_CONDITIONS,
            "podIPs": PatchStrategy("ip"),
            "hostIPs": PatchStrategy("ip"),
            "resourceClaimStatuses": PatchStrategy("name", retain_keys=True),
        },
        _CORE + "ContainerStatus": {
            "volumeMounts": PatchStrategy("mountPath"),
            "allocatedResourcesStatus": PatchStrategy("name"),
        },
        _CORE + "NodeSpec": {"podCIDRs": PatchStrategy()},
        _CORE + "NodeStatus": {**_CONDITIONS, "addresses": PatchStrategy("type")},
        _CORE + "ServiceSpec": {"ports": PatchStrategy("port")},
        _CORE + "ServiceStatus": _CONDITIONS,
        _CORE + "ServiceAccount": {"secrets": PatchStrategy("name")},
        _CORE + "NamespaceStatus": _CONDITIONS,
        _APPS + "DeploymentSpec": {"strategy": PatchStrategy(merge=False, retain_keys=True)},
        _APPS + "DeploymentStatus": _CONDITIONS,
        _APPS + "ReplicaSetStatus": _CONDITIONS,
    }
)


def find_patch_strategy(type_name: str, field_name: str) -> PatchStrategy | None:
    """How that field of that type is patched; None means that a list is replaced and an object is merged."""
    return PATCH_STRATEGIES.get(type_name, {}).get(field_name)
