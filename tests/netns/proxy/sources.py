"""The API's side of the proxy for tests: informers and a pod directory that hold what a test puts in.

Pure; keeps the informers' promises (a subscriber hears of what is known already, changes carry old and new).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agent.pods.ports import ContainerHandle, RunningPod
from kubeapi.core import ObjectReference, Service, ServicePort, ServiceSpec
from kubeapi.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import Object, ObjectKey, ObjectMeta
from kubeapi.pod import Pod

ObjectT = TypeVar("ObjectT", bound=Object)


class Source(Generic[ObjectT]):
    def __init__(self) -> None:
        self._objects: dict[ObjectKey, ObjectT] = {}
        self._handlers: list[Callable[[Change[ObjectT]], None]] = []
        self.synced = asyncio.Event()

    async def wait_until_synced(self) -> None:
        await self.synced.wait()

    def get(self, key: ObjectKey) -> ObjectT | None:
        return self._objects.get(key)

    def objects(self) -> Mapping[ObjectKey, ObjectT]:
        return self._objects

    def subscribe(self, handler: Callable[[Change[ObjectT]], None]) -> None:
        self._handlers.append(handler)
        for key, known in tuple(self._objects.items()):
            handler(Change(key, None, known))

    def put(self, new: ObjectT) -> None:
        old = self._objects.get(new.key)
        self._objects[new.key] = new
        self._tell(Change(new.key, old, new))

    def delete(self, key: ObjectKey) -> None:
        self._tell(Change(key, self._objects.pop(key), None))

    def _tell(self, change: Change[ObjectT]) -> None:
        for handler in self._handlers:
            handler(change)


class Directory:
    def __init__(self) -> None:
        self._running: tuple[RunningPod, ...] = ()
        self._handlers: list[Callable[[], None]] = []

    def set_running(self, *pods: RunningPod) -> None:
        self._running = pods
        for handler in self._handlers:
            handler()

    def pods(self) -> tuple[Pod, ...]:
        return ()

    def running_pods(self) -> tuple[RunningPod, ...]:
        return self._running

    def subscribe_running(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    def find_container(
        self, key: ObjectKey, uid: str, container: str, previous: bool
    ) -> ContainerHandle | None:
        return None


def build_service(name: str, address: str, port: int, protocol: str = "TCP", node_port: int = 0) -> Service:
    spec = ServiceSpec(
        type="NodePort" if node_port else "ClusterIP",
        cluster_ip=address,
        cluster_ips=(address,),
        ports=(ServicePort(protocol=protocol, port=port, node_port=node_port),),
    )
    return Service(metadata=ObjectMeta(namespace="default", name=name), spec=spec)


def build_slice(service: str, port: int, *addresses: str, protocol: str = "TCP") -> EndpointSlice:
    """The endpoints are pods of this node; a pod's uid is its address."""
    ready = EndpointConditions(ready=True)
    return EndpointSlice(
        metadata=ObjectMeta(namespace="default", name=f"{service}-1", labels={SERVICE_NAME_LABEL: service}),
        endpoints=tuple(
            Endpoint(
                addresses=(address,),
                conditions=ready,
                node_name="n1",
                target_ref=ObjectReference(kind="Pod", uid=address),
            )
            for address in addresses
        ),
        ports=(EndpointPort(protocol=protocol, port=port),),
    )
