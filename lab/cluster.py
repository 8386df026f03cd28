"""A whole cluster on this machine: a server and nodes, each in a network namespace of its own.

A shell, synchronous; from asynchronous code call it in a thread. Used by `berth lab`, the demo, the tests and
the benches. `bring_up` makes a lab, `open_cluster` finds one that another process made; a `Cluster` holds
nothing open. Everything that a lab is can be read from the machine, so `down` works whatever has crashed.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from lab.addresses import DEFAULT_ADDRESSES, AddressPlan
from lab.agents import HEALTHZ_PORT, kill_agent, read_agent, start_agent
from lab.agents import PROGRAM as AGENT
from lab.cluster_readiness import read_node_readiness, wait_for_agent, wait_for_nodes, wait_for_server
from lab.control_plane import ControlPlane, choose_host_port
from lab.errors import LabError
from lab.images import default_cache, prepare_images
from lab.names import SERVER, LabNames, check_node_name, parse_lab_name
from lab.network import create_bridge, cut_link, heal_link
from lab.prerequisites import require_programs
from lab.processes import current_process, read_process
from lab.runtime_node import RuntimeNode, bring_up_runtime
from lab.runtimes import MACHINE_RUNTIME, default_runtime, find_runtime
from lab.state import LabState, NodeState, list_labs, read_state, write_state
from lab.teardown import remove_lab, remove_orphans
from lab.watchdog import start_watchdog

DEFAULT_LAB = "default"
_READY_SECONDS = 60.0
_WORKERS = 4


class NodePart(StrEnum):
    """What of a node is killed or restarted."""

    AGENT = "agent"
    CONTAINERD = "containerd"
    NODE = "node"  # both, and every container: a power cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    name: str = DEFAULT_LAB
    nodes: int = 1
    proxy_mode: str = "auto"
    runtime: str = field(default_factory=default_runtime)  # as `find_runtime` takes it
    bound_to_this_process: bool = False  # the lab goes when this process does, however that ends


@dataclass(frozen=True, slots=True)
class NodeStatus:
    name: str
    ip: str
    ready: bool
    runtime_endpoint: str
    root_dir: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    nodes: tuple[NodeStatus, ...]
    server_url: str
    kubeconfig: str


@dataclass(frozen=True, slots=True)
class Cluster:
    names: LabNames
    state: LabState
    addresses: AddressPlan

    @property
    def nodes(self) -> tuple[RuntimeNode, ...]:
        return tuple(self._runtime_node(node) for node in self.state.nodes)

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.names, self.addresses, self.state.server_port)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, usable from the host's own namespace."""
        return self.names.admin_kubeconfig

    @property
    def server_url(self) -> str:
        return self.control_plane.host_url

    def node(self, name: str) -> RuntimeNode:
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.state.nodes)
        raise LabError(f"the lab {self.names.name!r} has no node {name!r}; it has {known}")

    def status(self) -> ClusterStatus:
        ready = read_node_readiness(self.kubeconfig) if self.kubeconfig.exists() else {}
        return ClusterStatus(
            nodes=tuple(_describe_node(node, ready.get(node.name, False)) for node in self.nodes),
            server_url=self.server_url,
            kubeconfig=str(self.kubeconfig),
        )

    def wait_until_ready(self, timeout_seconds: float = _READY_SECONDS) -> None:
        """Until the API says that every node is Ready."""
        wait_for_nodes(self.kubeconfig, [node.name for node in self.nodes], timeout_seconds)

    def exec(
        self, node: str, argv: Sequence[str], *, input_text: str | None = None, timeout_seconds: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """A command's result in the node's network, with its containerd as the default for ctr and crictl."""
        return self.node(node).run(argv, input_text=input_text, timeout_seconds=timeout_seconds)

    def add_node(self) -> tuple[Cluster, RuntimeNode]:
        """One node more, Ready; the cluster as it is then, and the node."""
        index = max(node.index for node in self.state.nodes) + 1
        added = NodeState(check_node_name(f"n{index}"), index)
        state = msgspec.structs.replace(self.state, nodes=(*self.state.nodes, added))
        write_state(self.names, state)  # first, so that `down` and the next command know of it
        cluster = Cluster(self.names, state, self.addresses)
        node = cluster.node(added.name)
        bring_up_runtime(node, prepare_images())
        cluster.control_plane.write_node_kubeconfig(node.name)
        start_agent(node, state.proxy_mode)
        wait_for_nodes(self.kubeconfig, [node.name], _READY_SECONDS)
        return cluster, node

    def kill_server(self) -> None:
        """SIGKILL."""
        self.control_plane.kill()

    def restart_server(self) -> None:
        """Kills it if it runs, starts it on its data, and waits until it serves."""
        self.control_plane.kill()
        wait_for_server(self.control_plane, self.control_plane.start(), _READY_SECONDS)

    def kill_node(self, name: str, part: NodePart = NodePart.AGENT) -> None:
        """SIGKILL; what is dead already stays dead."""
        node = self.node(name)
        if part in (NodePart.AGENT, NodePart.NODE):
            kill_agent(node)
        if part in (NodePart.CONTAINERD, NodePart.NODE):
            node.kill_containerd()
        if part is NodePart.NODE:
            node.kill_containers()

    def restart_node(self, name: str, part: NodePart = NodePart.AGENT) -> None:
        """Kills the part, then starts whatever of the node doesn't run; returns when the agent is healthy."""
        self.kill_node(name, part)
        node = self.node(name)
        if node.containerd() is None:
            node.start_containerd()
        if (process := read_agent(node)) is None:
            process = start_agent(node, self.state.proxy_mode)
        log_file = self.names.log_file(name, AGENT)
        wait_for_agent(node.netns, HEALTHZ_PORT, process, log_file, _READY_SECONDS)

    def cut(self, role: str) -> None:
        """Takes a node, or "server", off the network; it goes on by itself."""
        self._check_role(role)
        cut_link(self.names, role)

    def heal(self, role: str) -> None:
        self._check_role(role)
        heal_link(self.names, role)

    def keep_logs(self) -> Path:
        """Copies the logs of all programs to where `down` doesn't remove them; returns the directory."""
        return _keep_logs(self.names)

    def down(self) -> None:
        remove_lab(self.names)

    def _runtime_node(self, node: NodeState) -> RuntimeNode:
        programs = find_runtime(self.state.runtime)
        return RuntimeNode(self.names.node(node.name), node.index, self.addresses, programs)

    def _check_role(self, role: str) -> None:
        if role != SERVER:
            self.node(role)


def bring_up(settings: ClusterSettings) -> Cluster:
    """A new lab, all nodes Ready; whatever is left of a dead lab of this name is removed first."""
    names = parse_lab_name(settings.name)
    if settings.nodes < 1:
        raise LabError("a lab needs at least one node")
    require_programs()
    remove_orphans()
    _refuse_running_lab(names)
    remove_lab(names)
    cluster = Cluster(names, _plan_state(settings), DEFAULT_ADDRESSES)
    _claim(names)
    write_state(names, cluster.state)
    if cluster.state.owner is not None:
        start_watchdog(names, cluster.state.owner)
    try:
        _start_everything(cluster)
    except LabError as error:
        kept = _keep_logs(names)
        remove_lab(names)
        raise LabError(f"{error}; all logs are in {kept}") from error
    except BaseException:
        remove_lab(names)
        raise
    return cluster


def open_cluster(name: str = DEFAULT_LAB) -> Cluster:
    """The lab that another process made; a LabError when there is none."""
    names = parse_lab_name(name)
    return Cluster(names, read_state(names), DEFAULT_ADDRESSES)


def remove_cluster(name: str = DEFAULT_LAB) -> bool:
    """Removes everything of the lab, whatever state it is in; False when there was nothing."""
    names = parse_lab_name(name)
    known = name in list_labs()
    remove_lab(names)
    return known


@contextmanager
def running_cluster(settings: ClusterSettings) -> Iterator[Cluster]:
    """A lab while the block runs."""
    cluster = bring_up(settings)
    try:
        yield cluster
    finally:
        cluster.down()


def _claim(names: LabNames) -> None:
    try:
        names.data_directory.mkdir(parents=True)
    except FileExistsError:
        raise LabError(f"another command is starting the lab {names.name!r} right now") from None


def _plan_state(settings: ClusterSettings) -> LabState:
    return LabState(
        name=settings.name,
        nodes=tuple(NodeState(check_node_name(f"n{index}"), index) for index in range(1, settings.nodes + 1)),
        server_port=choose_host_port(),
        proxy_mode=settings.proxy_mode,
        runtime=str(find_runtime(settings.runtime).containerd or MACHINE_RUNTIME),
        created_at=time.time(),
        owner=current_process() if settings.bound_to_this_process else None,
    )


def _start_everything(cluster: Cluster) -> None:
    """The server starts while the nodes' runtimes do; agents follow, because they need credentials."""
    archive = prepare_images()
    create_bridge(cluster.names, cluster.addresses)
    control_plane = cluster.control_plane
    control_plane.create()
    process = control_plane.start()
    with ThreadPoolExecutor(_WORKERS) as workers:
        runtimes = [workers.submit(bring_up_runtime, node, archive) for node in cluster.nodes]
        wait_for_server(control_plane, process, _READY_SECONDS)
        control_plane.write_admin_kubeconfig()
        agents = [
            workers.submit(_start_agent, cluster, node, runtime)
            for node, runtime in zip(cluster.nodes, runtimes, strict=True)
        ]
        for agent in agents:
            agent.result()
    cluster.wait_until_ready()


def _start_agent(cluster: Cluster, node: RuntimeNode, runtime: Future[None]) -> None:
    cluster.control_plane.write_node_kubeconfig(node.name)
    runtime.result()
    start_agent(node, cluster.state.proxy_mode)


def _describe_node(node: RuntimeNode, ready: bool) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        ip=str(node.ip),
        ready=ready,
        runtime_endpoint=node.endpoint,
        root_dir=str(node.paths.agent_root),
    )


def _keep_logs(names: LabNames) -> Path:
    """Copies the programs' logs out of a lab that is about to go."""
    kept = default_cache() / "lab-logs" / names.name
    shutil.rmtree(kept, ignore_errors=True)
    for log_file in names.data_directory.glob("*/*.log"):
        target = kept / log_file.parent.name / log_file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log_file, target)
    return kept


def _refuse_running_lab(names: LabNames) -> None:
    """A dead lab is cleaned away; a live one only by who says so."""
    programs = (read_process(path) for path in names.run_directory.glob("*/*.pid.json"))
    if names.name in list_labs() and any(programs):
        raise LabError(
            f"the lab {names.name!r} runs already; `berth lab down --name {names.name}` removes it"
        )
