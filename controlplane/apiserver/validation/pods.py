"""Validation of pods and pod templates.

Pure. `check_pod_spec` serves pods and templates alike; `pod_update` says what may change afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from controlplane.apiserver.validation.containers import check_containers, check_id, check_ids
from controlplane.apiserver.validation.metadata import check_annotations, check_labels
from controlplane.apiserver.validation.names import check_label, check_qualified_name, check_subdomain
from controlplane.apiserver.validation.resources import NOT_NEGATIVE
from controlplane.apiserver.validation.scheduling import (
    check_affinity,
    check_spread_constraints,
    check_tolerations,
)
from controlplane.apiserver.validation.volumes import check_volumes

_CLOSED_SETS: Final = (
    ("restartPolicy", ("Always", "Never", "OnFailure")),
    ("dnsPolicy", ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")),
    ("preemptionPolicy", ("Never", "PreemptLowerPriority")),
)
_SUBDOMAINS: Final = ("nodeName", "serviceAccountName", "priorityClassName", "runtimeClassName")
_LABELS: Final = ("hostname", "subdomain")
IP_RULE: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_LONGEST_DEADLINE: Final = 2**31 - 1
_LONGEST_HOSTNAME: Final = 64
_GROUP_POLICIES: Final = (
    ("supplementalGroupsPolicy", ("Merge", "Strict")),
    ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
)
_NAMESERVER_LIMIT: Final = 3
_SEARCH_LIMIT: Final = 32


def check_pod(pod: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a pod's spec."""
    yield from check_pod_spec(pod.get("spec", {}), "spec")


def check_new_pod(pod: Mapping[str, Any]) -> Iterator[Cause]:
    """What only later writes may add."""
    if pod.get("spec", {}).get("ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")


def check_pod_template(template: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a workload's pod template; its labels are named without metadata, as upstream does."""
    metadata, spec = template.get("metadata", {}), template.get("spec", {})
    yield from check_labels(metadata.get("labels", {}), f"{path}.labels")
    yield from check_annotations(metadata.get("annotations", {}), f"{path}.annotations")
    if spec.get("ephemeralContainers"):
        yield forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )
    yield from check_pod_spec(spec, f"{path}.spec")


def check_pod_spec(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a pod spec, wherever it stands."""
    yield from check_volumes(spec.get("volumes", ()), f"{path}.volumes")
    yield from check_containers(spec, path)
    yield from _check_policies(spec, path)
    yield from _check_names(spec, path)
    yield from _check_hostname_override(spec, path)
    yield from _check_periods(spec, path)
    yield from _check_security(spec, path)
    yield from check_labels(spec.get("nodeSelector", {}), f"{path}.nodeSelector")
    yield from check_affinity(spec.get("affinity", {}), f"{path}.affinity")
    yield from check_tolerations(spec.get("tolerations", ()), f"{path}.tolerations")
    yield from check_spread_constraints(
        spec.get("topologySpreadConstraints", ()), f"{path}.topologySpreadConstraints"
    )
    yield from _check_dns(spec, path)
    yield from _check_references(spec, path)


def _check_policies(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name, supported in _CLOSED_SETS:
        if name in spec and spec[name] not in supported:
            yield not_supported(f"{path}.{name}", spec[name], supported)
    if spec.get("os", {}).get("name", "linux") not in ("linux", "windows"):
        yield not_supported(f"{path}.os.name", spec["os"]["name"], ("linux", "windows"))


def _check_names(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name in _SUBDOMAINS:
        for problem in check_subdomain(spec[name]) if spec.get(name) else ():
            yield invalid(f"{path}.{name}", spec[name], problem)
    for name in _LABELS:
        for problem in check_label(spec[name]) if spec.get(name) else ():
            yield invalid(f"{path}.{name}", spec[name], problem)


def _check_periods(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if grace < 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", grace, NOT_NEGATIVE)
    deadline = spec.get("activeDeadlineSeconds", 1)
    if not 1 <= deadline <= _LONGEST_DEADLINE:
        yield invalid(
            f"{path}.activeDeadlineSeconds",
            deadline,
            f"must be between 1 and {_LONGEST_DEADLINE}, inclusive",
        )


def _check_security(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    context, place = spec.get("securityContext", {}), f"{path}.securityContext"
    yield from check_ids(context, ("runAsUser", "runAsGroup", "fsGroup"), place)
    for index, group in enumerate(context.get("supplementalGroups", ())):
        yield from check_id(group, f"{place}.supplementalGroups[{index}]")
    for name, supported in _GROUP_POLICIES:
        if name in context and context[name] not in supported:
            yield not_supported(f"{place}.{name}", context[name], supported)
    for index, sysctl in enumerate(context.get("sysctls", ())):
        if not sysctl.get("name"):
            yield required(f"{place}.sysctls[{index}].name")
    yield from _check_host_users(spec, path)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield invalid(
            f"{path}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"
        )


def _check_host_users(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Users of its own and a host namespace don't go together."""
    if spec.get("hostUsers", True):
        return
    for name, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(name):
            yield forbidden(f"{path}.{shown}", "when `pod.Spec.HostUsers` is false")


def _check_hostname_override(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    name, place = spec.get("hostnameOverride"), f"{path}.hostnameOverride"
    if name is None:
        return
    for problem in check_subdomain(name):
        yield invalid(place, name, problem)
    if len(name.encode("utf-8", "replace")) > _LONGEST_HOSTNAME:
        yield too_long(place, _LONGEST_HOSTNAME)
    if spec.get("hostNetwork"):
        yield forbidden(place, "may not be specified when `hostNetwork` is true")
    if spec.get("setHostnameAsFQDN"):
        yield forbidden(
            f"{path}.setHostnameAsFQDN", "may not be specified when `hostnameOverride` is specified"
        )


def _check_dns(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    config, place = spec.get("dnsConfig", {}), f"{path}.dnsConfig"
    servers, searches = config.get("nameservers", ()), config.get("searches", ())
    if spec.get("dnsPolicy") == "None" and not servers:
        yield required(
            f"{place}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if len(servers) > _NAMESERVER_LIMIT:
        yield invalid(
            f"{place}.nameservers", servers, f"must not have more than {_NAMESERVER_LIMIT} nameservers"
        )
    for index, server in enumerate(servers):
        if not is_ip_address(server):
            yield invalid(f"{place}.nameservers[{index}]", server, IP_RULE)
    if len(searches) > _SEARCH_LIMIT:
        yield too_many(f"{place}.searches", len(searches), _SEARCH_LIMIT)
    for index, option in enumerate(config.get("options", ())):
        if not option.get("name"):
            yield required(f"{place}.options[{index}]", "must not be empty")


def _check_references(spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for index, secret in enumerate(spec.get("imagePullSecrets", ())):
        if not secret.get("name"):
            yield required(f"{path}.imagePullSecrets[{index}].name")
    for index, alias in enumerate(spec.get("hostAliases", ())):
        place = f"{path}.hostAliases[{index}]"
        if not is_ip_address(alias.get("ip", "")):
            yield invalid(f"{place}.ip", alias.get("ip", ""), IP_RULE)
        for hostname in alias.get("hostnames", ()):
            for problem in check_subdomain(hostname):
                yield invalid(f"{place}.hostnames", hostname, problem)
    for index, gate in enumerate(spec.get("readinessGates", ())):
        for problem in check_qualified_name(gate.get("conditionType", "")):
            yield invalid(
                f"{path}.readinessGates[{index}].conditionType", gate.get("conditionType", ""), problem
            )


def is_ip_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address; scoped addresses don't count."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
