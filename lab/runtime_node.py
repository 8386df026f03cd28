"""One node of a lab: a network namespace with a containerd of its own that holds our images.

A shell. Used alone by tests and benches that need a real runtime and no control plane
(`running_runtime_node`), and by `lab.cluster`, which adds an agent. Everything on disk is where
`lab.names.NodePaths` says.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lab import cgroups
from lab.addresses import DEFAULT_ADDRESSES, AddressPlan
from lab.containerd_config import (
    CAP_SYS_RESOURCE,
    ContainerdSettings,
    choose_snapshotter,
    has_bounding_capability,
    render_containerd_config,
)
from lab.errors import LabError
from lab.images import PAUSE_IMAGE, SHELL_IMAGE, WEB_IMAGE, prepare_images
from lab.names import NodePaths, check_node_name, parse_lab_name
from lab.namespaces import run_in_netns
from lab.network import connect_node, create_bridge
from lab.prerequisites import find_cni_plugins, read_filesystem, require_programs
from lab.process_search import LAB_VARIABLE
from lab.processes import (
    Process,
    Program,
    build_environment,
    current_process,
    kill_containers_then_shims,
    kill_process,
    read_process,
    start_program,
)
from lab.readiness import listen_for_ready, wait_for_cri
from lab.runtimes import MACHINE_PROGRAMS, RuntimePrograms, default_runtime, find_runtime
from lab.state import LabState, NodeState, write_state
from lab.teardown import remove_lab, remove_orphans
from lab.watchdog import start_watchdog

CONTAINERD = "containerd"

_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RuntimeNode:
    """Where a node's runtime is and how to work it; holds nothing open, so one can be made at any time."""

    paths: NodePaths
    index: int
    addresses: AddressPlan = DEFAULT_ADDRESSES
    programs: RuntimePrograms = MACHINE_PROGRAMS

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def ip(self) -> IPv4Address:
        return self.addresses.node(self.index)

    @property
    def pod_cidr(self) -> IPv4Network:
        """For a node without a control plane."""
        return self.addresses.pod_cidr(self.index)

    @property
    def endpoint(self) -> str:
        return self.paths.runtime_endpoint

    @property
    def netns(self) -> Path:
        return self.paths.netns

    @property
    def cgroup_root(self) -> str:
        return self.paths.cgroup_root

    @property
    def environment(self) -> Mapping[str, str]:
        """For programs on the node: ctr and crictl find its containerd, and `down` finds them."""
        environment = build_environment()
        if (directory := self.programs.containerd) is not None:
            environment["PATH"] = f"{directory}:{environment['PATH']}"
        return environment | {
            LAB_VARIABLE: self.paths.lab.name,
            "CONTAINERD_ADDRESS": str(self.paths.containerd_socket),
            "CONTAINERD_NAMESPACE": "k8s.io",
            "CONTAINER_RUNTIME_ENDPOINT": self.endpoint,
            "IMAGE_SERVICE_ENDPOINT": self.endpoint,
            "BERTH_LAB_NODE": self.name,
            "BERTH_ROOT_DIR": str(self.paths.agent_root),
        }

    def create(self) -> None:
        """Namespace, cable, directories and containerd's configuration; the bridge must be there."""
        connect_node(self.paths.lab, self.addresses, self.name, self.index)
        for directory in _directories(self.paths):
            directory.mkdir(parents=True, exist_ok=True)
        self.paths.resolv_conf.write_text("# A lab has no name servers but its own.\n")
        self.paths.containerd_config.write_text(render_containerd_config(_containerd_settings(self)))

    def start_containerd(self) -> Process:
        """Returns once it serves; running already is an error of the caller's."""
        if self.containerd() is not None:
            raise LabError(f"containerd of {self.name} runs already; kill it first")
        with listen_for_ready(self.paths.run / "notify.sock") as notice:
            environment = dict(self.environment) | {"NOTIFY_SOCKET": str(notice.path)}
            program = self.program(
                CONTAINERD, ("containerd", "-c", str(self.paths.containerd_config)), environment
            )
            process = start_program(program)
            notice.wait(process, program.log_file, _START_SECONDS)
        return process

    def containerd(self) -> Process | None:
        return read_process(self.paths.lab.process_file(self.name, CONTAINERD))

    def kill_containerd(self) -> None:
        """SIGKILL; its shims and their containers go on."""
        if (process := self.containerd()) is not None:
            kill_process(process)

    def kill_containers(self) -> None:
        """SIGKILL to all in the node's cgroups: containers, their shims, and programs that still run."""
        cgroups.thaw(self.cgroup_root)
        kill_containers_then_shims(cgroups.read_pids(self.cgroup_root))

    def import_images(self, archive: Path, images: Sequence[str]) -> None:
        """Loads and unpacks an OCI archive; returns when the CRI service knows `images`."""
        done = self.run(["ctr", "images", "import", str(archive)], timeout_seconds=_START_SECONDS)
        if done.returncode != 0:
            raise LabError(f"importing images on {self.name} failed: {' '.join(done.stderr.split())}")
        wait_for_cri(self.endpoint, tuple(images), _START_SECONDS)

    def run(
        self, argv: Sequence[str | Path], *, input_text: str | None = None, timeout_seconds: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """A command in the node's network, with its containerd as the default for ctr and crictl."""
        return run_in_netns(
            self.netns,
            argv,
            input_text=input_text,
            environment=self.environment,
            timeout_seconds=timeout_seconds,
        )

    def program(self, name: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> Program:
        """A long-running program on this node, ready for `start_program`."""
        return Program(
            argv=argv,
            netns=self.netns,
            cgroup_procs=cgroups.create_cgroup(f"{self.cgroup_root}/system"),
            environment=environment,
            log_file=self.paths.lab.log_file(self.name, name),
            process_file=self.paths.lab.process_file(self.name, name),
        )


def bring_up_runtime(node: RuntimeNode, archive: Path) -> None:
    """Creates the node and returns when its containerd serves and holds our images."""
    node.create()
    node.start_containerd()
    node.import_images(archive, (PAUSE_IMAGE, WEB_IMAGE, SHELL_IMAGE))


@contextlib.contextmanager
def running_runtime_node(
    lab_name: str, node_name: str = "n1", programs: RuntimePrograms | None = None
) -> Iterator[RuntimeNode]:
    """A lab of one node without control plane, while the block runs; gone too when this process is killed.

    Its runtime is `programs`, else what BERTH_LAB_RUNTIME says. Labs whose owner died are removed first.
    """
    names = parse_lab_name(lab_name)
    check_node_name(node_name)
    require_programs()
    archive = prepare_images()
    remove_orphans()
    remove_lab(names)
    programs = programs or find_runtime(default_runtime())
    node = RuntimeNode(names.node(node_name), 1, programs=programs)
    owner = current_process()
    nodes = (NodeState(node_name, 1),)
    write_state(names, LabState(name=lab_name, nodes=nodes, created_at=time.time(), owner=owner))
    start_watchdog(names, owner)
    try:
        create_bridge(names, node.addresses)
        bring_up_runtime(node, archive)
        yield node
    finally:
        remove_lab(names)


def _directories(paths: NodePaths) -> tuple[Path, ...]:
    return (
        paths.run,
        paths.containerd_root,
        paths.cni_conf_directory,
        paths.cni_state_directory,
        paths.agent_root,
        paths.pod_logs_directory,
        paths.static_pod_directory,
    )


def _containerd_settings(node: RuntimeNode) -> ContainerdSettings:
    paths, programs = node.paths, node.programs
    filesystem = read_filesystem(paths.containerd_root)
    status = Path("/proc/self/status").read_text()
    return ContainerdSettings(
        root=paths.containerd_root,
        state=paths.containerd_state,
        socket=paths.containerd_socket,
        cni_conf_directory=paths.cni_conf_directory,
        cni_bin_directory=programs.cni_plugins or find_cni_plugins(),
        sandbox_image=PAUSE_IMAGE,
        restrict_oom_score_adj=not has_bounding_capability(status, CAP_SYS_RESOURCE),
        snapshotter=choose_snapshotter(filesystem),
        runc=programs.runc,
    )
