"""The controllers, joined: caches fed by informers, one loop for each controller, one executor for all
writes.

The composition root of the controllers; a client of the API server like any other. Called by the control
plane's own root, with a client that is open.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from controlplane.controllers.cache import Cache
from controlplane.controllers.caches import Caches, build_caches
from controlplane.controllers.deployment.observe import DeploymentReconciler
from controlplane.controllers.endpointslice.observe import EndpointSliceReconciler
from controlplane.controllers.execute import Executor
from controlplane.controllers.garbage.observe import GarbageReconciler
from controlplane.controllers.loop import ReconcileLoop, Reconciler
from controlplane.controllers.namespace.observe import NamespaceReconciler
from controlplane.controllers.namespace_defaults.observe import NamespaceDefaultsReconciler
from controlplane.controllers.node_lifecycle.observe import NodeLifecycleReconciler
from controlplane.controllers.pod_cidr.observe import PodCIDRReconciler
from controlplane.controllers.replicaset.observe import ReplicaSetReconciler
from controlplane.controllers.settings import ControllerSettings
from controlplane.controllers.volume_binding.observe import VolumeBindingReconciler
from controlplane.controllers.volume_protection.observe import (
    ClaimProtectionReconciler,
    VolumeProtectionReconciler,
)
from kubeapi.client import Client
from kubeapi.errors import KubeAPIError
from kubeapi.events import EventRecorder
from kubeapi.informer import Informer

_logger = logging.getLogger(__name__)

COMPONENT: Final = "berth-controllers"
DOUBT_PERIOD_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Controller:
    reconciler: Reconciler[Any]
    workers: int


async def run_controllers(client: Client, settings: ControllerSettings) -> None:
    """Runs every controller until cancelled; they begin once all informers have listed."""
    caches = build_caches()
    recorder = EventRecorder(client, component=COMPONENT)
    executor = Executor(client, caches.each(), recorder)
    controllers = _build_controllers(client, caches, settings)
    informers = [_build_informer(client, cache) for cache in caches.each()]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        for informer in informers:
            tasks.create_task(informer.run())
        for informer in informers:
            await informer.wait_until_synced()
        for each in controllers:
            loop = ReconcileLoop(each.reconciler, executor, workers=each.workers)
            tasks.create_task(loop.run())
        tasks.create_task(_doubt_records(caches, executor))


def _build_controllers(
    client: Client, caches: Caches, settings: ControllerSettings
) -> tuple[_Controller, ...]:
    workers = settings.workers_per_controller
    reconcilers: list[Any] = [
        DeploymentReconciler(caches),
        ReplicaSetReconciler(caches),
        EndpointSliceReconciler(caches),
        NodeLifecycleReconciler(caches, settings.node_monitor_grace_seconds),
        NamespaceReconciler(caches, client),
        NamespaceDefaultsReconciler(caches, settings.root_ca),
        GarbageReconciler(caches, client),
        ClaimProtectionReconciler(caches, client),
        VolumeProtectionReconciler(caches),
    ]
    controllers = [_Controller(each, workers) for each in reconcilers]
    if settings.cluster_cidr:
        network = ip_network(settings.cluster_cidr)
        allocator = PodCIDRReconciler(caches, network, settings.node_cidr_mask_size)
        # One at a time: two allocations at once could choose the same subnet.
        controllers.append(_Controller(allocator, 1))
    # One at a time as well: two claims at once could choose the same volume.
    controllers.append(_Controller(VolumeBindingReconciler(caches), 1))
    for each in controllers:
        each.reconciler.subscribe()
    return tuple(controllers)


def _build_informer(client: Client, cache: Cache[Any]) -> Informer[Any]:
    informer: Informer[Any] = Informer(client, cache.resource)
    informer.subscribe(cache.apply_change)
    return informer


async def _doubt_records(caches: Caches, executor: Executor) -> None:
    """Looks up what we wrote and no watch ever showed; see `Cache.doubt_old_records`."""
    while True:
        await asyncio.sleep(DOUBT_PERIOD_SECONDS)
        for cache in caches.each():
            cache.doubt_old_records()
        try:
            await executor.settle()
        except KubeAPIError as error:
            _logger.warning("Looking up unseen writes failed", extra={"error": str(error)})
