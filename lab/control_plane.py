"""The lab's server: its namespace, its process, its socket on the host's loopback, the credentials it issues.

A shell. The server listens on its address in the lab's network for the nodes, and on 127.0.0.1 of the host
for people: that second socket is opened here, where the host's network is, and handed over by systemd's
socket activation protocol. Called by `lab.cluster`.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups
from lab.addresses import AddressPlan
from lab.errors import LabError
from lab.names import SERVER, LabNames
from lab.network import connect_server
from lab.process_search import LAB_VARIABLE
from lab.processes import (
    Process,
    Program,
    build_environment,
    kill_process,
    read_process,
    start_program,
)

SERVER_PORT = 6443
PROGRAM = "server"

_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class ControlPlane:
    names: LabNames
    addresses: AddressPlan
    host_port: int

    @property
    def host_url(self) -> str:
        """For people and programs in the host's own network."""
        return f"https://127.0.0.1:{self.host_port}"

    @property
    def node_url(self) -> str:
        """For the nodes."""
        return f"https://{self.addresses.server}:{SERVER_PORT}"

    @property
    def log_file(self) -> Path:
        return self.names.log_file(SERVER, PROGRAM)

    def create(self) -> None:
        connect_server(self.names, self.addresses, SERVER)

    def start(self) -> Process:
        """Starts the server on the data it has; returns before it serves."""
        if self.process() is not None:
            raise LabError("the server runs already; kill it first")
        with open_host_socket(self.host_port) as listener:
            return start_program(
                Program(
                    argv=self._build_argv(),
                    netns=self.names.netns(SERVER),
                    cgroup_procs=cgroups.create_cgroup(f"{self.names.cgroup}/{SERVER}"),
                    environment=build_berth_environment(self.names),
                    log_file=self.log_file,
                    process_file=self.names.process_file(SERVER, PROGRAM),
                    listen_fd=listener.fileno(),
                )
            )

    def process(self) -> Process | None:
        return read_process(self.names.process_file(SERVER, PROGRAM))

    def kill(self) -> None:
        """SIGKILL; gone already is success."""
        if (process := self.process()) is not None:
            kill_process(process)

    def write_admin_kubeconfig(self) -> Path:
        """For the host's own namespace; once the server has its authority."""
        path = self._write_kubeconfig(self.names.admin_kubeconfig, None, self.host_url)
        if "SUDO_UID" in os.environ:  # who typed `sudo berth lab up` goes on with a plain `kubectl`
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
        return path

    def write_node_kubeconfig(self, node: str) -> Path:
        return self._write_kubeconfig(self.names.node(node).kubeconfig, node, self.node_url)

    def _write_kubeconfig(self, path: Path, node: str | None, url: str) -> Path:
        # Imported here: `cryptography` is slow to load, and only `up` issues anything.
        from controlplane.credentials import issue_kubeconfig

        text = issue_kubeconfig(self.names.server_directory / "data", node_name=node, server_url=url)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return path

    def _build_argv(self) -> tuple[str, ...]:
        return (
            *build_berth_argv("server"),
            f"--data-dir={self.names.server_directory / 'data'}",
            f"--bind-address={self.addresses.server}",
            f"--advertise-address={self.addresses.server}",
            f"--secure-port={SERVER_PORT}",
            f"--service-cidr={self.addresses.services}",
            f"--cluster-cidr={self.addresses.pods}",
            f"--cluster-dns={self.addresses.cluster_dns}",
        )


def build_berth_argv(command: str) -> tuple[str, ...]:
    """`berth COMMAND` from this very checkout and environment."""
    return (sys.executable, "-P", "-m", "cli.main", command)


def build_berth_environment(names: LabNames) -> dict[str, str]:
    """For our programs: where the packages are, and the mark by which `down` finds the process."""
    return build_environment(**{"PYTHONPATH": str(_CHECKOUT), LAB_VARIABLE: names.name})


def choose_host_port() -> int:
    """A port on 127.0.0.1 that is free now."""
    with open_host_socket(0) as listener:
        return int(listener.getsockname()[1])


def open_host_socket(port: int) -> socket.socket:
    """A listening socket on the host's loopback; port 0 takes any free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise LabError(f"port {port} on 127.0.0.1 can't be used for the server: {error.strerror}") from error
    return listener
