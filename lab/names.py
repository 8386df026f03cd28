"""Every name that the lab gives to something on the machine, derived from the lab's and the node's name.

Pure. Used by everything in this package; `lab.teardown` finds what a dead lab left by these names alone. All
of them start with `berth-lab-<lab>`, and what follows starts with a character that a lab's name can't
contain, so that no lab's names are another's prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

PREFIX = "berth-lab-"
SERVER = "server"
BRIDGE = "bridge"
NETNS = "netns"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")
# A node's name is also the name of its port on the bridge: 15 characters are the kernel's limit.
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_TAKEN = (SERVER, BRIDGE, NETNS)  # directories beside the nodes' own
_MARK = re.compile(rf"{PREFIX}([a-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class LabNames:
    """The names of one lab; `name` has been checked by `parse_lab_name`."""

    name: str

    @property
    def mark(self) -> str:
        return PREFIX + self.name

    @property
    def data_directory(self) -> Path:
        """On disk: containerd's and the agents' roots, the server's data, logs, the lab's own state."""
        return Path("/var/lib") / self.mark

    @property
    def run_directory(self) -> Path:
        """Short paths: sockets (108 bytes are the limit) and containerd's state."""
        return Path("/run") / self.mark

    @property
    def lock_file(self) -> Path:
        return Path("/run") / f"{self.mark}.lock"

    @property
    def state_file(self) -> Path:
        return self.data_directory / "lab.json"

    @property
    def server_directory(self) -> Path:
        return self.data_directory / SERVER

    @property
    def admin_kubeconfig(self) -> Path:
        return self.data_directory / "kubeconfig"

    @property
    def cgroup(self) -> str:
        return "/" + self.mark

    def netns(self, role: str) -> Path:
        """Where the namespace of a node, or of `SERVER` or `BRIDGE`, is mounted.

        Not in /run/netns: whoever runs `ip netns add` first mounts that directory onto itself, and what was
        mounted there before can't be unmounted any more.
        """
        return self.run_directory / NETNS / role

    def process_file(self, role: str, program: str) -> Path:
        """Where the pid of a program of ours is kept; `program` is containerd, agent or server."""
        return self.run_directory / role / f"{program}.pid.json"

    def log_file(self, role: str, program: str) -> Path:
        return self.data_directory / role / f"{program}.log"

    def node(self, node: str) -> NodePaths:
        return NodePaths(self, node)


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where one node keeps its things."""

    lab: LabNames
    name: str

    @property
    def data(self) -> Path:
        return self.lab.data_directory / self.name

    @property
    def run(self) -> Path:
        return self.lab.run_directory / self.name

    @property
    def netns(self) -> Path:
        return self.lab.netns(self.name)

    @property
    def cgroup_root(self) -> str:
        """The node's cgroup in every hierarchy; its pods live below `<cgroup_root>/kubepods`."""
        return f"{self.lab.cgroup}/{self.name}"

    @property
    def containerd_config(self) -> Path:
        return self.data / "containerd.toml"

    @property
    def containerd_root(self) -> Path:
        return self.data / "containerd"

    @property
    def containerd_state(self) -> Path:
        return self.run / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def runtime_endpoint(self) -> str:
        return f"unix://{self.containerd_socket}"

    @property
    def cni_conf_directory(self) -> Path:
        return self.data / "cni" / "net.d"

    @property
    def cni_state_directory(self) -> Path:
        return self.data / "cni" / "state"

    @property
    def agent_root(self) -> Path:
        return self.data / "agent"

    @property
    def pod_logs_directory(self) -> Path:
        return self.data / "pod-logs"

    @property
    def resolv_conf(self) -> Path:
        return self.data / "resolv.conf"

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def static_pod_directory(self) -> Path:
        return self.data / "manifests"


def parse_lab_name(text: str) -> LabNames:
    if not _NAME.fullmatch(text):
        raise LabError(
            f"{text!r} can't name a lab: use 1 to 24 lower-case letters, digits and hyphens, "
            "no hyphen at either end"
        )
    return LabNames(text)


def check_node_name(text: str) -> str:
    if not _NODE_NAME.fullmatch(text) or text in _TAKEN:
        raise LabError(
            f"{text!r} can't name a node: use 1 to 15 lower-case letters, digits and hyphens, "
            f"and none of {', '.join(_TAKEN)}"
        )
    return text


def find_lab_mark(text: str) -> str:
    """The name of the lab that `text` (a command line, a cgroup, a path) belongs to; empty when to none."""
    found = _MARK.search(text)
    return found.group(1).rstrip("-") if found else ""
