"""The /etc/hosts of a pod.

Pure. Called by `execute`, which writes it into the pod's directory for every container to mount. Follows
hosts(5) and the "Adding entries to Pod /etc/hosts with HostAliases" page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.pods.config.dns_config import compute_fqdn, compute_hostname
from kubeapi.pod import Pod

_LOOPBACK: Final = (
    "# Written by the node's agent for this pod.",
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)


def build_hosts_file(pod: Pod, pod_ips: tuple[str, ...], host_file: str, cluster_domain: str) -> str:
    """The text; a pod on the host's network starts from the host's own file."""
    if pod.spec.host_network:
        lines = [*host_file.splitlines()]
    else:
        lines = [*_LOOPBACK, *_list_own_names(pod, pod_ips, cluster_domain)]
    return "\n".join((*lines, *_list_aliases(pod))) + "\n"


def _list_own_names(pod: Pod, pod_ips: tuple[str, ...], cluster_domain: str) -> Iterator[str]:
    fqdn = compute_fqdn(pod, cluster_domain)
    names = f"{fqdn}\t{compute_hostname(pod)}" if fqdn else compute_hostname(pod)
    for ip in pod_ips:
        yield f"{ip}\t{names}"


def _list_aliases(pod: Pod) -> Iterator[str]:
    if pod.spec.host_aliases:
        yield ""
        yield "# From the pod's hostAliases."
    for alias in pod.spec.host_aliases:
        yield "\t".join((alias.ip, *alias.hostnames))
