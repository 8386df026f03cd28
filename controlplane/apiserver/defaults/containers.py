"""Defaults of containers: pull policy, ports, environment, probes and hooks.

Pure; changes the documents it is given, which the caller has just made. Called for pods and pod templates.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.openapi.schema import Document

_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS: Final = ("postStart", "preStop")
_RESIZABLE: Final = ("cpu", "memory")


def default_container(container: Document) -> None:
    """Defaults that containers of every sort share, in pods and in templates."""
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", choose_image_pull_policy(container.get("image", "")))
    container.setdefault("resources", {})
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        _default_variable(variable)
    for name in _PROBES:
        if name in container:
            _default_probe(container[name])
    for name in _HOOKS:
        _default_handler(container.get("lifecycle", {}).get(name, {}))


def choose_image_pull_policy(image: str) -> str:
    """Always for the tag latest, written or implied; IfNotPresent for every other tag and for digests."""
    if "@" in image:
        return "IfNotPresent"
    _, _, last = image.rpartition("/")
    _, _, tag = last.partition(":")
    return "Always" if image and tag in ("", "latest") else "IfNotPresent"


def default_field_reference(item: Document) -> None:
    """Defaults of a downward API item: the API version, and the divisor of a resource."""
    if "fieldRef" in item:
        item["fieldRef"].setdefault("apiVersion", "v1")
    if "resourceFieldRef" in item:
        item["resourceFieldRef"].setdefault("divisor", "0")


def default_requests(container: Document) -> None:
    """A limit without a request is the request."""
    resources = container["resources"]
    limits = resources.get("limits", {})
    if limits:
        resources["requests"] = {**limits, **resources.get("requests", {})}


def default_resize_policy(container: Document) -> None:
    """CPU and memory of a running container change without a restart, unless it says otherwise."""
    resources = container["resources"]
    given = {*resources.get("requests", {}), *resources.get("limits", {})}
    decided = {policy.get("resourceName") for policy in container.get("resizePolicy", ())}
    added = [
        {"resourceName": name, "restartPolicy": "NotRequired"}
        for name in _RESIZABLE
        if name in given and name not in decided
    ]
    if added:
        container["resizePolicy"] = [*container.get("resizePolicy", ()), *added]


def default_host_ports(container: Document) -> None:
    """On the host's network every container port is a host port."""
    for port in container.get("ports", ()):
        if not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort", 0)


def _default_variable(variable: Document) -> None:
    default_field_reference(variable.get("valueFrom", {}))
    file_key = variable.get("valueFrom", {}).get("fileKeyRef")
    if file_key is not None:
        file_key.setdefault("optional", False)


def _default_probe(probe: Document) -> None:
    probe["timeoutSeconds"] = probe.get("timeoutSeconds") or 1
    probe["periodSeconds"] = probe.get("periodSeconds") or 10
    probe["successThreshold"] = probe.get("successThreshold") or 1
    probe["failureThreshold"] = probe.get("failureThreshold") or 3
    _default_handler(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _default_handler(handler: Document) -> None:
    if "httpGet" in handler:
        handler["httpGet"]["path"] = handler["httpGet"].get("path") or "/"
        handler["httpGet"]["scheme"] = handler["httpGet"].get("scheme") or "HTTP"
