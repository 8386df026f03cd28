"""Agents and servers that can't start say why in one line and end; what can get better is waited for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.control_plane import ControlPlane
from lab.namespaces import create_netns, remove_netns
from lab.runtime_node import RuntimeNode
from tests.cluster.scene import build_pod, is_ready, new_scene

END_SECONDS = 20
CHECKOUT = Path(__file__).resolve().parents[3]
# Nobody, but able to read this checkout wherever it lies.
NOBODY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where commands run: a namespace with a loopback and nothing else, and a directory of their own."""

    netns: Path
    directory: Path
    cluster: Cluster

    def run(
        self, *arguments: str, netns: Path | None = None, as_nobody: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """A `berth` command that is expected to end."""
        where = ("nsenter", f"--net={netns or self.netns}", "--")
        whoever = NOBODY if as_nobody else ()
        return subprocess.run(
            [*where, *whoever, sys.executable, "-m", "cli.main", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )

    def agent(self, **flags: str) -> list[str]:
        """A command line that would start, but for the flags given; `root_dir="x"` is --root-dir=x."""
        node = self.cluster.node("n1")
        good = {
            "node_name": "refused",
            "node_ip": "127.0.0.1",
            "kubeconfig": str(node.paths.kubeconfig),
            "root_dir": str(self.directory / "agent"),
            "container_runtime_endpoint": node.endpoint,
            "cni_conf_dir": str(self.directory / "net.d"),
            "cni_state_dir": str(self.directory / "cni"),
            "pod_logs_dir": str(self.directory / "logs"),
        }
        return ["agent", *_render(good | flags)]

    def server(self, **flags: str) -> list[str]:
        good = {"data_dir": str(self.directory / "server"), "bind_address": "127.0.0.1"}
        return ["server", *_render(good | flags)]


def _render(flags: dict[str, str]) -> Iterator[str]:
    for name, value in flags.items():
        yield f"--{name.replace('_', '-')}={value}"


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Ended with that code and one line that holds the words; what the server logged first isn't meant."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, len(lines)) == (code, 1), done.stderr
    assert lines[0].startswith("berth: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:
    netns = tmp_path / "netns"
    create_netns(netns)
    subprocess.run(["nsenter", f"--net={netns}", "ip", "link", "set", "lo", "up"], check=True)
    try:
        yield Bench(netns, tmp_path, cluster)
    finally:
        remove_netns(netns)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ({"container_runtime_endpoint": "unix:///nowhere.sock"}, 1, ("/nowhere.sock", "start containerd")),
        ({"container_runtime_endpoint": "tcp://1.2.3.4"}, 1, ("tcp://1.2.3.4", "unix:///run/containerd")),
        ({"kubeconfig": "/nowhere"}, 1, ("/nowhere", "No such file", "--kubeconfig")),
        ({"resolv_conf": "/nowhere"}, 1, ("/nowhere", "No such file", "--resolv-conf")),
        ({"node_ip": "here"}, 2, ("'here' is not an IP address", "berth agent --help")),
        ({"proxy_mode": "magic"}, 2, ("'magic' is not one of 'auto', 'nftables'", "berth agent --help")),
        ({"cluster_cidr": "all"}, 2, ("'all' is not a network", "10.244.0.0/16")),
        ({"node_name": "N_1"}, 2, ("'N_1' is not a name", "lower case")),
        ({"magic": "1"}, 2, ("No such option '--magic'",)),
    ],
)
def test_an_agent_with_a_flag_that_cannot_work(
    bench: Bench, flags: dict[str, str], code: int, words: tuple[str, ...]
) -> None:
    assert_refused(bench.run(*bench.agent(**flags)), code, *words)


@pytest.mark.parametrize("text", ["{{", "[]", "apiVersion: v1\nkind: Config\nclusters: []\n"])
def test_an_agent_whose_kubeconfig_says_nothing(bench: Bench, text: str) -> None:
    file = bench.directory / "kubeconfig"
    file.write_text(text)

    assert_refused(bench.run(*bench.agent(kubeconfig=str(file))), 1, str(file), "--kubeconfig")


def test_an_agent_without_root(bench: Bench) -> None:
    assert_refused(bench.run(*bench.agent(), as_nobody=True), 1, "needs root", "sudo")


def test_an_agent_whose_ports_are_taken(bench: Bench) -> None:
    """In the network of a node whose agent runs."""
    node = bench.cluster.node("n1")

    assert_refused(
        bench.run(*bench.agent(), netns=node.netns), 1, "127.0.0.1:10248", "Address already in use"
    )
    other = bench.agent(healthz_port="10249")
    assert_refused(bench.run(*other, netns=node.netns), 1, "*:10250", "choose another port")


def test_two_agents_on_one_directory(bench: Bench) -> None:
    root = str(bench.cluster.node("n1").paths.agent_root)

    assert_refused(bench.run(*bench.agent(root_dir=root)), 1, "another agent", root, "--root-dir")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ({"service_cidr": "all"}, 1, ("--service-cidr", "'all' is not a network", "10.96.0.0/16")),
        ({"data_dir": "/proc/nowhere"}, 1, ("/proc/nowhere", "--data-dir")),
        ({"data_dir": "/etc/passwd"}, 2, ("/etc/passwd", "is a file")),
        ({"bind_address": "192.0.2.1"}, 1, ("192.0.2.1", "--bind-address")),
        ({"components": "magic"}, 2, ("'magic' names an unknown component", "apiserver")),
        ({"secure_port": "0"}, 2, ("0 is not in the range",)),
    ],
)
def test_a_server_with_a_flag_that_cannot_work(
    bench: Bench, flags: dict[str, str], code: int, words: tuple[str, ...]
) -> None:
    assert_refused(bench.run(*bench.server(**flags)), code, *words)


def test_a_server_whose_port_is_taken(bench: Bench) -> None:
    plane: ControlPlane = bench.cluster.control_plane
    flags = bench.server(bind_address=str(bench.cluster.addresses.server))

    done = bench.run(*flags, netns=plane.names.netns("server"))

    assert_refused(done, 1, "port 6443", "Address already in use", "--secure-port")


def test_two_servers_on_one_directory(bench: Bench) -> None:
    data = str(bench.cluster.names.server_directory / "data")

    assert_refused(bench.run(*bench.server(data_dir=data)), 1, data)


def test_a_server_whose_database_is_no_database(bench: Bench) -> None:
    data = bench.directory / "server"
    data.mkdir()
    (data / "state.db").write_bytes(b"these are not the bytes of a database" * 100)

    assert_refused(bench.run(*bench.server()), 1, "state.db")


def test_a_server_that_may_not_write(bench: Bench) -> None:
    assert_refused(
        bench.run(*bench.server(data_dir="/var/lib/nobody-s"), as_nobody=True), 1, "/var/lib/nobody-s"
    )


async def test_an_agent_waits_for_a_server_that_is_dead(cluster: Cluster) -> None:
    """Pods that it remembers, and static pods, don't wait for it."""
    node = cluster.node("n1")
    manifest = node.paths.static_pod_directory / "alone.json"
    async with new_scene(cluster, "alone") as scene:
        before = await scene.start_pod(build_pod("remembered"))
        await asyncio.to_thread(cluster.kill_node, "n1")
        await asyncio.to_thread(cluster.kill_server)
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **build_pod("static")}))
        try:
            await asyncio.to_thread(cluster.restart_node, "n1")
            await wait_for_container(node, "static-n1")
            assert (await scene.find_netns(before)).exists()
        finally:
            manifest.unlink()
            await asyncio.to_thread(cluster.restart_server)
        await scene.start_pod(build_pod("newcomer"))
        after = await scene.wait_for_pod("remembered", is_ready)

    assert after.status.container_statuses == before.status.container_statuses


async def wait_for_container(node: RuntimeNode, pod: str) -> None:
    """Until the runtime has an app container of that pod."""
    filters = f'labels."io.kubernetes.pod.name"=={pod},labels."io.kubernetes.container.name"==main'
    deadline = time.monotonic() + END_SECONDS
    while not (await asyncio.to_thread(node.run, ["ctr", "containers", "ls", "-q", filters])).stdout:
        assert time.monotonic() < deadline, f"{pod} has no container"
        await asyncio.sleep(0.1)
