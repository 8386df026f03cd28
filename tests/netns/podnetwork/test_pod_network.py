"""Routes, forwarding and the CNI file in a private network namespace of the kernel's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.podnetwork import kernel
from agent.podnetwork.kernel import KernelNetwork, ensure_forwarding
from agent.podnetwork.network import PodNetwork
from agent.podnetwork.routes import PodRoute, RouteChange
from agent.settings import AgentSettings
from kubeapi.core import Node, NodeAddress, NodeSpec, NodeStatus
from kubeapi.informer import Change
from kubeapi.meta import ObjectKey, ObjectMeta
from lab.namespaces import call_in_netns, create_netns, remove_netns, run_in_netns

ROUTE = PodRoute("10.244.1.0/24", "192.0.2.2")


@pytest.fixture
def netns() -> Iterator[Path]:
    path = Path(f"/run/netns/berth-test-podnetwork-{os.getpid()}")
    create_netns(path)
    try:
        for arguments in (
            ("link", "set", "lo", "up"),
            ("link", "add", "uplink", "type", "bridge"),
            ("addr", "add", "192.0.2.1/24", "dev", "uplink"),
            ("link", "set", "uplink", "up"),
        ):
            assert run_in_netns(path, ["ip", *arguments]).returncode == 0
        yield path
    finally:
        remove_netns(path)


def run_inside(netns: Path, work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await work()

    call_in_netns(netns, lambda: asyncio.run(run()))


def list_routes(netns: Path) -> list[str]:
    return run_in_netns(netns, ["ip", "-o", "route"]).stdout.splitlines()


def test_routes_are_put_in_place_read_back_replaced_and_removed(netns: Path) -> None:
    moved = PodRoute(ROUTE.destination, "192.0.2.3")

    async def work() -> None:
        async with KernelNetwork() as netlink:
            await netlink.apply_routes(RouteChange(replace=(ROUTE,)))
            assert await netlink.read_routes() == {ROUTE}
            await netlink.apply_routes(RouteChange(replace=(moved,)))
            assert await netlink.read_routes() == {moved}
            await netlink.apply_routes(RouteChange(remove=(moved,)))
            await netlink.apply_routes(RouteChange(remove=(moved,)))
            assert await netlink.read_routes() == frozenset()

    run_inside(netns, work)


def test_routes_of_others_are_not_seen(netns: Path) -> None:
    assert run_in_netns(netns, ["ip", "route", "add", "10.9.0.0/16", "via", "192.0.2.9"]).returncode == 0

    async def work() -> None:
        async with KernelNetwork() as netlink:
            assert await netlink.read_routes() == frozenset()

    run_inside(netns, work)


def test_a_gateway_that_shares_no_link_is_one_sentence(netns: Path) -> None:
    async def work() -> None:
        async with KernelNetwork() as netlink:
            with pytest.raises(AgentError, match="must share a link"):
                await netlink.apply_routes(RouteChange(replace=(PodRoute("10.244.1.0/24", "198.51.100.1"),)))

    run_inside(netns, work)


def test_a_node_out_of_reach_does_not_hinder_the_others(netns: Path) -> None:
    far = PodRoute("10.244.0.0/24", "198.51.100.1")

    async def work() -> None:
        async with KernelNetwork() as netlink:
            with pytest.raises(AgentError, match="must share a link"):
                await netlink.apply_routes(RouteChange(replace=(far, ROUTE)))
            assert await netlink.read_routes() == {ROUTE}

    run_inside(netns, work)


def test_forwarding_is_switched_on(netns: Path) -> None:
    def read() -> str:
        return run_in_netns(netns, ["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout.strip()

    run_in_netns(netns, ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])
    assert read() == "0"
    call_in_netns(netns, lambda: ensure_forwarding(4))
    assert read() == "1"


def test_forwarding_that_may_not_be_switched_on_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernel._FORWARDING, 4, Path("/proc/sys/net/ipv4/absent"))
    with pytest.raises(AgentError, match=r"cannot switch on net\.ipv4\.absent .* run `sysctl -w"):
        ensure_forwarding(4)


class KnownNodes:
    """An informer's face over a fixed set of nodes."""

    def __init__(self, *nodes: Node) -> None:
        self._objects = {node.key: node for node in nodes}
        self._handlers: list[Callable[[Change[Node]], None]] = []

    async def wait_until_synced(self) -> None:
        return

    def get(self, key: ObjectKey) -> Node | None:
        return self._objects.get(key)

    def objects(self) -> dict[ObjectKey, Node]:
        return self._objects

    def subscribe(self, handler: Callable[[Change[Node]], None]) -> None:
        self._handlers.append(handler)

    def replace(self, node: Node) -> None:
        old = self._objects.get(node.key)
        self._objects[node.key] = node
        for handler in self._handlers:
            handler(Change(key=node.key, old=old, new=node))


def build_node(name: str, cidr: str, address: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidr, pod_cidrs=(cidr,)),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


def test_the_loop_configures_follows_a_change_and_removes_everything(netns: Path, tmp_path: Path) -> None:
    settings = AgentSettings(node_name="n1", cni_conf_dir=tmp_path / "net.d", cni_state_dir=tmp_path / "cni")
    nodes = KnownNodes(build_node("n1", "10.244.0.0/24", "192.0.2.1"))
    assert run_in_netns(netns, ["ip", "route", "add", "10.9.0.0/16", "via", "192.0.2.9"]).returncode == 0
    before = list_routes(netns)

    async def work() -> None:
        network = PodNetwork(nodes, settings)  # type: ignore[arg-type]  # the face is all it needs
        loop = asyncio.create_task(network.run())
        await network.wait_until_configured()
        assert '"10.244.0.0/24"' in (tmp_path / "net.d" / "10-berth.conflist").read_text()
        async with KernelNetwork() as netlink:
            assert await netlink.read_routes() == frozenset()
            nodes.replace(build_node("n2", "10.244.1.0/24", "192.0.2.2"))
            while await netlink.read_routes() != {ROUTE}:
                pass
        loop.cancel()
        await network.remove()

    run_inside(netns, work)
    assert list_routes(netns) == before
    assert list((tmp_path / "net.d").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        (("route", "del", "10.244.1.0/24"),),
        (("link", "set", "uplink", "down"), ("link", "set", "uplink", "up")),
        (("addr", "flush", "dev", "uplink"), ("addr", "add", "192.0.2.1/24", "dev", "uplink")),
    ],
)
def test_routes_that_somebody_took_away_are_back_at_once(
    netns: Path, tmp_path: Path, damage: tuple[tuple[str, ...], ...]
) -> None:
    settings = AgentSettings(node_name="n1", cni_conf_dir=tmp_path / "net.d", cni_state_dir=tmp_path / "cni")
    nodes = KnownNodes(
        build_node("n1", "10.244.0.0/24", "192.0.2.1"), build_node("n2", "10.244.1.0/24", "192.0.2.2")
    )

    async def work() -> None:
        network = PodNetwork(nodes, settings)  # type: ignore[arg-type]  # the face is all it needs
        loop = asyncio.create_task(network.run())
        async with KernelNetwork() as netlink:
            await until_routed(netlink)
            for arguments in damage:
                completed = await asyncio.to_thread(run_in_netns, netns, ["ip", *arguments])
                assert completed.returncode == 0
            async with asyncio.timeout(10):  # Far below the 30 seconds after which it looks anyway.
                await until_routed(netlink)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await network.remove()

    run_inside(netns, work)


async def until_routed(netlink: KernelNetwork) -> None:
    while await netlink.read_routes() != {ROUTE}:  # noqa: ASYNC110 (the kernel's state)
        await asyncio.sleep(0.01)


def test_packets_of_pods_reach_the_other_node(netns: Path, tmp_path: Path) -> None:
    """Two nodes on one link, each with an address of its pod CIDR: what one sends, the other answers."""
    other = Path(f"{netns}-b")
    create_netns(other)
    try:
        join(netns, other)
        for where, name, own in ((netns, "n1", "a"), (other, "n2", "b")):
            settings = AgentSettings(
                node_name=name, cni_conf_dir=tmp_path / own, cni_state_dir=tmp_path / f"{own}-state"
            )
            run_inside(where, partial(configure_once, settings))
        near, far = (
            call_in_netns(where, partial(open_socket, address))
            for where, address in ((netns, "10.244.0.1"), (other, "10.244.1.1"))
        )
        with near, far:
            near.sendto(b"ping", far.getsockname())
            packet, sender = far.recvfrom(16)
            far.sendto(packet, sender)
            assert (near.recv(16), sender) == (b"ping", near.getsockname())
    finally:
        remove_netns(other)


def open_socket(address: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(5)
    opened.bind((address, 0))
    return opened


async def configure_once(settings: AgentSettings) -> None:
    nodes = KnownNodes(
        build_node("n1", "10.244.0.0/24", "198.51.100.1"), build_node("n2", "10.244.1.0/24", "198.51.100.2")
    )
    network = PodNetwork(nodes, settings)  # type: ignore[arg-type]  # the face is all it needs
    loop = asyncio.create_task(network.run())
    async with KernelNetwork() as netlink:
        while not await netlink.read_routes():  # noqa: ASYNC110 (the kernel's state)
            await asyncio.sleep(0.01)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


def join(first: Path, second: Path) -> None:
    """A veth pair between the two, and in each a bridge with the first address of its pod CIDR."""
    pid_file = str(second)
    commands: tuple[tuple[Path, tuple[str, ...]], ...] = (
        (first, ("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")),
        (first, ("link", "set", "eth1", "netns", pid_file)),
        (first, ("addr", "add", "198.51.100.1/24", "dev", "eth0")),
        (first, ("link", "set", "eth0", "up")),
        (second, ("link", "set", "lo", "up")),
        (second, ("addr", "add", "198.51.100.2/24", "dev", "eth1")),
        (second, ("link", "set", "eth1", "up")),
        (first, ("link", "add", "berth0", "type", "bridge")),
        (first, ("addr", "add", "10.244.0.1/24", "dev", "berth0")),
        (first, ("link", "set", "berth0", "up")),
        (second, ("link", "add", "berth0", "type", "bridge")),
        (second, ("addr", "add", "10.244.1.1/24", "dev", "berth0")),
        (second, ("link", "set", "berth0", "up")),
    )
    for where, arguments in commands:
        completed = run_in_netns(where, ["ip", *arguments])
        assert completed.returncode == 0, completed.stderr
