"""Host names, /etc/hosts and resolv.conf on real containerd."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from kubeapi.pod import HostAlias, Pod, PodDNSConfig, PodDNSConfigOption
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

SHOW = "hostname; echo ---; cat /etc/hosts; echo ---; cat /etc/resolv.conf; echo ---"
HOST_FILE = Path("/etc/hosts").read_text()
ALIASES = (HostAlias(ip="1.2.3.4", hostnames=("first.example", "second")),)


def showing(name: str, **spec: Any) -> Pod:
    return new_pod(SHOW, FOREVER, name=name, **spec)


def read_names(host: PodHost, pod: Pod) -> tuple[str, list[list[str]], list[list[str]]]:
    """The host name, the lines of /etc/hosts, and those of resolv.conf, by their words."""
    name, hosts, resolver, _ = host.read_log(pod).split("---")
    return name.strip(), _split(hosts), _split(resolver)


def _split(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


async def test_a_pod_has_the_names_that_it_asks_for(host: PodHost) -> None:
    many = tuple(f"10.0.0.{number}" for number in range(1, 5))
    wish = PodDNSConfig(
        nameservers=many,
        searches=("corp.example", "svc.cluster.local"),
        options=(PodDNSConfigOption(name="ndots", value="2"), PodDNSConfigOption(name="edns0")),
    )
    full = showing(
        "full",
        hostname="front",
        subdomain="web",
        set_hostname_as_fqdn=True,
        host_aliases=ALIASES,
        dns_config=wish,
    )
    plain = showing("plain", hostname="front", subdomain="web")
    chosen = showing("chosen", hostname_override="any.name.example", subdomain="web")
    alone = showing("alone", dns_policy="None", dns_config=PodDNSConfig(nameservers=("9.9.9.9",)))
    pods = (full, plain, chosen, alone)
    uids = [host.create(pod) for pod in pods]
    await host.wait(lambda: all(map(host.is_ready, uids)))
    await host.wait(lambda: all(host.read_log(pod).count("---") == 3 for pod in pods))
    ips = [host.status(uid).pod_ip for uid in uids]
    fqdn = "front.web.default.svc.cluster.local"

    name, hosts, resolver = read_names(host, full)
    assert name == fqdn
    assert [ips[0], fqdn, "front"] in hosts
    assert hosts[-1] == ["1.2.3.4", "first.example", "second"]
    assert [words[1] for words in resolver if words[0] == "nameserver"] == ["10.96.0.10", *many[:2]]
    searches = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
    assert ["search", *searches] in resolver
    assert ["options", "ndots:2", "edns0"] in resolver
    forming = [event.message for event in host.events.events if event.reason == "DNSConfigForming"]
    assert forming == [
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line "
        "is: 10.96.0.10 10.0.0.1 10.0.0.2"
    ]

    name, hosts, _ = read_names(host, plain)
    assert (name, hosts[-1]) == ("front", [ips[1], fqdn, "front"])
    name, hosts, _ = read_names(host, chosen)
    assert (name, hosts[-1]) == ("any.name.example", [ips[2], "any.name.example"])
    assert read_names(host, alone)[2] == [["nameserver", "9.9.9.9"]]


async def test_on_the_hosts_network_names_are_the_hosts(host: PodHost) -> None:
    plain = showing("plain", host_network=True, host_aliases=ALIASES)
    asking = showing("asking", host_network=True, dns_policy="ClusterFirstWithHostNet")
    uids = [host.create(pod) for pod in (plain, asking)]
    await host.wait(lambda: all(map(host.is_ready, uids)))
    await host.wait(lambda: all(host.read_log(pod).count("---") == 3 for pod in (plain, asking)))
    name, hosts, resolver = read_names(host, plain)
    assert name == platform.node()
    assert hosts[:-1] == _split(HOST_FILE)
    assert hosts[-1] == ["1.2.3.4", "first.example", "second"]
    assert ["nameserver", "10.96.0.10"] not in resolver
    name, _, resolver = read_names(host, asking)
    assert name == platform.node()
    assert ["nameserver", "10.96.0.10"] in resolver


async def test_a_name_that_is_too_long_is_refused_in_time(host: PodHost) -> None:
    long = "a" * 40
    uid = host.create(new_pod(FOREVER, hostname=long, subdomain="web", set_hostname_as_fqdn=True))
    await host.wait(lambda: any(each.reason == "FailedCreatePodSandBox" for each in host.events.events))
    event = next(each for each in host.events.events if each.reason == "FailedCreatePodSandBox")
    fqdn = f"{long}.web.default.svc.cluster.local"
    assert event.message == (
        "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain, FQDN "
        f"{fqdn} is too long (64 characters is the max, {len(fqdn)} characters requested)"
    )
    assert await host.client.list_pod_sandboxes(uid) == ()
