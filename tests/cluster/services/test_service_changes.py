"""Endpoints, Services and host ports come and go, and the rules on every node follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from kubeapi.pod import Pod
from kubeapi.resources import PODS, SERVICES
from lab.images import WEB_PORT
from tests.cluster.scene import (
    Document,
    Scene,
    build_pod,
    build_service,
    build_shell,
    build_web,
    is_ready,
    is_terminating,
    new_scene,
)
from tests.cluster.services.conftest import ASK, ECHO_PORT, SERVICE_PORT, Stage, build_echo_ports
from tests.cluster.traffic import (
    Answer,
    Refused,
    ask_tcp,
    ask_udp,
    echo_server,
    request_streams,
    wait_for_requests,
)

FOLLOWS_SECONDS = 2.0
HOST_PORT = 8099
CLIENT_PORT = 5555
ASKERS = ("c", "n1", "n2")

SWITCH = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}


def build_switched_pod(name: str, node: str) -> Document:
    """Ready while its file is there."""
    shell = build_shell("touch /tmp/ready; exec sleep 86400", readinessProbe=SWITCH)
    return build_pod(name, shell, node=node, labels={"app": "switched"})


async def become(ask: Callable[[], Answer], is_wanted: Callable[[str], bool]) -> None:
    """Asks until the answer is as wanted: a server's name, empty for a refusal; AssertionError if not."""
    deadline = time.monotonic() + FOLLOWS_SECONDS
    while True:
        answer = await asyncio.to_thread(read_server, ask)
        if is_wanted(answer):
            return
        assert time.monotonic() < deadline, f"still {answer!r} after {FOLLOWS_SECONDS:g} s"
        await asyncio.sleep(0.01)


async def settle_on(ask: Callable[[], Answer], server: str) -> None:
    """Asks until so many answers in a row come from that server that chance can't explain it."""
    deadline = time.monotonic() + FOLLOWS_SECONDS
    while (answers := {await asyncio.to_thread(read_server, ask) for _ in range(32)}) != {server}:
        assert time.monotonic() < deadline, f"{answers} answer after {FOLLOWS_SECONDS:g} s"


def read_server(ask: Callable[[], Answer]) -> str:
    try:
        return ask().server
    except Refused:
        return ""


async def test_pods_that_are_not_ready_get_no_requests(stage: Stage, scene: Scene) -> None:
    pods = await asyncio.gather(
        scene.start_pod(build_switched_pod("x", "n1")), scene.start_pod(build_switched_pod("y", "n2"))
    )
    service = await scene.start_service(
        build_service("switched", {"app": "switched"}, *build_echo_ports()), endpoints=2
    )

    def ask() -> Answer:
        return ask_tcp(stage.netns["c"], service.spec.cluster_ip, SERVICE_PORT)

    with ExitStack() as servers:
        for pod in pods:
            servers.enter_context(echo_server(await scene.find_netns(pod), pod.metadata.name, ECHO_PORT))
        await become(ask, {"x", "y"}.__contains__)

        await scene.run_in_pod("x", "rm", "/tmp/ready")
        await scene.wait_for_endpoints("switched", 1)
        await settle_on(ask, "y")

        await scene.run_in_pod("y", "rm", "/tmp/ready")
        await scene.wait_for_endpoints("switched", 0)
        await become(ask, "".__eq__)

        await scene.run_in_pod("x", "touch", "/tmp/ready")
        await scene.wait_for_endpoints("switched", 1)
        await become(ask, "x".__eq__)


ASK_ON_TERM = r"""
ask() {
  for _ in $(seq 32); do
    printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 "$VIP" 80 2>&1 | tail -n 1 | grep . || echo failed
  done > /tmp/answers
  touch /tmp/asked
  until [ -e /tmp/enough ]; do sleep 0.05; done
  exit
}
trap ask TERM
touch /tmp/ready
while :; do sleep 0.05; done
"""


async def test_the_stop_signal_comes_after_the_last_new_connection(scene: Scene) -> None:
    """The pod itself asks its own Service when it is told to end: another one answers, every time."""
    labels = {"app": "leaving"}
    service = await scene.create(
        SERVICES, build_service("leaving", labels, {"port": SERVICE_PORT, "targetPort": WEB_PORT})
    )
    vip = [{"name": "VIP", "value": service.spec.cluster_ip}]
    asker = build_shell(ASK_ON_TERM, name="asker", env=vip, readinessProbe=SWITCH)
    await asyncio.gather(
        scene.start_pod(build_pod("ending", build_web(), asker, node="n1", labels=labels, grace_seconds=30)),
        scene.start_pod(build_pod("staying", build_web(), node="n1", labels=labels)),
    )
    await scene.wait_for_endpoints("leaving", 2)

    await scene.delete_pod("ending")
    waiting = "until [ -e /tmp/asked ]; do sleep 0.05; done; cat /tmp/answers; touch /tmp/enough"
    answers = await scene.run_in_pod("ending", "sh", "-c", waiting, container="asker")

    assert answers.split() == ["staying"] * 32


async def test_a_pod_that_ends_gets_no_new_requests_while_it_still_runs(stage: Stage, scene: Scene) -> None:
    stubborn = build_shell("trap '' TERM; while :; do sleep 1; done")
    both = {"app": "pair"}
    ending, staying = await asyncio.gather(
        scene.start_pod(build_pod("ending", stubborn, node="n2", labels=both, grace_seconds=60)),
        scene.start_pod(build_pod("staying", node="n1", labels=both)),
    )
    service = await scene.start_service(build_service("pair", both, *build_echo_ports()), endpoints=2)

    def ask() -> Answer:
        return ask_tcp(stage.netns["n1"], service.spec.cluster_ip, SERVICE_PORT)

    with ExitStack() as servers:
        for pod in (ending, staying):
            servers.enter_context(echo_server(await scene.find_netns(pod), pod.metadata.name, ECHO_PORT))
        await become(ask, "ending".__eq__)
        await scene.delete_pod("ending")
        await scene.wait_for_endpoints("pair", 1)
        await settle_on(ask, "staying")

        assert ask_tcp(stage.netns["n1"], ending.status.pod_ip, ECHO_PORT).server == "ending"
        still = await scene.client.get(PODS, "ending", scene.namespace)
        assert is_terminating(still)

        await scene.delete_pod("ending", grace_period_seconds=1)
        await scene.wait_until_gone(PODS, "ending", seconds=10)


async def test_a_replaced_udp_endpoint_is_found_from_the_same_port(stage: Stage, scene: Scene) -> None:
    """A client that keeps its port would go on to the dead pod, if nobody forgot the old connection."""
    first = await scene.start_pod(build_pod("first", labels={"app": "udp"}, node="n2"))
    service = await scene.start_service(
        build_service("udp", {"app": "udp"}, *build_echo_ports()), endpoints=1
    )

    def ask() -> Answer:
        return ask_udp(stage.netns["c"], service.spec.cluster_ip, SERVICE_PORT, source_port=CLIENT_PORT)

    with echo_server(await scene.find_netns(first), "first", ECHO_PORT):
        await become(ask, "first".__eq__)
    await scene.delete_pod("first")
    await scene.wait_until_gone(PODS, "first")
    second = await scene.start_pod(build_pod("second", labels={"app": "udp"}, node="n2"))
    await scene.wait_for_endpoints("udp", 1)
    with echo_server(await scene.find_netns(second), "second", ECHO_PORT):
        await become(ask, "second".__eq__)


async def test_a_deleted_service_answers_no_more(stage: Stage, scene: Scene) -> None:
    document = build_service("brief", {"pod": "none"}, *build_echo_ports(), type="NodePort")
    service = await scene.create(SERVICES, document)
    port = service.spec.ports[0].node_port
    await become(lambda: ask_tcp(stage.netns["n2"], stage.ip("n1"), port), "".__eq__)

    await scene.client.delete(SERVICES, "brief", scene.namespace)
    await scene.wait_until_gone(SERVICES, "brief")
    again = await scene.create(SERVICES, document)

    assert again.metadata.uid != service.metadata.uid


async def test_a_restarted_agent_finds_its_rules_and_no_request_fails(stage: Stage) -> None:
    def ask(asker: str, address: str, port: int) -> str:
        return ask_tcp(stage.netns[asker], address, port).server

    cluster_ip, node_port = stage.cluster_ip("both"), stage.node_port("both")
    asks = {f"{asker} to the cluster IP": partial(ask, asker, cluster_ip, SERVICE_PORT) for asker in ASKERS}
    asks |= {f"{asker} to the node port": partial(ask, asker, stage.ip("n1"), node_port) for asker in ASKERS}
    before = read_rules(stage)

    with request_streams(asks) as streams:
        await asyncio.to_thread(stage.cluster.kill_node, "n1")
        await wait_for_requests(streams, 10)
        await asyncio.to_thread(stage.cluster.restart_node, "n1")
        async with new_scene(stage.cluster, "after") as scene:
            await scene.start_pod(build_pod("started", node="n1"))
        await wait_for_requests(streams, 10)

    assert [stream.failures for stream in streams] == [[]] * len(streams)
    assert read_rules(stage) == before != ""


def read_rules(stage: Stage) -> str:
    """Of both backends, without counters."""
    return stage.cluster.exec("n1", ["nft", "--stateless", "list", "ruleset"]).stdout


@pytest.mark.parametrize("protocol", list(ASK))
async def test_a_host_port_leads_to_its_pod_until_the_pod_goes(
    stage: Stage, scene: Scene, protocol: str
) -> None:
    ports = [{"containerPort": ECHO_PORT, "hostPort": HOST_PORT, "protocol": protocol}]
    pod: Pod = await scene.start_pod(build_pod("hosted", build_shell(ports=ports), node="n2"))
    ask = ASK[protocol]
    with echo_server(await scene.find_netns(pod), "hosted", ECHO_PORT):
        for asker in ("c", "n1", "n2", "b"):
            netns = stage.netns[asker]
            await become(lambda netns=netns: ask(netns, stage.ip("n2"), HOST_PORT), "hosted".__eq__)  # type: ignore[misc]
        with pytest.raises(Refused):
            ask(stage.netns["c"], stage.ip("n1"), HOST_PORT)
    await scene.delete_pod("hosted")
    await scene.wait_until_gone(PODS, "hosted")
    await become(lambda: ask(stage.netns["n1"], stage.ip("n2"), HOST_PORT), "".__eq__)


async def test_a_second_pod_for_a_taken_host_port_goes_elsewhere_or_waits(scene: Scene) -> None:
    ports = [{"containerPort": ECHO_PORT, "hostPort": HOST_PORT}]
    placed = {
        (await scene.start_pod(build_pod(name, build_shell(ports=ports)))).spec.node_name for name in "pq"
    }
    await scene.create(PODS, build_pod("r", build_shell(ports=ports)))
    event = await scene.wait_for_event("r", "FailedScheduling")

    assert placed == {"n1", "n2"}
    assert "ports" in event.message
    await scene.delete_pod("p")
    await scene.wait_for_pod("r", is_ready)
