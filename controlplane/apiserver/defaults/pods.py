"""Defaults of pods and pod templates.

Pure; changes the documents it is given, which the caller has just made. A template gets what any pod spec
gets; a pod also gets what upstream adds to pods alone, the tolerations that admission gives every pod
included.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.defaults.containers import (
    default_container,
    default_host_ports,
    default_requests,
    default_resize_policy,
)
from controlplane.apiserver.defaults.quality_of_service import compute_qos_class
from controlplane.apiserver.defaults.volumes import default_volume
from controlplane.apiserver.openapi.schema import Document

_EVICTION_SECONDS: Final = 300
_NODE_TROUBLES: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_CONTAINER_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")


def default_pod(pod: Document) -> None:
    """Defaults of a pod, its first status included."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        default_requests(container)
        if spec.get("hostNetwork"):
            default_host_ports(container)
    sidecars = (each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always")
    for container in (*sidecars, *spec.get("containers", ())):
        default_resize_policy(container)
    _add_tolerations(spec)
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    if "qosClass" not in status:
        status["qosClass"] = compute_qos_class(spec)


def default_pod_spec(spec: Document) -> None:
    """Defaults that a pod and a template's pod share."""
    for name in _CONTAINER_LISTS:
        for container in spec.get(name, ()):
            default_container(container)
    for volume in spec.get("volumes", ()):
        default_volume(volume)
    spec["restartPolicy"] = spec.get("restartPolicy") or "Always"
    spec["dnsPolicy"] = spec.get("dnsPolicy") or "ClusterFirst"
    spec["schedulerName"] = spec.get("schedulerName") or "default-scheduler"
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _add_tolerations(spec: Document) -> None:
    """A pod stays 300 s on a node that is not ready or unreachable, unless it says otherwise."""
    tolerations = spec.get("tolerations", [])
    missing = [
        {
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _EVICTION_SECONDS,
        }
        for key in _NODE_TROUBLES
        if not any(_concerns(toleration, key) for toleration in tolerations)
    ]
    if missing:
        spec["tolerations"] = [*tolerations, *missing]


def _concerns(toleration: Document, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")
