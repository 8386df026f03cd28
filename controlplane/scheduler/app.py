"""The scheduler, joined: informers of pods and nodes, the lane that decides, the writers of its reports.

The composition root of the scheduler; a client of the API server like any other. Called by the control
plane's own root, with a client that is open.
"""

from __future__ import annotations

import asyncio

from controlplane.scheduler.reports import DelayReporter
from controlplane.scheduler.scheduler import SCHEDULER_NAME, Scheduler
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.events import EventRecorder
from kubeapi.informer import Informer
from kubeapi.pod import Pod
from kubeapi.resources import NODES, PODS


async def run_scheduler(client: Client) -> None:
    """Schedules until cancelled; decides nothing before it knows all nodes and pods."""
    recorder = EventRecorder(client, component=SCHEDULER_NAME)
    reporter = DelayReporter(client)
    scheduler = Scheduler(client, recorder, reporter)
    nodes: Informer[Node] = Informer(client, NODES)
    pods: Informer[Pod] = Informer(client, PODS)
    nodes.subscribe(scheduler.apply_node)
    pods.subscribe(scheduler.apply_pod)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        tasks.create_task(reporter.run())
        tasks.create_task(nodes.run())
        tasks.create_task(pods.run())
        await nodes.wait_until_synced()
        await pods.wait_until_synced()
        await scheduler.run()
