"""Says on the pod why it waits: the condition PodScheduled, written in the background, the latest word
only.

Does IO through `kubeapi.client`. Called by `controlplane.scheduler.scheduler`. Follows the "Pod conditions"
section of the "Pod Lifecycle" page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from kubeapi.client import Client, PatchType
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.meta import format_time
from kubeapi.pod import Pod
from kubeapi.resources import PODS

_logger = logging.getLogger(__name__)

WORKERS: Final = 4


@dataclass(frozen=True, slots=True)
class Delay:
    """Why a pod isn't scheduled; `reason` is Unschedulable or SchedulingGated."""

    pod: Pod
    reason: str
    message: str


def read_clock() -> datetime:
    return datetime.now(UTC)


def is_reported(delay: Delay) -> bool:
    """The pod says this already."""
    return any(
        each.type == "PodScheduled"
        and (each.status, each.reason, each.message) == ("False", delay.reason, delay.message)
        for each in delay.pod.status.conditions
    )


def build_condition_patch(delay: Delay, now: datetime) -> dict[str, Any]:
    """A strategic merge patch: other writers' conditions stay. The UID keeps it from a namesake."""
    current = next((each for each in delay.pod.status.conditions if each.type == "PodScheduled"), None)
    since = current.last_transition_time if current is not None and current.status == "False" else None
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": delay.reason,
        "message": delay.message,
        "lastTransitionTime": since or format_time(now),
    }
    return {"metadata": {"uid": delay.pod.metadata.uid}, "status": {"conditions": [condition]}}


class DelayReporter:
    """One write at a time for each pod; a newer word replaces one that waits."""

    def __init__(self, client: Client, *, clock: Callable[[], datetime] = read_clock) -> None:
        self._client = client
        self._clock = clock
        self._latest: dict[str, Delay] = {}
        self._uids: asyncio.Queue[str] = asyncio.Queue()

    def report(self, delay: Delay) -> None:
        uid = delay.pod.metadata.uid
        if is_reported(delay):
            return
        if uid not in self._latest:
            self._uids.put_nowait(uid)
        self._latest[uid] = delay

    def withdraw(self, uid: str) -> None:
        """The pod has found its node: nothing is to be said any more."""
        self._latest.pop(uid, None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            delay = self._latest.pop(await self._uids.get(), None)
            if delay is None:
                continue
            try:
                await self._write(delay)
            except KubeAPIError as error:
                _logger.info(
                    "A pod's scheduling condition could not be written",
                    extra={"pod": str(delay.pod.key), "error": str(error)},
                )

    async def _write(self, delay: Delay) -> None:
        meta = delay.pod.metadata
        body = msgspec.json.encode(build_condition_patch(delay, self._clock()))
        try:
            await self._client.patch(
                PODS,
                body,
                meta.name,
                meta.namespace,
                patch_type=PatchType.STRATEGIC,
                subresource="status",
            )
        except ApiStatusError as error:
            # Gone, or another pod by this name now.
            if not (error.is_not_found or error.is_conflict):
                raise
