"""Validation of containers: names, images, ports, mounts, security, and what differs between the three lists.

Pure. Called by the pod's validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from controlplane.apiserver.validation.environment import check_variable_sources, check_variables
from controlplane.apiserver.validation.names import check_label, check_port_name, check_port_number
from controlplane.apiserver.validation.probes import check_lifecycle, check_probes
from controlplane.apiserver.validation.resources import check_resources
from controlplane.apiserver.validation.restart_rules import check_restart_rules, check_stop_signal
from controlplane.apiserver.validation.volumes import check_descending_path

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES: Final = ("FallbackToLogsOnError", "File")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_PROPAGATIONS: Final = ("Bidirectional", "HostToContainer", "None")
_RESTART_POLICIES: Final = ("Always", "Never", "OnFailure")
_PROC_MOUNTS: Final = ("Default", "Unmasked")
_RECURSIVE_READ_ONLY: Final = ("Disabled", "Enabled", "IfPossible")
_RESIZABLE: Final = ("cpu", "memory")
_RESIZE_POLICIES: Final = ("NotRequired", "RestartContainer")
_EPHEMERAL_REFUSAL: Final = "cannot be set for an Ephemeral Container"
_NOT_EPHEMERAL: Final = (
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
)
_LARGEST_ID: Final = 2**31 - 1
_ID_RULE: Final = f"must be between 0 and {_LARGEST_ID}, inclusive"


def check_containers(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of all containers of a pod spec, across the lists."""
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    volumes = {volume.get("name", "") for volume in spec.get("volumes", ())}
    seen: set[str] = set()
    for list_name in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(list_name, ())):
            place = f"{path}.{list_name}[{index}]"
            yield from _check_name(container.get("name", ""), seen, place)
            yield from _check_container(container, volumes, place)
            yield from check_restart_rules(container, place)
            yield from _check_hooks(container, spec, f"{place}.lifecycle")
            yield from _check_proc_mount(container, spec, f"{place}.securityContext.procMount")
            yield from _check_resize_policy(container, spec, f"{place}.resizePolicy")
            if list_name == "initContainers":
                yield from _check_init_container(container, place)
            if list_name == "ephemeralContainers":
                yield from _check_ephemeral_container(container, spec, place)
    yield from _check_host_ports(spec, path)


def _check_name(name: str, seen: set[str], path: str) -> Iterator[Cause]:
    if not name:
        yield required(f"{path}.name")
        return
    for problem in check_label(name):
        yield invalid(f"{path}.name", name, problem)
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def _check_container(container: Mapping[str, Any], volumes: set[str], path: str) -> Iterator[Cause]:
    image = container.get("image", "")
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from _check_policies(container, path)
    yield from _check_ports(container.get("ports", ()), f"{path}.ports")
    yield from check_variables(container.get("env", ()), f"{path}.env")
    yield from check_variable_sources(container.get("envFrom", ()), f"{path}.envFrom")
    yield from _check_mounts(container, volumes, f"{path}.volumeMounts")
    yield from check_probes(container, path)
    yield from check_resources(container.get("resources", {}), f"{path}.resources")
    yield from _check_security(container.get("securityContext", {}), f"{path}.securityContext")


def _check_hooks(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    lifecycle = container.get("lifecycle", {})
    yield from check_lifecycle(lifecycle, spec.get("terminationGracePeriodSeconds"), path)
    yield from check_stop_signal(lifecycle, spec.get("os", {}).get("name", ""), path)


def _check_proc_mount(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    proc_mount = container.get("securityContext", {}).get("procMount", "Default")
    if proc_mount not in _PROC_MOUNTS:
        yield not_supported(path, proc_mount, _PROC_MOUNTS)
    elif proc_mount == "Unmasked" and spec.get("hostUsers", True):
        yield invalid(path, proc_mount, "`hostUsers` must be false to use `Unmasked`")


def _check_policies(container: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name, supported in (
        ("imagePullPolicy", _PULL_POLICIES),
        ("terminationMessagePolicy", _MESSAGE_POLICIES),
        ("restartPolicy", _RESTART_POLICIES),
    ):
        if name in container and container[name] not in supported:
            yield not_supported(f"{path}.{name}", container[name], supported)


def _check_init_container(container: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Only a sidecar runs long enough to be probed."""
    if container.get("restartPolicy") == "Always":
        return
    for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            yield forbidden(
                f"{path}.{name}", "may not be set for init containers without restartPolicy=Always"
            )

    if container.get("resizePolicy"):
        yield invalid(
            f"{path}.resizePolicy", container["resizePolicy"], "must not be set for init containers"
        )


def _check_ephemeral_container(
    container: Mapping[str, Any], spec: Mapping[str, Any], path: str
) -> Iterator[Cause]:
    """It helps to look into a pod and is no part of what the pod is for."""
    target = container.get("targetContainerName", "")
    others = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    if target and all(other.get("name") != target for other in others):
        yield not_found(f"{path}.targetContainerName", target)
    for name in _NOT_EPHEMERAL:
        if container.get(name):
            yield forbidden(f"{path}.{name}", _EPHEMERAL_REFUSAL)
    for index, mount in enumerate(container.get("volumeMounts", ())):
        for name in ("subPath", "subPathExpr"):
            if mount.get(name):
                yield forbidden(f"{path}.volumeMounts[{index}].{name}", _EPHEMERAL_REFUSAL)


def _check_resize_policy(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, policy in enumerate(container.get("resizePolicy", ())):
        resource, action = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if resource in seen:
            yield duplicate(f"{path}[{index}]", resource)
        seen.add(resource)
        for value, supported in ((resource, _RESIZABLE), (action, _RESIZE_POLICIES)):
            if not value:
                yield required(path)
            elif value not in supported:
                yield not_supported(path, value, supported)
        if spec.get("restartPolicy") == "Never" and action == "RestartContainer":
            yield invalid(path, action, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _check_ports(ports: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        place, name = f"{path}[{index}]", port.get("name", "")
        for problem in check_port_name(name) if name else ():
            yield invalid(f"{place}.name", name, problem)
        if name in names:
            yield duplicate(f"{place}.name", name)
        if name:
            names.add(name)
        if not port.get("containerPort"):
            yield required(f"{place}.containerPort")
        for field in ("containerPort", "hostPort"):
            for problem in check_port_number(port[field]) if port.get(field) else ():
                yield invalid(f"{place}.{field}", port[field], problem)
        if port.get("protocol", "TCP") not in PROTOCOLS:
            yield not_supported(f"{place}.protocol", port["protocol"], PROTOCOLS)


def _check_host_ports(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, container in enumerate(spec.get("containers", ())):
        for number, port in enumerate(container.get("ports", ())):
            place = f"{path}.containers[{index}].ports[{number}]"
            host_port = port.get("hostPort", 0)
            if spec.get("hostNetwork") and host_port and host_port != port.get("containerPort"):
                yield invalid(
                    f"{place}.containerPort",
                    port.get("containerPort", 0),
                    "must match `hostPort` when `hostNetwork` is true",
                )
            claim = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{host_port}"
            if host_port and claim in seen:
                yield duplicate(f"{place}.hostPort", claim)
            seen.add(claim)


def _check_mounts(container: Mapping[str, Any], volumes: set[str], path: str) -> Iterator[Cause]:
    mount_points: set[str] = set()
    is_privileged = container.get("securityContext", {}).get("privileged", False)
    for index, mount in enumerate(container.get("volumeMounts", ())):
        place, name, point = f"{path}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{place}.name")
        elif name not in volumes:
            yield not_found(f"{place}.name", name)
        if not point:
            yield required(f"{place}.mountPath")
        elif point in mount_points:
            yield invalid(f"{place}.mountPath", point, "must be unique")
        mount_points.add(point)
        yield from _check_mount_options(mount, is_privileged, place)


def _check_mount_options(mount: Mapping[str, Any], is_privileged: bool, path: str) -> Iterator[Cause]:
    for field in ("subPath", "subPathExpr"):
        yield from check_descending_path(mount.get(field, ""), f"{path}.{field}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        yield invalid(
            f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
        )
    yield from _check_recursive_read_only(mount, f"{path}.recursiveReadOnly")
    propagation = mount.get("mountPropagation", "None")
    if propagation not in _PROPAGATIONS:
        yield not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS)
    if propagation == "Bidirectional" and not is_privileged:
        yield forbidden(
            f"{path}.mountPropagation",
            "Bidirectional mount propagation is available only to privileged containers",
        )


def _check_recursive_read_only(mount: Mapping[str, Any], path: str) -> Iterator[Cause]:
    mode = mount.get("recursiveReadOnly", "Disabled")
    if mode not in _RECURSIVE_READ_ONLY:
        yield not_supported(path, mode, _RECURSIVE_READ_ONLY)
    elif mode != "Disabled":
        if not mount.get("readOnly"):
            yield forbidden(path, "may only be specified when readOnly is true")
        if mount.get("mountPropagation", "None") != "None":
            yield forbidden(path, "may only be specified when mountPropagation is None or not specified")


def _check_security(context: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from check_ids(context, ("runAsUser", "runAsGroup"), path)
    if context.get("allowPrivilegeEscalation", True):
        return
    if context.get("privileged"):
        yield invalid(
            path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        )
    if {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set(context.get("capabilities", {}).get("add", ())):
        yield invalid(
            path,
            context,
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
        )


def check_ids(context: Mapping[str, Any], names: Sequence[str], path: str) -> Iterator[Cause]:
    """Broken rules of user and group numbers."""
    for name in names:
        if name in context:
            yield from check_id(context[name], f"{path}.{name}")


def check_id(number: int, path: str) -> Iterator[Cause]:
    """Broken rules of one user or group number."""
    if not 0 <= number <= _LARGEST_ID:
        yield invalid(path, number, _ID_RULE)
