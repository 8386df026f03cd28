"""The scene of the packet cases, built from network namespaces: a node with two pods, and a client.

Shell, for tests run as root. Servers and clients are sockets of this process made inside the namespaces, so a
case costs milliseconds; pods answer with their name and what they see of the client.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from lab.namespaces import write_sysctl
from netrules.model import Family, Protocol
from tests.contract.rules.packet_cases import SCENES, Scene

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
CONNECT_SECONDS: Final = 3.0


def run_in_namespace(name: str, work: Callable[[], T]) -> T:
    """The result of `work`, called in a thread that has entered the namespace; its sockets stay in there."""

    def enter_and_work() -> T:
        with open(f"/run/netns/{name}", "rb") as handle:
            if _LIBC.setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"namespace {name} cannot be entered")
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_work).result()


def run_async_in_namespace(name: str, work: Callable[[], Coroutine[None, None, T]]) -> T:
    """The result of a coroutine run in an event loop of the namespace's own."""
    return run_in_namespace(name, lambda: asyncio.run(work()))


NETNS = Path("/run/netns")

_FORWARDING = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
)
# The kernel answers each peer with few ICMP errors per second; the cases want every one of theirs.
_UNLIMITED_ICMP = (
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    pod: str
    client: str


@dataclass(slots=True)
class Lab:
    """The namespaces, their servers, and clients for them."""

    prefix: str
    servers: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def namespace(self, who: str) -> str:
        return f"{self.prefix}-{who.replace(' ', '-')}"

    def run_on_node(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        return run_async_in_namespace(self.namespace("node"), work)

    def run_command(self, who: str, *command: str) -> str:
        return _enter(self.namespace(who), *command)

    def ask(
        self,
        scene: Scene,
        client: str,
        to: str,
        port: int,
        protocol: Protocol,
        patience_seconds: float = CONNECT_SECONDS,
    ) -> Answer:
        """Connects (or sends) and reads the answer; ConnectionRefusedError, TimeoutError as clients see."""
        with self.client_socket(scene, client, protocol) as sock:
            return ask_with(sock, to, port, patience_seconds)

    def client_socket(self, scene: Scene, client: str, protocol: Protocol) -> socket.socket:
        return run_in_namespace(self.namespace(client), lambda: _new_socket(scene.family, protocol))

    def serve(self, who: str, family: Family, address: str, port: int, protocol: Protocol) -> None:
        listener = run_in_namespace(self.namespace(who), lambda: _bound(family, address, port, protocol))
        loop = _serve_tcp if protocol is Protocol.TCP else _serve_udp
        thread = threading.Thread(target=loop, args=(listener, who), daemon=True)
        thread.start()
        self.servers.append(listener)
        self.threads.append(thread)

    def close(self) -> None:
        for listener in self.servers:
            # Wakes the thread that waits in accept or recvfrom; closing alone would not.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(timeout=5)
        for listener in self.servers:
            listener.close()


def ask_with(sock: socket.socket, to: str, port: int, patience_seconds: float = CONNECT_SECONDS) -> Answer:
    sock.settimeout(patience_seconds)
    sock.connect((to, port))
    sock.send(b"?")
    pod, client = sock.recv(200).decode().split("|")
    return Answer(pod, client)


def _new_socket(family: Family, protocol: Protocol) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    return socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, kind)


def _bound(family: Family, address: str, port: int, protocol: Protocol) -> socket.socket:
    listener = _new_socket(family, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    if protocol is Protocol.TCP:
        listener.listen(64)
    return listener


def _serve_tcp(listener: socket.socket, name: str) -> None:
    while True:
        try:
            connection, client = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.sendall(f"{name}|{client[0]}".encode())


def _serve_udp(listener: socket.socket, name: str) -> None:
    while True:
        try:
            data, client = listener.recvfrom(100)
        except OSError:
            return
        if not data:
            return
        listener.sendto(f"{name}|{client[0]}".encode(), client)


@contextmanager
def open_lab(prefix: str) -> Iterator[Lab]:
    """Builds the scene under this name prefix (at most 8 characters), and removes it."""
    lab = Lab(f"{prefix}-{os.getpid()}")
    namespaces = [lab.namespace(who) for who in ("node", "pod a", "pod b", "outside")]
    try:
        for name in namespaces:
            _ip("netns", "add", name)
            # Nobody else is on these links: addresses need no second of probing before they are used.
            write_sysctl(NETNS / name, "net/ipv6/conf/default/accept_dad", "0")
        _build_links(lab)
        for scene in SCENES.values():
            _build_addresses(lab, scene)
        _start_servers(lab)
        yield lab
    finally:
        lab.close()
        for name in namespaces:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True, timeout=10)


def _enter(namespace: str, *command: str) -> str:
    entered = ("nsenter", f"--net=/run/netns/{namespace}", *command)
    return subprocess.run(entered, check=True, capture_output=True, text=True, timeout=30).stdout


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True, timeout=10)


def _build_links(lab: Lab) -> None:
    node = lab.namespace("node")
    _ip("-n", node, "link", "add", "berth0", "type", "bridge")
    for who, port in (("pod a", "vetha"), ("pod b", "vethb"), ("outside", "eth0")):
        peer = lab.namespace(who)
        _ip("-n", node, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", peer)
        _ip("-n", node, "link", "set", port, "up")
        _ip("-n", peer, "link", "set", "eth0", "up")
        _ip("-n", peer, "link", "set", "lo", "up")
        if who != "outside":
            _ip("-n", node, "link", "set", port, "master", "berth0")
            lab.run_command("node", "bridge", "link", "set", "dev", port, "hairpin", "on")
    for link in ("berth0", "lo"):
        _ip("-n", node, "link", "set", link, "up")
    for name, value in (*_FORWARDING, *_UNLIMITED_ICMP):
        write_sysctl(NETNS / node, name, value)


def _build_addresses(lab: Lab, scene: Scene) -> None:
    node, outside = lab.namespace("node"), lab.namespace("outside")
    bits = (24, 24, 24) if scene.family is Family.IPV4 else (64, 64, 64)
    more = () if scene.family is Family.IPV4 else ("nodad",)
    _ip("-n", node, "addr", "add", f"{scene.node_bridge}/{bits[0]}", "dev", "berth0", *more)
    _ip("-n", node, "addr", "add", f"{scene.node_outside}/{bits[1]}", "dev", "eth0", *more)
    _ip("-n", node, "route", "add", "default", "via", scene.outside)
    _ip("-n", outside, "addr", "add", f"{scene.outside}/{bits[2]}", "dev", "eth0", *more)
    _ip("-n", outside, "route", "add", scene.service_cidr, "via", scene.node_outside)
    _ip("-n", outside, "route", "add", scene.cluster_cidr, "via", scene.node_outside)
    for who, address in (("pod a", scene.pod_a), ("pod b", scene.pod_b)):
        _ip("-n", lab.namespace(who), "addr", "add", f"{address}/{bits[0]}", "dev", "eth0", *more)
        _ip("-n", lab.namespace(who), "route", "add", "default", "via", scene.node_bridge)


def _start_servers(lab: Lab) -> None:
    for scene in SCENES.values():
        for who, address in (("pod a", scene.pod_a), ("pod b", scene.pod_b)):
            lab.serve(who, scene.family, address, 8080, Protocol.TCP)
            lab.serve(who, scene.family, address, 5353, Protocol.UDP)
