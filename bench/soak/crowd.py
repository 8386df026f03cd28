"""Many pods of every kind that a restart could hurt, a Service before them, and somebody who asks it all the
time.

A shell on a lab's first node. The pods carry the label soak=crowd and fail at the first probe that is missed.
Used by the soak runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.soak.histories import PodHistory, watching
from kubeapi.resources import PODS, SERVICES
from lab.cluster import Cluster
from lab.runtime_node import RuntimeNode
from tests.cluster.scene import (
    Document,
    Scene,
    build_pod,
    build_service,
    build_shell,
    build_web,
    is_ready,
    new_scene,
)
from tests.cluster.traffic import Ask, Stream, ask_http, request_streams, wait_for_requests

START_SECONDS: Final = 120.0
_LABEL: Final = {"soak": "crowd"}
_SERVICE: Final = "crowd"

_EXEC: Final = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 5, "failureThreshold": 1}
_TCP: Final = {"tcpSocket": {"port": "http"}, "periodSeconds": 2, "failureThreshold": 1}
_HTTP: Final = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 1}


@dataclass(frozen=True, slots=True)
class Crowd:
    scene: Scene
    history: PodHistory
    streams: tuple[Stream, ...]

    async def wait_for_requests(self, count: int) -> None:
        """Until each stream has asked that many times more."""
        await wait_for_requests(self.streams, count)

    def list_failures(self) -> tuple[str, ...]:
        """Every request that failed, and each ready web pod that never answered one."""
        failures = [f"{stream.name}: {failure}" for stream in self.streams for failure in stream.failures]
        answered = {name for stream in self.streams for name in stream.answers}
        silent = sorted(self.history.names & _list_web_names(len(self.history.names)) - answered)
        return (*failures, *(f"{name} never answered" for name in silent))

    @property
    def asked(self) -> int:
        return sum(stream.asked for stream in self.streams)


@asynccontextmanager
async def running_crowd(cluster: Cluster, name: str, count: int) -> AsyncIterator[Crowd]:
    """`count` Ready pods of which a quarter answers requests, while the block runs; `count` is 4 or more."""
    async with new_scene(cluster, name) as scene:
        for index in range(count):
            await scene.create(PODS, build_crowd_pod(index))
        for index in range(count):
            await scene.wait_for_pod(_name(index), is_ready, START_SECONDS)
        history = PodHistory()
        async with watching(
            scene.client, PODS, history.note, namespace=scene.namespace, label_selector="soak=crowd"
        ):
            with request_streams(await _build_asks(scene, count)) as streams:
                yield Crowd(scene, history, streams)


def build_crowd_pod(index: int) -> Document:
    """By turns: exec probes, a web server with HTTP and TCP probes, no probe, the two the other way round."""
    exec_probes: Document = {"readinessProbe": _EXEC, "livenessProbe": {**_EXEC, "initialDelaySeconds": 2}}
    # A server that is slow to start is no failure; one that was up and is missed once is.
    startup = {**_HTTP, "periodSeconds": 1, "failureThreshold": 30}
    containers = (
        build_shell("touch /tmp/up; exec sleep 86400", **exec_probes),
        build_web(readinessProbe=_HTTP, livenessProbe=_TCP, startupProbe=startup),
        build_shell(),
        build_web(readinessProbe=_TCP, livenessProbe=_HTTP, startupProbe=startup),
    )
    served = {"app": _SERVICE} if _is_web(index) else {}
    return build_pod(_name(index), containers[index % 4], labels={**_LABEL, **served})


def _name(index: int) -> str:
    return f"crowd-{index}"


def _is_web(index: int) -> bool:
    return index % 4 == 1


def _list_web_names(count: int) -> frozenset[str]:
    return frozenset(_name(index) for index in range(count) if _is_web(index))


async def _build_asks(scene: Scene, count: int) -> Mapping[str, Ask]:
    """Over the cluster IP and a node port, from the node and from a pod."""
    service = await scene.create(
        SERVICES,
        build_service(_SERVICE, {"app": _SERVICE}, {"port": 80, "targetPort": "http"}, type="NodePort"),
    )
    await scene.wait_for_endpoints(_SERVICE, len(_list_web_names(count)))
    node: RuntimeNode = scene.cluster.nodes[0]
    plain = await scene.client.get(PODS, _name(2), scene.namespace)
    namespaces = {"the node": node.netns, "a pod": await scene.find_netns(plain)}
    urls = (
        f"http://{service.spec.cluster_ip}/",
        f"http://{node.ip}:{service.spec.ports[0].node_port}/",
    )
    return {
        f"{url} from {where}": partial(ask_http, netns, url)
        for where, netns in namespaces.items()
        for url in urls
    }
