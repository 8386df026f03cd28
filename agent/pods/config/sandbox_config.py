"""A pod as CRI's PodSandboxConfig.

Pure. Called by `execute` for RunPodSandbox and, with the same result, for CreateContainer. Port mappings stay
empty: host ports are the service proxy's work. Follows CRI v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.pods.config.dns_config import NameRefused, Resolver, compute_kernel_hostname, compute_resolver
from agent.pods.ports import Unavailable
from agent.pods.security.contexts import build_sandbox_security
from agent.pods.security.sysctls import list_sysctls
from agent.pods.security.user_ids import IDRange
from agent.resources.cgroup import build_pod_cgroup_parent
from agent.resources.pod_limits import CPU_PERIOD_MICROSECONDS, compute_pod_limits
from agent.resources.qos import compute_cpu_quota, compute_cpu_shares, compute_qos_class
from agent.resources.requests import read_amount
from agent.runtime.values import NODE_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import Pod


@dataclass(frozen=True, slots=True)
class PodEnvironment:
    """What all pods of the node share: names, directories and the host's resolver."""

    node_name: str
    root_dir: Path
    pod_logs_dir: Path
    cgroup_root: str
    cluster_dns: str
    cluster_domain: str
    host_resolver: Resolver
    memory_capacity_bytes: int

    @property
    def seccomp_root(self) -> str:
        return str(self.root_dir / "seccomp")


def build_log_directory(pod: Pod, environment: PodEnvironment) -> Path:
    meta = pod.metadata
    return environment.pod_logs_dir / f"{meta.namespace}_{meta.name}_{meta.uid}"


def build_pod_labels(pod: Pod, environment: PodEnvironment) -> dict[str, str]:
    """The pod's own labels, and those by which the runtime's objects are found again."""
    return {
        **pod.metadata.labels,
        POD_NAME_LABEL: pod.metadata.name,
        POD_NAMESPACE_LABEL: pod.metadata.namespace,
        POD_UID_LABEL: pod.metadata.uid,
        NODE_LABEL: environment.node_name,
    }


def build_sandbox_config(
    pod: Pod, attempt: int, environment: PodEnvironment, users: IDRange | None = None
) -> cri.PodSandboxConfig:
    """`users`: the ids of a pod with a user namespace of its own. Raises Unavailable."""
    meta = pod.metadata
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=meta.name, uid=meta.uid, namespace=meta.namespace, attempt=attempt
        ),
        hostname=_choose_hostname(pod, environment),
        log_directory=str(build_log_directory(pod, environment)),
        dns_config=_build_dns(pod, environment),
        labels=build_pod_labels(pod, environment),
        annotations=meta.annotations,
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=build_pod_cgroup_parent(
                pod.uid, compute_qos_class(pod.spec), environment.cgroup_root
            ),
            security_context=build_sandbox_security(pod, users),
            sysctls={sysctl.name: sysctl.value for sysctl in list_sysctls(pod)},
            overhead=_build_overhead(pod),
            resources=_build_resources(pod),
        ),
    )


def _build_overhead(pod: Pod) -> cri.LinuxContainerResources | None:
    """What the RuntimeClass adds for the sandbox itself; a runtime of virtual machines sizes them by it."""
    overhead = pod.spec.overhead
    if not overhead:
        return None
    cpu = read_amount(overhead, "cpu")
    return cri.LinuxContainerResources(
        cpu_period=CPU_PERIOD_MICROSECONDS,
        cpu_quota=compute_cpu_quota(cpu, CPU_PERIOD_MICROSECONDS),
        cpu_shares=compute_cpu_shares(cpu),
        memory_limit_in_bytes=read_amount(overhead, "memory"),
    )


def _build_resources(pod: Pod) -> cri.LinuxContainerResources:
    """The sum of the containers, without the overhead."""
    spec = msgspec.structs.replace(pod.spec, overhead={})
    limits = compute_pod_limits(msgspec.structs.replace(pod, spec=spec))
    return cri.LinuxContainerResources(
        cpu_period=CPU_PERIOD_MICROSECONDS,
        cpu_quota=limits.cpu_quota or 0,
        cpu_shares=limits.cpu_shares,
        memory_limit_in_bytes=limits.memory_bytes or 0,
    )


def _choose_hostname(pod: Pod, environment: PodEnvironment) -> str:
    if pod.spec.host_network:
        return ""
    name = compute_kernel_hostname(pod, environment.cluster_domain)
    if isinstance(name, NameRefused):
        raise Unavailable("FailedCreatePodSandBox", name.message)
    return name


def _build_dns(pod: Pod, environment: PodEnvironment) -> cri.DNSConfig:
    resolver = compute_resolver(
        pod, environment.host_resolver, environment.cluster_dns, environment.cluster_domain
    )
    return cri.DNSConfig(servers=resolver.servers, searches=resolver.searches, options=resolver.options)
