"""Scheduler and controllers as clients of our API server, with nodes that only say that their pods run.

No fakes but the kubelet: SQLite, HTTPS, informers, the shared loops. Waits are for events, never for time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.app import run_until
from controlplane.settings import ServerSettings
from kubeapi.client import Client, PatchType
from kubeapi.discovery import SERVICE_NAME_LABEL
from kubeapi.errors import KubeAPIError
from kubeapi.informer import Informer
from kubeapi.kubeconfig import ClientConfig, read_kubeconfig
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)

DEADLINE_SECONDS = 20.0
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}
WATCHED: tuple[Resource[Any], ...] = (
    PODS,
    NODES,
    DEPLOYMENTS,
    REPLICA_SETS,
    ENDPOINT_SLICES,
    NAMESPACES,
    SERVICE_ACCOUNTS,
)


class Cluster:
    """What watches show, and a kubelet for every node at once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers = {each.path(): Informer(client, each) for each in WATCHED}
        self._changed = asyncio.Event()
        self._addresses = 0
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for informer in self._informers.values():
                informer.subscribe(lambda _: self._changed.set())
                self._tasks.create_task(informer.run())
            self._informers[PODS.path()].subscribe(self._serve_pod)
            started.set()

    def all(self, resource: Resource[Any], namespace: str = "default") -> list[Any]:
        objects = self._informers[resource.path()].objects().values()
        return [each for each in objects if each.metadata.namespace in ("", namespace)]

    def names(self, resource: Resource[Any]) -> set[str]:
        return {each.metadata.name for each in self.all(resource)}

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def patch(self, resource: Resource[Any], name: str, body: dict[str, Any]) -> None:
        namespace = "default" if resource.namespaced else ""
        await self.client.patch(resource, body, name, namespace, patch_type=PatchType.MERGE)

    def is_rolled_out(self, replicas: int) -> bool:
        """What `kubectl rollout status` asks."""
        found = self.all(DEPLOYMENTS)
        status = found[0].status if found else None
        return (
            status is not None
            and status.observed_generation >= found[0].metadata.generation
            and status.updated_replicas == status.replicas == status.available_replicas == replicas
        )

    def _serve_pod(self, change: Change[Pod]) -> None:
        pod = change.new
        if pod is None or not pod.spec.node_name or self._tasks is None:
            return
        if pod.metadata.deletion_timestamp is not None:
            self._tasks.create_task(self._end(pod))
        elif not pod.status.pod_ip:
            self._tasks.create_task(self._start(pod))

    async def _start(self, pod: Pod) -> None:
        self._addresses += 1
        address = f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [READY],
        }
        await self._try(
            self.client.patch(
                PODS,
                {"status": status},
                pod.metadata.name,
                pod.metadata.namespace,
                patch_type=PatchType.STRATEGIC,
                subresource="status",
            )
        )

    async def _end(self, pod: Pod) -> None:
        meta = pod.metadata
        await self._try(
            self.client.delete(PODS, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0)
        )

    async def _try(self, request: Any) -> None:
        """The pod may be gone by now."""
        try:
            await request
        except KubeAPIError:
            return


@asynccontextmanager
async def run_cluster(directory: Path, nodes: int) -> AsyncIterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stop, started = asyncio.Event(), asyncio.Event()
    settings = ServerSettings(data_dir=directory, bind_address="127.0.0.1", secure_port=port)
    server = asyncio.create_task(run_until(settings, stop))
    async with Client(await read_config(directory, server), user_agent="test") as client:
        cluster = Cluster(client)
        running = asyncio.create_task(cluster.run(started))
        await started.wait()
        await cluster.until(lambda: "default" in cluster.names(NAMESPACES))
        for number in range(nodes):
            await client.create(NODES, build_node(f"n{number}"))
        try:
            yield cluster
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            stop.set()
            await asyncio.wait_for(server, DEADLINE_SECONDS)


async def read_config(directory: Path, server: asyncio.Task[None]) -> ClientConfig:
    """The administrator's, once the server has written it; a server that ends first says why."""
    path = directory / "kubeconfig" / "admin.yaml"
    async with asyncio.timeout(DEADLINE_SECONDS):
        # The file system tells nobody: this is the one place that asks again.
        while not path.exists() and not server.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    if server.done():
        server.result()
    return read_kubeconfig(path)


def build_node(name: str) -> dict[str, Any]:
    room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    status = {"allocatable": room, "capacity": room, "conditions": [READY]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def build_template(image: str) -> dict[str, Any]:
    container = {"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 80}]}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}


def build_deployment(replicas: int) -> dict[str, Any]:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": build_template("web:1"),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def build_service() -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


async def test_a_deployment_comes_up_rolls_over_and_goes(tmp_path: Path) -> None:
    async with run_cluster(tmp_path, nodes=3) as cluster:
        await cluster.client.create(SERVICES, build_service(), "default")
        await cluster.client.create(DEPLOYMENTS, build_deployment(3), "default")
        await cluster.until(lambda: cluster.is_rolled_out(3))
        assert len({pod.spec.node_name for pod in cluster.all(PODS)}) == 3
        cidrs = {node.spec.pod_cidr for node in cluster.all(NODES)}
        assert cidrs == {"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"}
        await cluster.until(lambda: _addresses(cluster) == {pod.status.pod_ip for pod in cluster.all(PODS)})

        victim = cluster.all(PODS)[0]
        await cluster.client.delete(PODS, victim.metadata.name, "default")
        await cluster.until(
            lambda: (
                cluster.is_rolled_out(3)
                and len(_addresses(cluster)) == 3
                and victim.status.pod_ip not in _addresses(cluster)
            )
        )

        await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": build_template("web:2")}})
        await cluster.until(lambda: cluster.is_rolled_out(3) and len(cluster.all(REPLICA_SETS)) == 2)
        await cluster.until(lambda: len(cluster.all(PODS)) == 3)
        assert {pod.spec.containers[0].image for pod in cluster.all(PODS)} == {"web:2"}

        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await cluster.until(lambda: not cluster.all(DEPLOYMENTS))
        assert not cluster.all(REPLICA_SETS)
        await cluster.until(lambda: not cluster.all(PODS) and not _addresses(cluster))


async def test_orphans_are_left_and_found_again(tmp_path: Path) -> None:
    async with run_cluster(tmp_path, nodes=1) as cluster:
        await cluster.client.create(DEPLOYMENTS, build_deployment(2), "default")
        await cluster.until(lambda: cluster.is_rolled_out(2))
        pods = {pod.metadata.uid for pod in cluster.all(PODS)}
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
        await cluster.until(lambda: not cluster.all(DEPLOYMENTS))
        await cluster.until(lambda: not cluster.all(REPLICA_SETS)[0].metadata.owner_references)
        await cluster.client.create(DEPLOYMENTS, build_deployment(2), "default")
        await cluster.until(lambda: cluster.is_rolled_out(2))
        assert len(cluster.all(REPLICA_SETS)) == 1
        assert {pod.metadata.uid for pod in cluster.all(PODS)} == pods


async def test_a_namespace_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    async with run_cluster(tmp_path, nodes=1) as cluster:
        await cluster.client.create(NAMESPACES, {"metadata": {"name": "tmp"}})
        await cluster.until(lambda: cluster.all(SERVICE_ACCOUNTS, "tmp"))
        await cluster.client.create(DEPLOYMENTS, build_deployment(2), "tmp")
        await cluster.until(lambda: len([pod for pod in cluster.all(PODS, "tmp") if pod.status.pod_ip]) == 2)
        await cluster.client.delete(NAMESPACES, "tmp")
        await cluster.until(lambda: "tmp" not in cluster.names(NAMESPACES))
        assert not (await cluster.client.list(PODS, "tmp")).items


def _addresses(cluster: Cluster) -> set[str]:
    return {
        address
        for slice_ in cluster.all(ENDPOINT_SLICES)
        if slice_.metadata.labels.get(SERVICE_NAME_LABEL) == "web"
        for endpoint in slice_.endpoints
        if endpoint.conditions.ready
        for address in endpoint.addresses
    }
