"""The proxy on a real node's rules: changes, UDP flows, restarts, other people's flushes, modes, removal."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from agent.pods.ports import HostPort, RunningPod
from agent.proxy.drain import LocalDrain
from agent.proxy.proxy import Proxy
from agent.settings import AgentSettings, ProxyMode
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.meta import ObjectKey
from kubeapi.pod import PodUID
from netrules.model import Family, Protocol
from tests.contract.rules.packet_cases import SCENES
from tests.netns.netrules.scene import Lab, ask_with, open_lab
from tests.netns.proxy.sources import Directory, Source, build_service, build_slice

SCENE = SCENES[Family.IPV4]
WEB = ObjectKey("default", "web")
VIP = "10.96.0.1"
BOTH_MODES = pytest.mark.parametrize("mode", [ProxyMode.NFTABLES, ProxyMode.IPTABLES], ids=str)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab("nrx") as built:
        yield built


@dataclass
class World:
    """The API as the proxy sees it; `running` is one life of the proxy."""

    services: Source[Service] = field(default_factory=Source)
    slices: Source[EndpointSlice] = field(default_factory=Source)
    directory: Directory = field(default_factory=Directory)
    drain: LocalDrain = field(default_factory=LocalDrain)

    def proxy(self, mode: ProxyMode) -> Proxy:
        settings = AgentSettings(node_name="n1", proxy_mode=mode, cluster_cidr=SCENE.cluster_cidr)
        return Proxy(self.services, self.slices, self.directory, settings, self.drain)

    @asynccontextmanager
    async def running(self, mode: ProxyMode, synced: bool = True) -> AsyncIterator[None]:
        if synced:
            self.services.synced.set()
            self.slices.synced.set()
        task = asyncio.create_task(self.proxy(mode).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Rules have no signal for a client: asks again until the answer is right, or fails."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def _reaches(lab: Lab, client: str, to: str, port: int, protocol: Protocol = Protocol.TCP) -> str:
    try:
        return lab.ask(SCENE, client, to, port, protocol, patience_seconds=0.3).pod
    except OSError:
        return ""


def _answers(client: socket.socket, to: str, port: int) -> str:
    """Who answers a datagram; nobody, when it was on its way just as its flow was taken away."""
    try:
        return ask_with(client, to, port, 0.3).pod
    except TimeoutError:
        return ""


def _in_lab(lab: Lab, work: Callable[[World], Coroutine[None, None, None]], mode: ProxyMode) -> None:
    async def run() -> None:
        world = World()
        try:
            await work(world)
        finally:
            await world.proxy(mode).remove()

    lab.run_on_node(run)


def _web(world: World, *pods: str, node_port: int = 30080) -> None:
    world.services.put(build_service("web", VIP, 80, node_port=node_port))
    world.slices.put(build_slice("web", 8080, *pods))


@BOTH_MODES
def test_services_follow_the_api(lab: Lab, mode: ProxyMode) -> None:
    async def work(world: World) -> None:
        async with world.running(mode):
            _web(world, SCENE.pod_a)
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")
            assert _reaches(lab, "outside", SCENE.node_outside, 30080) == "pod a"
            world.slices.put(build_slice("web", 8080, SCENE.pod_b))
            await _until(lambda: _reaches(lab, "pod a", VIP, 80) == "pod b")
            world.slices.delete(ObjectKey("default", "web-1"))
            await _until(lambda: _reaches(lab, "pod a", VIP, 80) == "")
            world.services.delete(WEB)
            _web(world, SCENE.pod_a)
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")

    _in_lab(lab, work, mode)


@BOTH_MODES
def test_a_pod_that_ends_gets_no_new_connection_once_it_is_released(lab: Lab, mode: ProxyMode) -> None:
    """Its slices still say that it is ready: the node knows better."""

    async def work(world: World) -> None:
        released = asyncio.Event()
        world.drain.subscribe(lambda _: released.set())
        ending = RunningPod(
            PodUID(SCENE.pod_a), ObjectKey("default", "a"), (SCENE.pod_a,), False, (), terminating=True
        )
        async with world.running(mode):
            _web(world, SCENE.pod_a, SCENE.pod_b)
            await _until(lambda: _reaches(lab, "outside", SCENE.node_outside, 30080) == "pod a")
            assert not world.drain.is_released(ending.uid)
            world.directory.set_running(ending)
            async with asyncio.timeout(5):
                await released.wait()
            answers = {_reaches(lab, "outside", SCENE.node_outside, 30080) for _ in range(32)}
            assert answers == {"pod b"}
            world.directory.set_running()
            _web(world, SCENE.pod_a)
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")

    _in_lab(lab, work, mode)


@BOTH_MODES
def test_udp_flows_leave_an_endpoint_that_is_gone(lab: Lab, mode: ProxyMode) -> None:
    async def work(world: World) -> None:
        world.services.put(build_service("dns", "10.96.0.2", 53, "UDP"))
        world.slices.put(build_slice("dns", 5353, SCENE.pod_a, protocol="UDP"))
        async with world.running(mode):
            await _until(lambda: _reaches(lab, "outside", "10.96.0.2", 53, Protocol.UDP) == "pod a")
            with lab.client_socket(SCENE, "outside", Protocol.UDP) as client:
                assert ask_with(client, "10.96.0.2", 53).pod == "pod a"
                world.slices.put(build_slice("dns", 5353, SCENE.pod_b, protocol="UDP"))
                await _until(lambda: _answers(client, "10.96.0.2", 53) == "pod b")

    _in_lab(lab, work, mode)


@BOTH_MODES
def test_restart_waits_for_the_api_and_changes_nothing(lab: Lab, mode: ProxyMode) -> None:
    dump = ("nft", "list", "ruleset") if mode is ProxyMode.NFTABLES else ("iptables-save", "-t", "nat")

    def rules() -> list[str]:
        return [
            line for line in lab.run_command("node", *dump).splitlines() if not line.startswith(("#", ":"))
        ]

    async def work(world: World) -> None:
        _web(world, SCENE.pod_b, SCENE.pod_a)
        async with world.running(mode):
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) != "")
            before = await asyncio.to_thread(rules)
        assert await asyncio.to_thread(_reaches, lab, "outside", VIP, 80)  # nobody runs, Services answer
        newborn = World()
        async with newborn.running(mode, synced=False):
            assert await asyncio.to_thread(_reaches, lab, "outside", VIP, 80)
            _web(newborn, SCENE.pod_a, SCENE.pod_b)
            newborn.services.put(build_service("more", "10.96.0.3", 80))
            newborn.slices.put(build_slice("more", 8080, SCENE.pod_a))
            newborn.services.synced.set()
            newborn.slices.synced.set()
            await _until(lambda: _reaches(lab, "outside", "10.96.0.3", 80) == "pod a")
            newborn.services.delete(ObjectKey("default", "more"))
            await _until(lambda: _reaches(lab, "outside", "10.96.0.3", 80) == "")
            assert sorted(await asyncio.to_thread(rules)) == sorted(before)

    _in_lab(lab, work, mode)


def test_flushed_rules_are_back_within_a_second(lab: Lab) -> None:
    async def work(world: World) -> None:
        _web(world, SCENE.pod_a)
        async with world.running(ProxyMode.AUTO):
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")
            for _ in range(2):
                await asyncio.to_thread(lab.run_command, "node", "nft", "flush", "ruleset")
                await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a", seconds=1.0)

    _in_lab(lab, work, ProxyMode.NFTABLES)


@BOTH_MODES
def test_host_ports_come_and_go_with_their_pod(lab: Lab, mode: ProxyMode) -> None:
    pod = RunningPod(
        uid=PodUID("u1"),
        key=ObjectKey("default", "web-0"),
        pod_ips=(SCENE.pod_a,),
        host_network=False,
        host_ports=(HostPort("TCP", "", 8088, 8080),),
        terminating=False,
    )

    async def work(world: World) -> None:
        async with world.running(mode):
            world.directory.set_running(pod)
            await _until(lambda: _reaches(lab, "outside", SCENE.node_outside, 8088) == "pod a")
            world.directory.set_running()
            await _until(lambda: _reaches(lab, "outside", SCENE.node_outside, 8088) == "")

    _in_lab(lab, work, mode)


@pytest.mark.parametrize(
    ("first", "second"),
    [(ProxyMode.IPTABLES, ProxyMode.NFTABLES), (ProxyMode.NFTABLES, ProxyMode.IPTABLES)],
    ids=["iptables to nftables", "nftables to iptables"],
)
def test_another_mode_takes_over_and_clears_the_old_rules(
    lab: Lab, first: ProxyMode, second: ProxyMode
) -> None:
    old_marks = {ProxyMode.IPTABLES: "KUBE-SERVICES", ProxyMode.NFTABLES: "table ip berth"}

    async def work(world: World) -> None:
        _web(world, SCENE.pod_a)
        async with world.running(first):
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")
            assert old_marks[first] in await asyncio.to_thread(
                lab.run_command, "node", "nft", "list", "ruleset"
            )
        async with world.running(second):
            await _until(lambda: old_marks[first] not in lab.run_command("node", "nft", "list", "ruleset"))
            assert await asyncio.to_thread(_reaches, lab, "pod b", VIP, 80) == "pod a"

    _in_lab(lab, work, second)


@BOTH_MODES
def test_remove_leaves_other_peoples_rules(lab: Lab, mode: ProxyMode) -> None:
    def listing() -> str:
        return lab.run_command("node", "nft", "-s", "list", "ruleset")

    async def work(world: World) -> None:
        foreign = ("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "9", "-j", "ACCEPT")
        await asyncio.to_thread(lab.run_command, "node", *foreign)
        await asyncio.to_thread(lab.run_command, "node", "iptables", "-A", "FORWARD", "-j", "ACCEPT")
        await asyncio.to_thread(lab.run_command, "node", "nft", "add table ip others")
        _web(world, SCENE.pod_a)
        async with world.running(mode):
            await _until(lambda: _reaches(lab, "pod b", VIP, 80) == "pod a")
        await world.proxy(mode).remove()
        after = await asyncio.to_thread(listing)
        assert "KUBE" not in after
        assert "berth" not in after.lower()
        assert after.count("accept\n") >= 2
        assert "table ip others" in after

    _in_lab(lab, work, mode)
    lab.run_command("node", "nft", "flush", "ruleset")


def test_mode_none_leaves_services_to_somebody_else(lab: Lab) -> None:
    async def work(world: World) -> None:
        _web(world, SCENE.pod_a)
        async with world.running(ProxyMode.NONE):
            pass

    _in_lab(lab, work, ProxyMode.NFTABLES)
    assert "berth" not in lab.run_command("node", "nft", "list", "ruleset")
