"""The floor of a pod's start and stop: the bare CRI calls, one after the other, with nothing around them.

Talks to a node's runtime directly. Its sandboxes lack the labels by which the agent knows its
own, so the agent on the same node leaves them alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import grpc

from cri_proto.runtime.v1 import api_pb2 as cri
from cri_proto.runtime.v1.api_pb2_grpc import RuntimeServiceStub

DEADLINE_SECONDS = 60.0
_REMOVALS_AT_ONCE = 4

# As the agent asks for them: a network for the pod, processes for each container, and for the sandbox the
# runtime's seccomp profile, as every kubelet has it (10 ms of a start with runc).
_NAMESPACES = cri.NamespaceOption(network=cri.POD, pid=cri.CONTAINER, ipc=cri.POD)
_SECCOMP = cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)


@dataclass(frozen=True, slots=True)
class FloorSample:
    """How long the start calls and the stop calls of one pod took."""

    start_seconds: float
    stop_seconds: float


@dataclass(frozen=True, slots=True)
class FloorPod:
    """A sandbox with one running container."""

    sandbox: str
    container: str


@contextmanager
def open_runtime(endpoint: str) -> Iterator[RuntimeServiceStub]:
    """A synchronous CRI stub on a runtime's socket."""
    with grpc.insecure_channel(endpoint) as channel:
        yield RuntimeServiceStub(channel)


def build_sandbox_config(name: str, cgroup_parent: str) -> cri.PodSandboxConfig:
    """A pod sandbox with a network of its own and nothing else."""
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=str(uuid4()), namespace="bench-floor", attempt=0),
        hostname=name,
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=cri.LinuxSandboxSecurityContext(namespace_options=_NAMESPACES, seccomp=_SECCOMP),
        ),
    )


def start_pod(stub: RuntimeServiceStub, image: str, cgroup_parent: str) -> FloorPod:
    """RunPodSandbox, CreateContainer, StartContainer."""
    config = build_sandbox_config(f"floor-{uuid4().hex[:8]}", cgroup_parent)
    sandbox = stub.RunPodSandbox(
        cri.RunPodSandboxRequest(config=config), timeout=DEADLINE_SECONDS
    ).pod_sandbox_id
    container = stub.CreateContainer(
        cri.CreateContainerRequest(
            pod_sandbox_id=sandbox,
            config=cri.ContainerConfig(
                metadata=cri.ContainerMetadata(name="main"),
                image=cri.ImageSpec(image=image),
                linux=cri.LinuxContainerConfig(
                    security_context=cri.LinuxContainerSecurityContext(namespace_options=_NAMESPACES)
                ),
            ),
            sandbox_config=config,
        ),
        timeout=DEADLINE_SECONDS,
    ).container_id
    stub.StartContainer(cri.StartContainerRequest(container_id=container), timeout=DEADLINE_SECONDS)
    return FloorPod(sandbox, container)


def remove_pod(stub: RuntimeServiceStub, pod: FloorPod) -> None:
    """StopContainer, StopPodSandbox, RemovePodSandbox; the image's own process ends on SIGTERM."""
    stub.StopContainer(
        cri.StopContainerRequest(container_id=pod.container, timeout=10), timeout=DEADLINE_SECONDS
    )
    stub.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod.sandbox), timeout=DEADLINE_SECONDS)
    stub.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod.sandbox), timeout=DEADLINE_SECONDS)


def measure_floor(stub: RuntimeServiceStub, image: str, cgroup_parent: str) -> FloorSample:
    """Starts, stops and removes one pod."""
    began = time.perf_counter()
    pod = start_pod(stub, image, cgroup_parent)
    running = time.perf_counter()
    remove_pod(stub, pod)
    return FloorSample(running - began, time.perf_counter() - running)


def measure_floor_burst(
    stub: RuntimeServiceStub, image: str, cgroup_parent: str, pods: int, concurrency: int
) -> float:
    """Seconds until that many pods run, started by `concurrency` threads; they are removed afterwards."""
    with ThreadPoolExecutor(concurrency) as workers:
        began = time.perf_counter()
        started = list(workers.map(lambda _: start_pod(stub, image, cgroup_parent), range(pods)))
        seconds = time.perf_counter() - began
    with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as workers:
        list(workers.map(lambda pod: remove_pod(stub, pod), started))
    return seconds
