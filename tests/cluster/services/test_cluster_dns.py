"""Names of Services, asked from a pod as any program asks them, and as plain DNS questions."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

import dnslib
import pytest

from lab.errors import LabError
from lab.namespaces import call_in_netns
from tests.cluster.scene import Scene, build_pod, build_service, open_scene
from tests.cluster.services.conftest import NAMESPACE, SERVICE_PORT, Stage, build_echo_ports

ZONE = f"{NAMESPACE}.svc.cluster.local"
DNS_SECONDS = 3
AT_ONCE_SECONDS = 2.0


def ask(stage: Stage, asker: str, name: str, kind: str = "A", *, tcp: bool = False) -> dnslib.DNSRecord:
    question = dnslib.DNSRecord.question(name, kind)
    server = str(stage.cluster.addresses.cluster_dns)
    answer: bytes = call_in_netns(
        stage.netns[asker], lambda: question.send(server, 53, tcp=tcp, timeout=DNS_SECONDS)
    )
    return dnslib.DNSRecord.parse(answer)


def read_addresses(answer: dnslib.DNSRecord) -> set[str]:
    return {str(record.rdata) for record in answer.rr}


@pytest.mark.parametrize("asker", ["c", "b", "n1"])
@pytest.mark.parametrize("tcp", [False, True])
def test_a_service_s_name_is_its_cluster_ip(stage: Stage, asker: str, tcp: bool) -> None:
    assert read_addresses(ask(stage, asker, f"both.{ZONE}", tcp=tcp)) == {stage.cluster_ip("both")}


def test_a_headless_service_s_name_is_its_pods(stage: Stage) -> None:
    answer = ask(stage, "c", f"headless.{ZONE}")

    assert read_addresses(answer) == {stage.ip("a"), stage.ip("b")}


def test_a_named_port_has_an_srv_record(stage: Stage) -> None:
    answer = ask(stage, "c", f"_tcp._tcp.both.{ZONE}", "SRV")

    (record,) = answer.rr
    assert (record.rdata.port, str(record.rdata.target)) == (SERVICE_PORT, f"both.{ZONE}.")


def test_an_address_has_its_service_s_name(stage: Stage) -> None:
    reverse = IPv4Address(stage.cluster_ip("both")).reverse_pointer

    assert read_addresses(ask(stage, "c", reverse, "PTR")) == {f"both.{ZONE}."}


@pytest.mark.parametrize(("name", "rcode"), [("none", "NXDOMAIN"), ("both", "NOERROR")])
def test_what_is_not_there_is_said_so(stage: Stage, name: str, rcode: str) -> None:
    answer = ask(stage, "c", f"{name}.{ZONE}", "AAAA")

    assert dnslib.RCODE.get(answer.header.rcode) == rcode
    assert answer.rr == []
    assert [record.rtype for record in answer.auth] == [dnslib.QTYPE.SOA]


def test_other_names_are_refused_at_once_without_a_resolver(stage: Stage) -> None:
    started = time.monotonic()

    answer = ask(stage, "c", "example.com")

    assert dnslib.RCODE.get(answer.header.rcode) in ("REFUSED", "SERVFAIL")
    assert time.monotonic() - started < AT_ONCE_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        "both",
        f"both.{NAMESPACE}",
        f"both.{NAMESPACE}.svc",
        f"both.{ZONE}",
        f"both.{ZONE}.",
        "kubernetes.default",
    ],
)
async def test_a_program_in_a_pod_finds_a_service_by_name(stage: Stage, name: str) -> None:
    port = 443 if name.startswith("kubernetes") else SERVICE_PORT
    async with open_scene(stage.cluster, NAMESPACE) as scene:
        said = await scene.run_in_pod("c", "bash", "-c", f"exec 3<>/dev/tcp/{name}/{port} && echo connected")

    assert said == "connected\n"


async def test_a_program_in_a_pod_learns_soon_that_a_name_is_unknown(stage: Stage) -> None:
    started = time.monotonic()
    async with open_scene(stage.cluster, NAMESPACE) as scene:
        for name in ("nobody", "example.com"):
            with pytest.raises(LabError, match=r"resolution|not known"):
                await scene.run_in_pod("c", "bash", "-c", f"exec 3<>/dev/tcp/{name}/80")

    assert time.monotonic() - started < AT_ONCE_SECONDS * 2


async def test_names_of_other_namespaces_are_not_short(stage: Stage, scene: Scene) -> None:
    await scene.start_pod(build_pod("other"))

    with pytest.raises(LabError, match=r"resolution|not known"):
        await scene.run_in_pod("other", "bash", "-c", f"exec 3<>/dev/tcp/both/{SERVICE_PORT}")
    said = await scene.run_in_pod(
        "other", "bash", "-c", f"exec 3<>/dev/tcp/both.{NAMESPACE}/{SERVICE_PORT} && echo connected"
    )
    assert said == "connected\n"


async def test_a_new_service_has_a_name_as_soon_as_it_has_an_address(stage: Stage, scene: Scene) -> None:
    service = await scene.start_service(
        build_service("fresh", {"app": "x"}, *build_echo_ports()), endpoints=0
    )

    deadline = time.monotonic() + 1
    while not (answer := ask(stage, "n2", f"fresh.{scene.namespace}.svc.cluster.local")).rr:
        assert time.monotonic() < deadline, answer
    assert read_addresses(answer) == {service.spec.cluster_ip}
