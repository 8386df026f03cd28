"""Every setting of the agent, as one frozen value.

Pure. Built by the command line from flags and the `--config` file; read by `agent.app`. Defaults are those of
`berth agent --help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ProxyMode(StrEnum):
    AUTO = "auto"
    NFTABLES = "nftables"
    IPTABLES = "iptables"
    NONE = "none"


class PodNetworkMode(StrEnum):
    AUTO = "auto"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    node_name: str
    kubeconfig: Path = Path("/etc/berth/agent.kubeconfig")
    node_ip: str = ""  # empty: the source address that reaches the API server
    root_dir: Path = Path("/var/lib/berth")
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    proxy_mode: ProxyMode = ProxyMode.AUTO
    pod_network: PodNetworkMode = PodNetworkMode.AUTO
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    cluster_cidr: str = "10.244.0.0/16"
    standalone: bool = False  # no API server: the static pod directory is all there is
    pod_cidr: str = ""  # standalone only; empty: chosen from cluster_cidr
    service_cidr: str = "10.96.0.0/16"  # standalone only: Services without a clusterIP get theirs from here
    static_pod_path: Path | None = None
    port: int = 10250
    healthz_port: int = 10248
    pod_logs_dir: Path = Path("/var/log/pods")
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_state_dir: Path = Path("/var/lib/cni")
    cgroup_root: str = "/"  # pods live below <cgroup_root>/kubepods in every hierarchy
    max_pods: int = 110
    resolv_conf: Path = Path("/etc/resolv.conf")
    node_labels: tuple[tuple[str, str], ...] = ()
