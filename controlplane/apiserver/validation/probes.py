"""Validation of probes and lifecycle hooks.

Pure. Called for containers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid, not_supported, required
from controlplane.apiserver.validation.names import check_port_name, check_port_number
from controlplane.apiserver.validation.resources import NOT_NEGATIVE

_PROBE_ACTIONS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_ACTIONS: Final = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS: Final = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)


def check_probes(container: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a container's three probes."""
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name not in container:
            continue
        probe, place = container[name], f"{path}.{name}"
        yield from _check_probe(probe, place)
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield invalid(f"{place}.successThreshold", probe["successThreshold"], "must be 1")
        if name == "readinessProbe" and "terminationGracePeriodSeconds" in probe:
            yield invalid(
                f"{place}.terminationGracePeriodSeconds",
                probe["terminationGracePeriodSeconds"],
                "must not be set for readinessProbes",
            )


def _check_probe(probe: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from _check_action(probe, _PROBE_ACTIONS, path)
    for name in _COUNTS:
        if probe.get(name, 0) < 0:
            yield invalid(f"{path}.{name}", probe[name], NOT_NEGATIVE)
    if probe.get("terminationGracePeriodSeconds", 1) <= 0:
        yield invalid(
            f"{path}.terminationGracePeriodSeconds",
            probe["terminationGracePeriodSeconds"],
            "must be greater than 0",
        )


def check_lifecycle(lifecycle: Mapping[str, Any], grace: int | None, path: str) -> Iterator[Cause]:
    """Broken rules of a container's postStart and preStop hooks; `grace`: the pod's grace period."""
    for name in ("postStart", "preStop"):
        if name in lifecycle:
            yield from _check_action(lifecycle[name], _HOOK_ACTIONS, f"{path}.{name}")
            yield from _check_sleep(lifecycle[name], grace, f"{path}.{name}")


def _check_sleep(hook: Mapping[str, Any], grace: int | None, path: str) -> Iterator[Cause]:
    """A sleep must leave the container time to stop; of a bad grace period its own cause tells."""
    seconds = hook.get("sleep", {}).get("seconds", 0)
    if "sleep" in hook and grace is not None and not 0 <= seconds <= max(grace, 0):
        yield invalid(
            path, seconds, f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        )


def _check_action(holder: Mapping[str, Any], known: tuple[str, ...], path: str) -> Iterator[Cause]:
    actions = [name for name in known if name in holder]
    if not actions:
        yield required(path, "must specify a handler type")
    for name in actions[1:]:
        yield forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    for name in actions[:1]:
        yield from _check_one_action(name, holder[name], f"{path}.{name}")


def _check_one_action(name: str, action: Mapping[str, Any], path: str) -> Iterator[Cause]:
    match name:
        case "exec":
            if not action.get("command"):
                yield required(f"{path}.command")
        case "httpGet":
            if not action.get("path"):
                yield required(f"{path}.path")
            yield from check_port(action.get("port", 0), f"{path}.port")
            if action.get("scheme", "HTTP") not in ("HTTP", "HTTPS"):
                yield not_supported(f"{path}.scheme", action["scheme"], ("HTTP", "HTTPS"))
        case "tcpSocket" | "grpc":
            yield from check_port(action.get("port", 0), f"{path}.port")
        case _:
            return


def check_port(port: int | str, path: str) -> Iterator[Cause]:
    """Broken rules of a port given by number or by name."""
    problems = check_port_number(port) if isinstance(port, int) else check_port_name(port)
    for problem in problems:
        yield invalid(path, port, problem)
