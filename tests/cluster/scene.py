"""A namespace of a test's own in a lab's cluster: objects in, waits for what becomes of them, commands in
pods.

Every wait is a watch with a bound. Documents are in the API's own JSON names. Used by the tests below this
folder; what crosses the pod network is `traffic`'s.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeapi.client import Client
from kubeapi.core import Event, Service
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.kubeconfig import read_kubeconfig
from kubeapi.meta import Object
from kubeapi.pod import ContainerStatus, Pod
from kubeapi.resources import ENDPOINT_SLICES, EVENTS, NAMESPACES, PODS, SERVICES, Resource, ViewT
from kubeapi.watch_stream import WatchEventType
from lab.cluster import Cluster
from lab.images import SHELL_IMAGE, WEB_IMAGE, WEB_PORT
from lab.kubectl import Kubectl, find_kubectl

Document = dict[str, Any]

WAIT_SECONDS = 30.0
_RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Scene:
    cluster: Cluster
    client: Client
    namespace: str
    kubectl: Kubectl

    # --- objects --------------------------------------------------------------------------------------------

    async def create(self, resource: Resource[ViewT], document: Document) -> ViewT:
        return await self.client.create(resource, document, self.namespace)

    async def start_pod(self, document: Document) -> Pod:
        """Creates the pod and returns it once it is Ready."""
        await self.create(PODS, document)
        return await self.wait_for_pod(document["metadata"]["name"], is_ready)

    async def start_service(self, document: Document, endpoints: int) -> Service:
        """Creates the Service and returns it once that many endpoints are ready."""
        service = await self.create(SERVICES, document)
        await self.wait_for_endpoints(service.metadata.name, endpoints)
        return service

    async def delete_pod(self, name: str, grace_period_seconds: int | None = None) -> None:
        """Asks for it; doesn't wait."""
        await self.client.delete(PODS, name, self.namespace, grace_period_seconds=grace_period_seconds)

    # --- waiting --------------------------------------------------------------------------------------------

    async def wait_for(
        self,
        resource: Resource[ViewT],
        name: str,
        is_wanted: Callable[[ViewT], bool],
        seconds: float = WAIT_SECONDS,
    ) -> ViewT:
        """The object once it is as wanted; AssertionError with its last state when that takes too long."""
        last: ViewT | None = None
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(self.follow(resource, f"metadata.name={name}")) as states,
            ):
                async for last in states:
                    if last is not None and is_wanted(last):
                        return last
        except TimeoutError:
            pass
        raise AssertionError(f"{resource.kind} {name} isn't as wanted after {seconds:g} s: {last}")

    async def wait_for_pod(
        self, name: str, is_wanted: Callable[[Pod], bool], seconds: float = WAIT_SECONDS
    ) -> Pod:
        return await self.wait_for(PODS, name, is_wanted, seconds)

    async def wait_until_gone(
        self, resource: Resource[ViewT], name: str, uid: str = "", seconds: float = WAIT_SECONDS
    ) -> None:
        """Until no object has that name, or, with a uid, until it is another one."""
        last: ViewT | None = None
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(self.follow(resource, f"metadata.name={name}")) as states,
            ):
                async for last in states:
                    if last is None or (uid and last.metadata.uid != uid):
                        return
        except TimeoutError:
            pass
        raise AssertionError(f"{resource.kind} {name} is still there after {seconds:g} s: {last}")

    async def wait_for_event(self, name: str, reason: str, words: str = "") -> Event:
        """The first Event about an object of this name with that reason and these words in its message."""
        seen: list[str] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS), aclosing(self.follow(EVENTS, "")) as states:
                async for event in states:
                    if event is None or event.involved_object.name != name:
                        continue
                    seen.append(f"{event.reason}: {event.message}")
                    if event.reason == reason and words in event.message:
                        return event
        except TimeoutError:
            pass
        raise AssertionError(f"no Event {reason} {words!r} about {name}; there were {seen}")

    async def wait_for_endpoints(self, service: str, count: int, seconds: float = WAIT_SECONDS) -> None:
        """Until the Service's slices have that many ready endpoints."""
        ready: dict[str, int] = {}
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(self.follow(ENDPOINT_SLICES, "", f"kubernetes.io/service-name={service}")) as states,
            ):
                async for slice_ in states:
                    if slice_ is not None:
                        ready[slice_.metadata.name] = sum(
                            endpoint.conditions.ready is not False for endpoint in slice_.endpoints
                        )
                    if sum(ready.values()) == count:
                        return
        except TimeoutError:
            pass
        raise AssertionError(f"the Service {service} has not got {count} ready endpoints: {ready}")

    async def follow(
        self, resource: Resource[ViewT], field_selector: str, label_selector: str = ""
    ) -> AsyncGenerator[ViewT | None, None]:
        """Every state of the selected objects from now on, None for none; a dead server is waited for."""
        namespace = self.namespace if resource.namespaced else ""
        while True:
            try:
                listed = await self.client.list(
                    resource, namespace, field_selector=field_selector, label_selector=label_selector
                )
                for item in listed.items:
                    yield item
                if not listed.items:
                    yield None
                version = listed.metadata.resource_version
                watch = self.client.watch(
                    resource,
                    namespace,
                    resource_version=version,
                    field_selector=field_selector,
                    label_selector=label_selector,
                )
                async with aclosing(watch) as events:
                    async for event in events:
                        if event.type is not WatchEventType.BOOKMARK:
                            yield None if event.type is WatchEventType.DELETED else event.object
            except KubeAPIError:
                await asyncio.sleep(
                    _RETRY_SECONDS
                )  # it refuses while it is down, and says nothing when it is up

    # --- inside pods ----------------------------------------------------------------------------------------

    async def run_in_pod(
        self, pod: str, *argv: str, container: str = "", timeout_seconds: float = WAIT_SECONDS
    ) -> str:
        """What a command in the pod prints, through the API server; LabError when it fails."""
        chosen = [f"--container={container}"] if container else []
        arguments = ("exec", f"--namespace={self.namespace}", pod, *chosen, "--", *argv)
        return await asyncio.to_thread(self.kubectl.run, *arguments, timeout_seconds=timeout_seconds)

    async def read_log(self, pod: str, *options: str) -> str:
        """LabError when there is none."""
        return await asyncio.to_thread(
            self.kubectl.run, "logs", f"--namespace={self.namespace}", pod, *options
        )

    async def find_netns(self, pod: Pod) -> Path:
        """The network namespace of a running pod, for `traffic`."""
        wanted = pod.status.container_statuses[0].container_id.partition("://")[2]
        listed = await asyncio.to_thread(self.cluster.exec, pod.spec.node_name, ["ctr", "tasks", "ls"])
        for line in listed.stdout.splitlines():
            identifier, pid, *_ = line.split()
            if identifier == wanted:
                return Path("/proc", pid, "ns/net")
        raise AssertionError(f"the pod {pod.metadata.name} has no task: {listed.stdout}{listed.stderr}")


@asynccontextmanager
async def new_scene(cluster: Cluster, name: str) -> AsyncIterator[Scene]:
    """A namespace made for the block, and gone after it, the last of its pods too."""
    namespace = f"{name}-{secrets.token_hex(3)}"
    async with open_scene(cluster, namespace) as scene:
        await scene.client.create(NAMESPACES, {"metadata": {"name": namespace}})
        try:
            yield scene
        finally:
            await scene.client.delete(NAMESPACES, namespace)
            await scene.wait_until_gone(NAMESPACES, namespace, seconds=60)


@asynccontextmanager
async def open_scene(cluster: Cluster, namespace: str) -> AsyncIterator[Scene]:
    """A namespace that is there already."""
    kubectl = find_kubectl(cluster.kubeconfig, cluster.names.data_directory / "kubectl-cache")
    async with Client(read_kubeconfig(cluster.kubeconfig), user_agent="berth-tests") as client:
        yield Scene(cluster, client, namespace, kubectl)


# --- good documents -----------------------------------------------------------------------------------------


def build_pod(
    name: str,
    *containers: Document,
    node: str = "",
    labels: Mapping[str, str] | None = None,
    grace_seconds: int = 1,
    **spec: Any,
) -> Document:
    """A pod of these containers, or of one shell that waits; `spec` adds fields by their JSON names."""
    chosen = {"nodeName": node} if node else {}
    return {
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "terminationGracePeriodSeconds": grace_seconds,
            "containers": list(containers) or [build_shell()],
            **chosen,
            **spec,
        },
    }


def build_shell(script: str = "exec sleep 86400", name: str = "main", **fields: Any) -> Document:
    """A container that runs a shell script; as its process 1 it would be deaf to SIGTERM."""
    command = ["/sbin/catatonit", "--", "sh", "-c", script]
    return {"name": name, "image": SHELL_IMAGE, "command": command, **fields}


def build_web(name: str = "web", **fields: Any) -> Document:
    """A container that answers HTTP with its pod's name, ready once it does."""
    probe = {"httpGet": {"path": "/healthz", "port": WEB_PORT}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": WEB_PORT}]
    return {"name": name, "image": WEB_IMAGE, "ports": ports, "readinessProbe": probe, **fields}


def build_service(name: str, selector: Mapping[str, str] | None, *ports: Document, **spec: Any) -> Document:
    """Without a selector, its endpoints are somebody else's to write."""
    chosen = {"selector": dict(selector)} if selector is not None else {}
    return {"metadata": {"name": name}, "spec": {"ports": list(ports), **chosen, **spec}}


# --- facts of a pod -----------------------------------------------------------------------------------------


def is_ready(pod: Pod) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)


def find_status(pod: Pod, container: str = "") -> ContainerStatus | None:
    """One container's status; the first app container's without a name."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    return next((status for status in statuses if container in ("", status.name)), None)


def is_waiting(reason: str) -> Callable[[Pod], bool]:
    """Whether the pod's first container waits for that reason."""

    def is_wanted(pod: Pod) -> bool:
        status = find_status(pod)
        return (
            status is not None and status.state.waiting is not None and status.state.waiting.reason == reason
        )

    return is_wanted


def is_in_phase(phase: str) -> Callable[[Pod], bool]:
    return lambda pod: pod.status.phase == phase


def is_terminating(obj: Object) -> bool:
    return obj.metadata.deletion_timestamp is not None


async def is_absent(scene: Scene, name: str) -> bool:
    """Whether there is no pod of that name now."""
    try:
        await scene.client.get(PODS, name, scene.namespace)
    except ApiStatusError as error:
        if error.is_not_found:
            return True
        raise
    return False
