"""A cluster of two nodes for each proxy mode, with the same pods and Services in both.

Pods `a` on n1 and `b` on n2 answer on `ECHO_PORT` with their name and the asker's address; pod `c` on n1 only
asks. What all tests of this folder share doesn't change; a test that changes something makes its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from kubeapi.core import Service
from kubeapi.pod import Pod
from kubeapi.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.names import SERVER
from tests.cluster.scene import Document, Scene, build_pod, build_service, new_scene, open_scene
from tests.cluster.traffic import Answer, ask_tcp, ask_udp, echo_server

MODES: Final = ("nftables", "iptables")
ECHO_PORT: Final = 9000
SERVICE_PORT: Final = 80
NAMESPACE: Final = "services"
OUTSIDE: Final = "server"  # what `a` and `b` would be called if the server's own machine answered

ASK: Final[Mapping[str, Callable[[Path, str, int], Answer]]] = {"TCP": ask_tcp, "UDP": ask_udp}


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands in one cluster. Askers and pods by name: "a", "b", "c"; nodes are "n1" and "n2"."""

    cluster: Cluster
    pods: Mapping[str, Pod]
    netns: Mapping[str, Path]
    services: Mapping[str, Service]

    def ip(self, name: str) -> str:
        """Of a pod, or of a node."""
        return self.pods[name].status.pod_ip if name in self.pods else str(self.cluster.node(name).ip)

    def cluster_ip(self, service: str) -> str:
        return self.services[service].spec.cluster_ip

    def node_port(self, service: str, protocol: str = "TCP") -> int:
        ports = self.services[service].spec.ports
        return next(port.node_port for port in ports if port.protocol == protocol)


def build_echo_ports() -> tuple[Document, Document]:
    return tuple(  # type: ignore[return-value]  # two protocols, two ports
        {"name": protocol.lower(), "protocol": protocol, "port": SERVICE_PORT, "targetPort": ECHO_PORT}
        for protocol in ASK
    )


DOCUMENTS: Final = (
    build_service("both", {"app": "echo"}, *build_echo_ports(), type="NodePort"),
    build_service("near", {"pod": "a"}, *build_echo_ports(), type="NodePort"),
    build_service("far", {"pod": "b"}, *build_echo_ports(), type="NodePort"),
    build_service("empty", {"app": "nobody"}, *build_echo_ports(), type="NodePort"),
    build_service("headless", {"app": "echo"}, *build_echo_ports(), clusterIP="None"),
    build_service("outside", None, *build_echo_ports()),
)


async def _set_up(cluster: Cluster) -> Stage:
    async with open_scene(cluster, NAMESPACE) as scene:
        await scene.client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        services = {s["metadata"]["name"]: await scene.create(SERVICES, s) for s in DOCUMENTS}
        await scene.create(ENDPOINT_SLICES, _build_outside_slice(str(cluster.addresses.server)))
        echo = {"app": "echo"}
        started = await asyncio.gather(
            scene.start_pod(build_pod("a", node="n1", labels={**echo, "pod": "a"})),
            scene.start_pod(build_pod("b", node="n2", labels={**echo, "pod": "b"})),
            scene.start_pod(build_pod("c", node="n1")),
        )
        await scene.wait_for_endpoints("both", 2)
        await scene.wait_for_endpoints("near", 1)
        await scene.wait_for_endpoints("far", 1)
        pods = {pod.metadata.name: pod for pod in started}
        netns = {name: await scene.find_netns(pod) for name, pod in pods.items()}
    nodes = {node.name: node.netns for node in cluster.nodes}
    return Stage(cluster, pods, {**netns, **nodes}, services)


def _build_outside_slice(address: str) -> Document:
    return {
        "metadata": {"name": "outside", "labels": {"kubernetes.io/service-name": "outside"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": name.lower(), "protocol": name, "port": ECHO_PORT} for name in ASK],
    }


@pytest.fixture(scope="session")
def stages() -> Iterator[Mapping[str, Stage]]:
    """By proxy mode; brought up side by side."""
    with ExitStack() as stack, ThreadPoolExecutor(len(MODES)) as workers:
        settings = [
            ClusterSettings(
                name=f"{mode}-{os.getpid()}", nodes=2, proxy_mode=mode, bound_to_this_process=True
            )
            for mode in MODES
        ]
        coming = [workers.submit(stack.enter_context, running_cluster(each)) for each in settings]
        stages = {mode: asyncio.run(_set_up(up.result())) for mode, up in zip(MODES, coming, strict=True)}
        for stage in stages.values():
            for name in ("a", "b"):
                stack.enter_context(echo_server(stage.netns[name], name, ECHO_PORT))
            server = stage.cluster.names.netns(SERVER)
            stack.enter_context(echo_server(server, OUTSIDE, ECHO_PORT))
        yield stages


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, stages: Mapping[str, Stage]) -> Stage:
    return stages[request.param]


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    """A namespace of the test's own on the stage's cluster."""
    async with new_scene(stage.cluster, "svc") as made:
        yield made
