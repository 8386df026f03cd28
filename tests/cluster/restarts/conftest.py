"""A namespace with every kind of pod that a restart could hurt, and somebody who asks them all the time.

The cluster of one node is shared: each test brings back what it killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from kubeapi.informer import Change, Informer
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.cluster import Cluster
from tests.cluster.scene import Scene, build_pod, build_service, build_shell, build_web, is_ready, new_scene
from tests.cluster.traffic import Stream, ask_http, request_streams, wait_for_requests

NODE = "n1"
WEB_PODS = ("web-1", "web-2")

EXEC = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1}


@dataclass(slots=True)
class History:
    """What a watch of the namespace's pods has shown."""

    problems: list[str] = field(default_factory=list)
    states: dict[str, tuple[bool, tuple[tuple[str, int], ...]]] = field(default_factory=dict)

    def note(self, change: Change[Pod]) -> None:
        """A change of readiness, of a container or of its restarts is a problem: these pods should stay."""
        name = change.key.name
        if change.new is None:
            self.problems.append(f"{name} is gone")
            return
        containers = tuple(
            (status.container_id, status.restart_count) for status in change.new.status.container_statuses
        )
        state = (is_ready(change.new), containers)
        if self.states.setdefault(name, state) != state:
            self.problems.append(f"{name} was {self.states[name]} and is {state}")
            self.states[name] = state


def build_stage_pods() -> tuple[dict[str, object], ...]:
    """With and without probes, of each kind; all of them are to see nothing of a restart."""
    tcp = {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 2}
    http = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    webs = [
        build_pod(
            name,
            build_web(readinessProbe=http, livenessProbe=tcp),
            labels={"app": "web", "steady": "yes"},
        )
        for name in WEB_PODS
    ]
    probed = build_shell(
        "touch /tmp/up; exec sleep 86400",
        readinessProbe=EXEC,
        livenessProbe={**EXEC, "initialDelaySeconds": 2},
    )
    return (
        *webs,
        build_pod("probed", probed, labels={"steady": "yes"}),
        build_pod("plain", labels={"steady": "yes"}),
    )


@dataclass(frozen=True, slots=True)
class Stage:
    scene: Scene
    history: History
    streams: tuple[Stream, ...]

    def assert_steady(self) -> None:
        """No pod has changed, and no request has failed."""
        assert self.history.problems == []
        assert [stream.failures for stream in self.streams] == [[] for _ in self.streams]
        assert {name for stream in self.streams for name in stream.answers} == set(WEB_PODS)

    async def wait_for_requests(self, count: int) -> None:
        """Until each stream has asked that many times more: whoever answers works, whatever is dead."""
        await wait_for_requests(self.streams, count)


@pytest.fixture
async def stage(cluster: Cluster) -> AsyncIterator[Stage]:
    async with new_scene(cluster, "restart") as scene:
        pods = {
            pod.metadata.name: pod
            for pod in await asyncio.gather(*(scene.start_pod(each) for each in build_stage_pods()))
        }
        service = await scene.start_service(
            build_service("web", {"app": "web"}, {"port": 80, "targetPort": "http"}, type="NodePort"),
            endpoints=len(WEB_PODS),
        )
        node, inside = cluster.node(NODE), await scene.find_netns(pods["plain"])
        cluster_ip = f"http://{service.spec.cluster_ip}/"
        node_port = f"http://{node.ip}:{service.spec.ports[0].node_port}/"
        asks = {
            f"{url} from {netns}": partial(ask_http, netns, url)
            for netns in (node.netns, inside)
            for url in (cluster_ip, node_port)
        }
        history = History()
        informer = Informer(scene.client, PODS, namespace=scene.namespace, label_selector="steady=yes")
        informer.subscribe(history.note)
        watching = asyncio.create_task(informer.run())
        await informer.wait_until_synced()
        try:
            with request_streams(asks) as streams:
                yield Stage(scene, history, streams)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
