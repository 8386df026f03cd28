"""Pods through raw CRI calls, for tests and benches that want a real pod and no agent.

A shell around the CRI's synchronous stubs. Such pods carry none of the agent's labels. `write_bridge_conf`
gives a node without agent a pod network of its own (CNI's bridge and host-local, specification 1.0).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from cri_proto.runtime.v1 import api_pb2, api_pb2_grpc
from lab.errors import LabError
from lab.runtime_node import RuntimeNode

_DEADLINE_SECONDS = 60
# As for a Kubernetes pod that doesn't ask for shared processes.
_NAMESPACES = api_pb2.NamespaceOption(pid=api_pb2.NamespaceMode.CONTAINER)


@dataclass(frozen=True, slots=True)
class BarePod:
    sandbox_id: str
    container_id: str
    ip: str
    log_file: Path


def write_bridge_conf(node: RuntimeNode) -> None:
    """A CNI configuration for the node's pod CIDR; containerd sees it by itself."""
    conf = build_bridge_conf(str(node.pod_cidr), str(node.paths.cni_state_directory))
    target = node.paths.cni_conf_directory / "10-lab.conflist"
    target.write_text(json.dumps(conf, indent=2))


def build_bridge_conf(pod_cidr: str, data_dir: str) -> Mapping[str, object]:
    plugin = {
        "type": "bridge",
        "bridge": "lab0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": data_dir,
            "ranges": [[{"subnet": pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "1.0.0", "name": "lab", "plugins": [plugin]}


class BareRuntime:
    """The CRI services of one node."""

    def __init__(self, node: RuntimeNode, channel: grpc.Channel) -> None:
        self._node = node
        self.runtime = api_pb2_grpc.RuntimeServiceStub(channel)
        self.images = api_pb2_grpc.ImageServiceStub(channel)

    def run_pod(self, name: str, image: str, command: Sequence[str] = ()) -> BarePod:
        """A sandbox with one running container."""
        sandbox = self._build_sandbox(name)
        with _mapped_errors(f"starting the pod {name}"):
            sandbox_id = self.runtime.RunPodSandbox(
                api_pb2.RunPodSandboxRequest(config=sandbox), timeout=_DEADLINE_SECONDS
            ).pod_sandbox_id
            container_id = self.runtime.CreateContainer(
                api_pb2.CreateContainerRequest(
                    pod_sandbox_id=sandbox_id,
                    config=api_pb2.ContainerConfig(
                        metadata=api_pb2.ContainerMetadata(name="main"),
                        image=api_pb2.ImageSpec(image=image),
                        args=command,
                        log_path="main.log",
                        linux=api_pb2.LinuxContainerConfig(
                            security_context=api_pb2.LinuxContainerSecurityContext(
                                namespace_options=_NAMESPACES
                            )
                        ),
                    ),
                    sandbox_config=sandbox,
                ),
                timeout=_DEADLINE_SECONDS,
            ).container_id
            self.runtime.StartContainer(
                api_pb2.StartContainerRequest(container_id=container_id), timeout=_DEADLINE_SECONDS
            )
            status = self.runtime.PodSandboxStatus(
                api_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id), timeout=_DEADLINE_SECONDS
            ).status
        return BarePod(sandbox_id, container_id, status.network.ip, Path(sandbox.log_directory) / "main.log")

    def stop_container(self, pod: BarePod, grace_seconds: int) -> None:
        """SIGTERM, then SIGKILL once the grace is over."""
        with _mapped_errors("stopping a container"):
            self.runtime.StopContainer(
                api_pb2.StopContainerRequest(container_id=pod.container_id, timeout=grace_seconds),
                timeout=_DEADLINE_SECONDS + grace_seconds,
            )

    def remove_pod(self, pod: BarePod) -> None:
        with _mapped_errors("removing a pod"):
            self.runtime.StopPodSandbox(
                api_pb2.StopPodSandboxRequest(pod_sandbox_id=pod.sandbox_id), timeout=_DEADLINE_SECONDS
            )
            self.runtime.RemovePodSandbox(
                api_pb2.RemovePodSandboxRequest(pod_sandbox_id=pod.sandbox_id), timeout=_DEADLINE_SECONDS
            )

    def run_in_container(self, pod: BarePod, argv: Sequence[str]) -> tuple[int, str]:
        """Exit code and standard output of a command in the pod's container."""
        with _mapped_errors("running a command in a container"):
            answer = self.runtime.ExecSync(
                api_pb2.ExecSyncRequest(container_id=pod.container_id, cmd=argv, timeout=20),
                timeout=_DEADLINE_SECONDS,
            )
        return answer.exit_code, answer.stdout.decode(errors="replace")

    def _build_sandbox(self, name: str) -> api_pb2.PodSandboxConfig:
        log_directory = self._node.paths.pod_logs_directory / name
        log_directory.mkdir(parents=True, exist_ok=True)
        return api_pb2.PodSandboxConfig(
            metadata=api_pb2.PodSandboxMetadata(name=name, uid=str(uuid.uuid4()), namespace="bare"),
            hostname=name,
            log_directory=str(log_directory),
            linux=api_pb2.LinuxPodSandboxConfig(
                cgroup_parent=f"{self._node.cgroup_root}/kubepods/bare",
                security_context=api_pb2.LinuxSandboxSecurityContext(namespace_options=_NAMESPACES),
            ),
        )


@contextmanager
def open_bare_runtime(node: RuntimeNode) -> Iterator[BareRuntime]:
    with grpc.insecure_channel(node.endpoint) as channel:
        yield BareRuntime(node, channel)


@contextmanager
def _mapped_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise LabError(f"{doing} failed: {error.details()}") from error
