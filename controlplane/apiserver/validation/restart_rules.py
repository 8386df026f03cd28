"""Validation of what a container decides about its own restarts, and of the signal that stops it.

Pure. Called for containers of pods and templates. Follows "Individual container restart policy and rules"
and "Defining custom stop signals" in the Kubernetes documentation (KEP-5307, KEP-5532, KEP-4960).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, not_supported, required, too_many

_ACTIONS: Final = ("Restart", "RestartAllContainers")
_OPERATORS: Final = ("In", "NotIn")
_MOST_RULES: Final = 20
_MOST_EXIT_CODES: Final = 255
_NAMES: Final = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT "
    "STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
LINUX_SIGNALS: Final = tuple(
    sorted(
        (
            *(f"SIG{name}" for name in _NAMES.split()),
            *(f"SIGRTMIN+{number}" for number in range(1, 16)),
            *(f"SIGRTMAX-{number}" for number in range(1, 15)),
        )
    )
)
_WINDOWS_SIGNALS: Final = ("SIGKILL", "SIGTERM")


def check_restart_rules(container: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a container's restart rules."""
    rules = container.get("restartPolicyRules", ())
    if rules and not container.get("restartPolicy"):
        yield required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
    if len(rules) > _MOST_RULES:
        yield too_many(f"{path}.restartPolicyRules", len(rules), _MOST_RULES)
    for index, rule in enumerate(rules):
        yield from _check_rule(rule, f"{path}.restartPolicyRules[{index}]")


def _check_rule(rule: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if rule.get("action", "") not in _ACTIONS:
        yield not_supported(f"{path}.action", rule.get("action", ""), _ACTIONS)
    if "exitCodes" not in rule:
        yield required(f"{path}.exitCodes", "must be specified")
        return
    codes = rule["exitCodes"]
    if codes.get("operator", "") not in _OPERATORS:
        yield not_supported(f"{path}.exitCodes.operator", codes.get("operator", ""), _OPERATORS)
    if len(codes.get("values", ())) > _MOST_EXIT_CODES:
        yield too_many(f"{path}.exitCodes.values", len(codes["values"]), _MOST_EXIT_CODES)


def check_stop_signal(lifecycle: Mapping[str, Any], os_name: str, path: str) -> Iterator[Cause]:
    """The signal must be one that the pod's operating system has, which the pod must name."""
    signal = lifecycle.get("stopSignal")
    if signal is None:
        return
    if not os_name:
        yield forbidden(f"{path}.stopSignal", "may not be set for containers with empty `spec.os.name`")
        return
    known = _WINDOWS_SIGNALS if os_name == "windows" else LINUX_SIGNALS
    if signal not in known:
        yield not_supported(f"{path}.stopSignal", signal, known)
