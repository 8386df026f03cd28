"""The scheduler, joined: informers of pods, nodes and storage, the lane that decides, the writers of reports.

The composition root of the scheduler; a client of the API server like any other. Called by the control
plane's own root, with a client that is open.
"""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.scheduler.reports import DelayReporter
from controlplane.scheduler.scheduler import SCHEDULER_NAME, Scheduler
from controlplane.scheduler.storage_state import StorageState
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.events import EventRecorder
from kubeapi.informer import Informer
from kubeapi.pod import Pod
from kubeapi.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass


async def run_scheduler(client: Client) -> None:
    """Schedules until cancelled; decides nothing before it knows all nodes, pods and volumes."""
    recorder = EventRecorder(client, component=SCHEDULER_NAME)
    reporter = DelayReporter(client)
    claims: Informer[PersistentVolumeClaim] = Informer(client, PERSISTENT_VOLUME_CLAIMS)
    volumes: Informer[PersistentVolume] = Informer(client, PERSISTENT_VOLUMES)
    classes: Informer[StorageClass] = Informer(client, STORAGE_CLASSES)
    stores: tuple[Informer[Any], ...] = (claims, volumes, classes)
    storage = StorageState(claims.objects(), volumes.objects(), classes.objects())
    scheduler = Scheduler(client, recorder, reporter, storage=storage)
    nodes: Informer[Node] = Informer(client, NODES)
    pods: Informer[Pod] = Informer(client, PODS)
    nodes.subscribe(scheduler.apply_node)
    pods.subscribe(scheduler.apply_pod)
    for each in stores:
        each.subscribe(lambda _: scheduler.note_storage())
    informers: tuple[Informer[Any], ...] = (nodes, pods, *stores)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        tasks.create_task(reporter.run())
        for informer in informers:
            tasks.create_task(informer.run())
        for informer in informers:
            await informer.wait_until_synced()
        await scheduler.run()
