"""EndpointSlices of one Service: an endpoint stays in the slice it is in, so that one pod's change rewrites
one.

Pure. Called by `controlplane.controllers.endpointslice.observe`. A Service without endpoints keeps one
empty slice, which the first endpoint fills. Follows the EndpointSlices page of the Kubernetes
documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from controlplane.controllers.actions import Action, Create, Delete, MergePatch, Plan
from controlplane.controllers.claim import build_controller_reference
from controlplane.controllers.conditions import get_condition
from controlplane.controllers.endpointslice.endpoints import get_families, group_by_ports
from controlplane.controllers.names import choose_names
from kubeapi.core import Service
from kubeapi.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL, Endpoint, EndpointSlice
from kubeapi.meta import ObjectKey, format_time, parse_time
from kubeapi.pod import Pod
from kubeapi.resources import ENDPOINT_SLICES
from kubeapi.service_endpoints import Ports

MANAGED_BY: Final = "endpointslice-controller.k8s.io"
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"
TRIGGER_TIME_ANNOTATION: Final = "endpoints.kubernetes.io/last-change-trigger-time"
MOST_ENDPOINTS_PER_SLICE: Final = 100


@dataclass(frozen=True, slots=True)
class ObservedService:
    """`pods` match the selector; `slices` are ours; `zones` by node name."""

    service: Service
    pods: tuple[Pod, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    zones: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What one slice should hold: `slice` is None for one that must be made."""

    slice: EndpointSlice | None
    ports: Ports
    endpoints: tuple[Endpoint, ...]


def plan_endpoint_slices(observed: ObservedService, now: datetime) -> Plan:
    """Nothing for Services that others look after: those without a selector, and names for outside."""
    service = observed.service
    deleting = service.metadata.deletion_timestamp is not None
    if deleting or not service.spec.selector or service.spec.type == "ExternalName":
        return Plan()
    families = get_families(service)
    actions: list[Action] = [
        _build_deletion(each) for each in observed.slices if each.address_type not in families
    ]
    for family in families:
        actions += _plan_family(observed, family, now)
    return Plan(tuple(actions))


def _plan_family(observed: ObservedService, family: str, now: datetime) -> list[Action]:
    groups = group_by_ports(observed.service, observed.pods, family, observed.zones)
    slices = [
        each
        for each in observed.slices
        if each.address_type == family and each.metadata.deletion_timestamp is None
    ]
    kept: list[_Layout] = []
    for ports in sorted(groups, key=str):
        kept += _keep_in_place([each for each in slices if each.ports == ports], ports, groups[ports])
    spare = [each for each in slices if each.ports not in groups]
    layouts = _place_rest(kept, groups, spare)
    pods = {pod.metadata.uid: pod for pod in observed.pods}
    return _plan_layouts(observed, family, layouts, spare, pods, now)


def _keep_in_place(slices: list[EndpointSlice], ports: Ports, group: Mapping[str, Endpoint]) -> list[_Layout]:
    """Each slice with the endpoints that it holds already, as they are now; a pod is kept once."""
    layouts: list[_Layout] = []
    seen: set[str] = set()
    for each in slices:
        uids = [uid for uid in map(_get_pod_uid, each.endpoints) if uid in group and uid not in seen]
        seen.update(uids)
        endpoints = tuple(group[uid] for uid in dict.fromkeys(uids))[:MOST_ENDPOINTS_PER_SLICE]
        layouts.append(_Layout(each, ports, endpoints))
    return layouts


def _place_rest(
    kept: list[_Layout], groups: Mapping[Ports, Mapping[str, Endpoint]], spare: list[EndpointSlice]
) -> list[_Layout]:
    """New endpoints go to slices that are rewritten anyway, then to the fullest with room, then to spare
    slices of other ports (which leave `spare`), then to new ones.
    """
    layouts: list[_Layout] = []
    for ports in sorted(groups, key=str):
        mine = [layout for layout in kept if layout.ports == ports]
        placed = {_get_pod_uid(endpoint) for layout in mine for endpoint in layout.endpoints}
        rest = [endpoint for uid, endpoint in groups[ports].items() if uid not in placed]
        for layout in sorted(mine, key=lambda each: (not _is_rewritten(each), -len(each.endpoints))):
            room = MOST_ENDPOINTS_PER_SLICE - len(layout.endpoints)
            taken, rest = rest[:room], rest[room:]
            layouts.append(_Layout(layout.slice, ports, (*layout.endpoints, *taken)))
        while rest:
            taken, rest = rest[:MOST_ENDPOINTS_PER_SLICE], rest[MOST_ENDPOINTS_PER_SLICE:]
            layouts.append(_Layout(spare.pop(0) if spare else None, ports, tuple(taken)))
    return layouts


def _plan_layouts(
    observed: ObservedService,
    family: str,
    layouts: list[_Layout],
    spare: list[EndpointSlice],
    pods: Mapping[str, Pod],
    now: datetime,
) -> list[Action]:
    """Slices that ended up empty go, except the last one: it stays, without ports."""
    filled = [layout for layout in layouts if layout.endpoints]
    unused = [layout.slice for layout in layouts if layout.slice and not layout.endpoints] + spare
    if not filled:
        filled = [_Layout(unused.pop(0) if unused else None, (), ())]
    actions: list[Action] = []
    missing = [layout for layout in filled if layout.slice is None]
    names = _choose_slice_names(observed, family, len(missing), now)
    actions += [
        _build_creation(observed.service, family, name, layout, pods)
        for name, layout in zip(names, missing, strict=True)
    ]
    for layout in filled:
        if layout.slice is not None:
            actions += _plan_rewrite(observed.service, layout.slice, layout, pods, now)
    return actions + [_build_deletion(each) for each in unused]


def _plan_rewrite(
    service: Service, slice_: EndpointSlice, layout: _Layout, pods: Mapping[str, Pod], now: datetime
) -> list[Action]:
    labels = _build_labels(service)
    body: dict[str, Any] = {}
    if layout.ports != slice_.ports:
        body["ports"] = [_write_port(port) for port in layout.ports]
    changed = set(map(_freeze, slice_.endpoints)) ^ set(map(_freeze, layout.endpoints))
    if changed:
        body["endpoints"] = [_write_endpoint(endpoint) for endpoint in layout.endpoints]
    metadata: dict[str, Any] = {}
    if dict(slice_.metadata.labels) != labels:
        dropped = {name: None for name in slice_.metadata.labels if name not in labels}
        metadata["labels"] = {**dropped, **labels}
    if changed:
        before = {_get_pod_uid(each): each for each in slice_.endpoints}
        after = {_get_pod_uid(each): each for each in layout.endpoints}
        uids = [uid for uid in {**before, **after} if before.get(uid) != after.get(uid)]
        trigger = _compute_trigger_time((pods.get(uid) for uid in uids), now)
        metadata["annotations"] = {TRIGGER_TIME_ANNOTATION: trigger}
    if metadata:
        body["metadata"] = metadata
    return [MergePatch(ENDPOINT_SLICES, slice_.key, body)] if body else []


def _build_creation(
    service: Service, family: str, name: str, layout: _Layout, pods: Mapping[str, Pod]
) -> Create:
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": f"{service.metadata.name}-",
        "namespace": service.metadata.namespace,
        "labels": _build_labels(service),
        "ownerReferences": [build_controller_reference(service)],
    }
    mine = [pods.get(_get_pod_uid(endpoint)) for endpoint in layout.endpoints]
    created = service.metadata.creation_timestamp
    if mine and created:
        trigger = _compute_trigger_time(mine, parse_time(created))
        metadata["annotations"] = {TRIGGER_TIME_ANNOTATION: max(trigger, created)}
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "endpoints": [_write_endpoint(endpoint) for endpoint in layout.endpoints],
        "ports": [_write_port(port) for port in layout.ports],
    }
    return Create(ENDPOINT_SLICES, ObjectKey(service.metadata.namespace, name), body)


def _build_deletion(slice_: EndpointSlice) -> Delete:
    return Delete(ENDPOINT_SLICES, slice_.key, slice_.metadata.uid)


def _choose_slice_names(observed: ObservedService, family: str, count: int, now: datetime) -> tuple[str, ...]:
    taken = frozenset(each.metadata.name for each in observed.slices)
    meta = observed.service.metadata
    return choose_names(meta.name, f"{meta.uid} {family} {now.isoformat()}", count, taken)


def _build_labels(service: Service) -> dict[str, str]:
    own = {SERVICE_NAME_LABEL: service.metadata.name, MANAGED_BY_LABEL: MANAGED_BY}
    if service.spec.cluster_ip == "None":
        own[HEADLESS_LABEL] = ""
    copied = {
        name: text
        for name, text in service.metadata.labels.items()
        if name not in (SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)
    }
    return {**copied, **own}


def _compute_trigger_time(pods: Iterable[Pod | None], otherwise: datetime) -> str:
    """When the latest of these pods came to be as it is; a pod that is gone went away at `otherwise`."""
    instants = []
    for pod in pods:
        ready = get_condition(pod.status.conditions, "Ready") if pod is not None else None
        instants.append((ready.last_transition_time if ready else None) or format_time(otherwise))
    return max(instants, default=format_time(otherwise))


def _is_rewritten(layout: _Layout) -> bool:
    return layout.slice is None or layout.slice.endpoints != layout.endpoints


def _get_pod_uid(endpoint: Endpoint) -> str:
    return endpoint.target_ref.uid if endpoint.target_ref is not None else ""


def _freeze(endpoint: Endpoint) -> bytes:
    return msgspec.json.encode(endpoint)


def _write_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    written: dict[str, Any] = msgspec.to_builtins(endpoint)
    return written


def _write_port(port: Any) -> dict[str, Any]:
    # The protocol in full, although it is the default: consumers of the document read it as it stands.
    return {"name": port.name, "protocol": port.protocol, **msgspec.to_builtins(port)}
