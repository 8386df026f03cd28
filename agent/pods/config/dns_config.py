"""Which name servers a pod asks, and the names it is known by.

Pure. Called by `sandbox_config`, and by `pod_events` for what didn't fit. Follows the "DNS for Services and
Pods" page, and resolv.conf(5) for the host's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kubeapi.pod import Pod, PodDNSConfig

_MAX_SERVERS: Final = 3
_MAX_SEARCHES: Final = 32
_MAX_SEARCH_CHARACTERS: Final = 2048
_MAX_NAME: Final = 253  # longer ones make some resolvers abort
_MAX_HOSTNAME: Final = 63
_MAX_KERNEL_HOSTNAME: Final = 64


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameRefused:
    """Why the pod can't have the host name that it asks for."""

    message: str


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
                searches = tuple(name.removesuffix(".") or name for name in names)
            case ["options", *found]:
                options.extend(found)
    return Resolver(tuple(servers), searches, tuple(options))


def compute_resolver(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    """What the pod's resolv.conf is to say, within what resolvers take."""
    wanted = _compute_wanted(pod, host, cluster_dns, cluster_domain)
    return Resolver(wanted.servers[:_MAX_SERVERS], _fit_searches(wanted.searches), wanted.options)


def list_omissions(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Iterator[str]:
    """A sentence for each line of resolv.conf that doesn't say all that the pod would have it say."""
    wanted = _compute_wanted(pod, host, cluster_dns, cluster_domain)
    applied = compute_resolver(pod, host, cluster_dns, cluster_domain)
    if applied.servers != wanted.servers:
        yield (
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver "
            f"line is: {' '.join(applied.servers)}"
        )
    if applied.searches != wanted.searches:
        yield (
            "Search Line limits were exceeded, some search paths have been omitted, the applied search "
            f"line is: {' '.join(applied.searches)}"
        )


def lacks_cluster_dns(pod: Pod, cluster_dns: str) -> bool:
    """Whether the pod is to ask the cluster's name server, and this node knows of none."""
    return not cluster_dns and _is_cluster_first(pod)


def compute_hostname(pod: Pod) -> str:
    """The pod's host name: its own choice, or its name cut to what a host name may be."""
    if pod.spec.hostname_override:
        return pod.spec.hostname_override
    return (pod.spec.hostname or pod.metadata.name)[:_MAX_HOSTNAME].rstrip("-.")


def compute_kernel_hostname(pod: Pod, cluster_domain: str) -> str | NameRefused:
    """What `hostname` says in the pod: with setHostnameAsFQDN the full name, if it isn't too long."""
    fqdn = compute_fqdn(pod, cluster_domain) if pod.spec.set_hostname_as_fqdn else ""
    if len(fqdn) > _MAX_KERNEL_HOSTNAME:
        return NameRefused(
            "failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {fqdn} is too long ({_MAX_KERNEL_HOSTNAME} characters is the max, "
            f"{len(fqdn)} characters requested)"
        )
    name = fqdn or compute_hostname(pod)
    if len(name) > _MAX_KERNEL_HOSTNAME:
        return NameRefused(
            f"the pod's hostnameOverride {name} is too long ({_MAX_KERNEL_HOSTNAME} characters is the max)"
        )
    return name


def compute_fqdn(pod: Pod, cluster_domain: str) -> str:
    """The full name below the pod's subdomain, or empty where it has none."""
    if not pod.spec.subdomain or pod.spec.hostname_override:
        return ""
    return f"{compute_hostname(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def _compute_wanted(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    base = _choose_base(pod, host, cluster_dns, cluster_domain)
    return base if pod.spec.dns_config is None else _merge(base, pod.spec.dns_config)


def _fit_searches(searches: tuple[str, ...]) -> tuple[str, ...]:
    fitting = [name for name in searches[:_MAX_SEARCHES] if len(name) <= _MAX_NAME]
    while len(" ".join(fitting)) > _MAX_SEARCH_CHARACTERS:
        fitting.pop()
    return tuple(fitting)


def _is_cluster_first(pod: Pod) -> bool:
    policy = pod.spec.dns_policy
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)


def _choose_base(pod: Pod, host: Resolver, cluster_dns: str, cluster_domain: str) -> Resolver:
    if pod.spec.dns_policy == "None":
        return Resolver()
    if _is_cluster_first(pod) and cluster_dns:
        return _build_cluster_first(pod, host, cluster_dns, cluster_domain)
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
