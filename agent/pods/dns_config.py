"""Which name servers a pod asks, and the names it is known by.

Pure. Called by `sandbox_config`. Follows the "DNS for Services and Pods" page, and resolv.conf(5) for the
host's file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kubeapi.pod import Pod, PodDNSConfig

_MAX_SERVERS: Final = 3
_MAX_SEARCHES: Final = 32
_MAX_HOSTNAME: Final = 63


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolver:
    """The host's resolver; unknown lines are ignored, the last `search` or `domain` wins."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *names]:
                searches = tuple(names)
            case ["options", *found]:
                options.extend(found)
    return Resolver(tuple(servers), searches, tuple(options))


def compute_resolver(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    """What the pod's resolv.conf is to say."""
    base = _choose_base(pod, host, cluster_dns, cluster_domain)
    merged = base if pod.spec.dns_config is None else _merge(base, pod.spec.dns_config)
    return Resolver(merged.servers[:_MAX_SERVERS], merged.searches[:_MAX_SEARCHES], merged.options)


def compute_hostname(pod: Pod) -> str:
    """The pod's host name: its own choice, or its name cut to what a host name may be."""
    return (pod.spec.hostname or pod.metadata.name)[:_MAX_HOSTNAME].rstrip("-.")


def compute_fqdn(pod: Pod, cluster_domain: str) -> str:
    """The full name below the pod's subdomain, or empty where it has none."""
    if not pod.spec.subdomain:
        return ""
    return f"{compute_hostname(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def _choose_base(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    match pod.spec.dns_policy:
        case "None":
            return Resolver()
        case "ClusterFirst" if not pod.spec.host_network and cluster_dns:
            return _build_cluster_first(pod, host, cluster_dns, cluster_domain)
        case "ClusterFirstWithHostNet" if cluster_dns:
            return _build_cluster_first(pod, host, cluster_dns, cluster_domain)
        case _:
            return host


def _build_cluster_first(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    namespace = pod.metadata.namespace
    cluster = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
    return Resolver((cluster_dns,), _unique((*cluster, *host.searches)), ("ndots:5",))


def _merge(base: Resolver, wanted: PodDNSConfig) -> Resolver:
    options = {_option_name(option): option for option in base.options}
    for option in wanted.options:
        options[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    return Resolver(
        _unique((*base.servers, *wanted.nameservers)),
        _unique((*base.searches, *wanted.searches)),
        tuple(options.values()),
    )


def _option_name(option: str) -> str:
    return option.partition(":")[0]


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
