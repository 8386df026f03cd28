"""A lab node's agent: its command line, starting it, killing it.

A shell; `build_agent_argv` is pure. Called by `lab.cluster`. The flags are those of `berth agent --help`.
"""

from __future__ import annotations

from lab.control_plane import build_berth_argv, build_berth_environment
from lab.errors import LabError
from lab.processes import Process, kill_process, read_process, start_program
from lab.runtime_node import RuntimeNode

PROGRAM = "agent"
HEALTHZ_PORT = 10248


def build_agent_argv(node: RuntimeNode, proxy_mode: str) -> tuple[str, ...]:
    paths = node.paths
    return (
        *build_berth_argv("agent"),
        f"--kubeconfig={paths.kubeconfig}",
        f"--node-name={node.name}",
        f"--node-ip={node.ip}",
        f"--root-dir={paths.agent_root}",
        f"--container-runtime-endpoint={node.endpoint}",
        f"--proxy-mode={proxy_mode}",
        f"--cluster-dns={node.addresses.cluster_dns}",
        f"--cluster-cidr={node.addresses.pods}",
        f"--static-pod-path={paths.static_pod_directory}",
        f"--healthz-port={HEALTHZ_PORT}",
        f"--pod-logs-dir={paths.pod_logs_directory}",
        f"--cni-conf-dir={paths.cni_conf_directory}",
        f"--cni-state-dir={paths.cni_state_directory}",
        f"--cgroup-root={paths.cgroup_root}",
        f"--resolv-conf={paths.resolv_conf}",
    )


def start_agent(node: RuntimeNode, proxy_mode: str) -> Process:
    """Starts it; returns before it has registered the node."""
    return _start(node, build_agent_argv(node, proxy_mode))


def _start(node: RuntimeNode, argv: tuple[str, ...]) -> Process:
    if read_agent(node) is not None:
        raise LabError(f"the agent of {node.name} runs already; kill it first")
    environment = dict(node.environment) | build_berth_environment(node.paths.lab)
    return start_program(node.program(PROGRAM, argv, environment))


def read_agent(node: RuntimeNode) -> Process | None:
    return read_process(node.paths.lab.process_file(node.name, PROGRAM))


def kill_agent(node: RuntimeNode) -> None:
    """SIGKILL; its pods, rules and routes stay. Gone already is success."""
    if (process := read_agent(node)) is not None:
        kill_process(process)


def build_standalone_argv(node: RuntimeNode, proxy_mode: str) -> tuple[str, ...]:
    """For a node without a control plane: the same, but from the directory alone."""
    beside_a_server = ("--kubeconfig=",)
    argv = (each for each in build_agent_argv(node, proxy_mode) if not each.startswith(beside_a_server))
    return (*argv, "--standalone", f"--pod-cidr={node.pod_cidr}")


def start_standalone_agent(node: RuntimeNode, proxy_mode: str = "auto") -> Process:
    """Starts it; returns before it is healthy."""
    return _start(node, build_standalone_argv(node, proxy_mode))
