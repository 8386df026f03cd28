"""Kernel parameters that a pod may set: those that hold for its own namespaces alone.

Pure. Called by the admission and by `sandbox_config`. Follows the "Using sysctls in a Kubernetes Cluster"
page; a name may be written with slashes, as sysctl(8) allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubeapi.pod import Pod, PodSecurityContext, Sysctl

_NETWORK: Final = frozenset(
    {
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_IPC: Final = frozenset({"kernel.shm_rmid_forced"})


def list_sysctls(pod: Pod) -> Iterator[Sysctl]:
    """With names as the kernel's directories are separated by dots."""
    context = pod.spec.security_context or PodSecurityContext()
    for sysctl in context.sysctls:
        yield Sysctl(name=normalize_sysctl(sysctl.name), value=sysctl.value)


def normalize_sysctl(name: str) -> str:
    """Dots between the parts; in a name with slashes, a dot is part of one and becomes a slash."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def find_forbidden_sysctl(pod: Pod) -> str | None:
    """Why the pod may not set what it wants to, if it may not."""
    for sysctl in list_sysctls(pod):
        if sysctl.name not in _NETWORK | _IPC:
            return f'forbidden sysctl: "{sysctl.name}" not allowlisted'
        if pod.spec.host_network and sysctl.name in _NETWORK:
            return f'forbidden sysctl: "{sysctl.name}" not allowed with host net enabled'
        if pod.spec.host_ipc and sysctl.name in _IPC:
            return f'forbidden sysctl: "{sysctl.name}" not allowed with host ipc enabled'
    return None
