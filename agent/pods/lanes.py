"""All lanes of the node: makes one for each pod, feeds it hints, ends it when its pod is gone.

Runs tasks, does no other IO. The sources and the relist call in; the proxy, the server and the node status
look pods up here (`PodDirectory`). Admission is asked here, between two awaits, so that two pods can't both
take the last place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

from agent.checkpoint.records import PodRecord
from agent.pods.admission import admit_pod
from agent.pods.desired import build_orphan, was_admitted
from agent.pods.directory import build_handle, build_running_pod
from agent.pods.goal import is_static
from agent.pods.lane import Lane, LaneTools
from agent.pods.lifecycle import TERMINAL_PHASES
from agent.pods.pod_events import PodEvent, describe_probe_failure
from agent.pods.ports import ContainerHandle, ProbeFailure, RunningPod
from agent.pods.sandbox_config import build_log_directory
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.relist import Fingerprint
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_RESTART_SECONDS: Final = 5.0


class PodMemory(Protocol):
    """What follows the set of pods: ConfigMaps and Secrets to be watched."""

    def retain(self, pod: Pod) -> None: ...

    def release(self, uid: PodUID) -> None: ...


class PodLanes:
    """Use `run` as the one task that owns all lanes; everything else is sync."""

    def __init__(
        self,
        tools: LaneTools,
        memory: PodMemory,
        *,
        read_node: Callable[[], Node | None],
        max_pods: int,
    ) -> None:
        self._tools = tools
        self._memory = memory
        self._read_node = read_node
        self._max_pods = max_pods
        self._lanes: dict[PodUID, Lane] = {}
        self._waiting: dict[ObjectKey, Pod] = {}
        self._running: dict[PodUID, RunningPod] = {}
        self._handlers: list[Callable[[], None]] = []
        self._starts: asyncio.Queue[Lane | PodUID] = asyncio.Queue()
        self._adopts_orphans = False

    # --- wishes ---------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[PodRecord]) -> None:
        """Pods that this node remembers; their sources will confirm them or drop them."""
        for record in records:
            self._open(record)

    def set_pod(self, pod: Pod) -> None:
        """A source has this pod, new or changed."""
        lane = self._lanes.get(pod.uid)
        if lane is not None:
            self._memory.retain(pod)
            lane.set_pod(pod)
        elif is_static(pod) and self._find_by_key(pod.key) is not None:
            # The file changed: the old pod goes first, as both may want the same ports and names.
            self._waiting[pod.key] = pod
        else:
            self._open(self._admit(pod))

    def remove_pod(self, uid: PodUID) -> None:
        """No source has this pod any more."""
        for key in [key for key, pod in self._waiting.items() if pod.uid == uid]:
            del self._waiting[key]
        if (lane := self._lanes.get(uid)) is not None:
            lane.set_gone()

    def keep_only(self, uids: Collection[PodUID], *, static: bool) -> None:
        """A source is complete: pods of its kind that it doesn't have go."""
        for uid, lane in tuple(self._lanes.items()):
            if is_static(lane.pod) == static and uid not in uids:
                lane.set_gone()

    def adopt_orphans(self) -> None:
        """From now on the sources are complete: whatever else the runtime shows of ours goes."""
        self._adopts_orphans = True

    def _admit(self, pod: Pod) -> PodRecord:
        now = self._tools.now()
        if was_admitted(pod) or pod.metadata.deletion_timestamp is not None:
            return PodRecord(pod=pod, start_time=now)
        others = [lane.pod for lane in self._lanes.values() if _holds_resources(lane)]
        refusal = admit_pod(pod, self._read_node(), others, self._max_pods)
        if refusal is None:
            return PodRecord(pod=pod, start_time=now)
        self._tools.events.record(pod, PodEvent(refusal.reason, refusal.message, warning=True))
        message = f"Pod was rejected: {refusal.message}"
        return PodRecord(pod=pod, start_time=now, rejection=(refusal.reason, message))

    def _open(self, record: PodRecord) -> None:
        lane = Lane(record, self._tools, self._note_look)
        self._lanes[record.pod.uid] = lane
        self._memory.retain(record.pod)
        self._tools.checkpoint.save(record)
        self._starts.put_nowait(lane)

    def _find_by_key(self, key: ObjectKey) -> Lane | None:
        """The lane of that name; of two, the one whose pod isn't ending."""
        found = [lane for lane in self._lanes.values() if lane.pod.key == key]
        return min(found, key=lambda lane: lane.record.terminating_since is not None, default=None)

    # --- hints ----------------------------------------------------------------------------------------------

    def note_relist(self, pods: Mapping[PodUID, Fingerprint]) -> None:
        """What the runtime shows of all pods."""
        for uid, lane in tuple(self._lanes.items()):
            lane.hint(pods.get(uid, frozenset()))
        if self._adopts_orphans:
            for uid in pods.keys() - self._lanes.keys():
                self._starts.put_nowait(uid)

    def note_event(self, uid: PodUID) -> None:
        """The runtime says that something happened to this pod."""
        if (lane := self._lanes.get(uid)) is not None:
            lane.hint(None)

    def note_verdict(self, uid: PodUID) -> None:
        if (lane := self._lanes.get(uid)) is not None:
            lane.look_again()

    def note_probe_failure(self, failure: ProbeFailure) -> None:
        """A container didn't pass a probe that counts."""
        if (lane := self._lanes.get(failure.uid)) is not None:
            self._tools.events.record(lane.pod, describe_probe_failure(failure))

    def note_config(self, uid: PodUID) -> None:
        """A ConfigMap or Secret of this pod changed."""
        if (lane := self._lanes.get(uid)) is not None:
            lane.refresh_volumes()

    def refresh_volumes(self) -> None:
        """Time to see whether contents of volumes are out of date, tokens among them."""
        for lane in self._lanes.values():
            lane.refresh_volumes()

    # --- the tasks ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs every lane; cancelling it leaves all pods as they are."""
        async with asyncio.TaskGroup() as group:
            while True:
                start = await self._starts.get()
                if isinstance(start, Lane):
                    group.create_task(self._run_lane(start), name=f"pod {start.pod.key}")
                else:
                    await self._open_orphan(start)

    async def _run_lane(self, lane: Lane) -> None:
        while True:
            try:
                await lane.run()
            except Exception:
                _logger.exception("a pod's lane failed and starts again", extra={"pod": str(lane.pod.key)})
                await asyncio.sleep(_RESTART_SECONDS)
            else:
                self._close(lane)
                return

    async def _open_orphan(self, uid: PodUID) -> None:
        runtime = self._tools.executor.runtime
        try:
            sandboxes, containers = await asyncio.gather(
                runtime.list_pod_sandboxes(uid), runtime.list_containers(uid)
            )
        except RuntimeServiceError as error:
            _logger.warning("an orphan can't be read", extra={"uid": uid, "error": str(error)})
            return
        orphan = build_orphan(sandboxes, containers)
        if orphan is not None and uid not in self._lanes:
            _logger.info("a pod that no source wants is removed", extra={"pod": str(orphan.key), "uid": uid})
            self._open(PodRecord(pod=orphan, start_time=self._tools.now(), gone=True))

    def _close(self, lane: Lane) -> None:
        """The pod is gone from this node: nothing remembers it."""
        uid = lane.pod.uid
        del self._lanes[uid]
        self._memory.release(uid)
        self._tools.probes.set_targets(uid, ())
        self._tools.status_writer.forget(uid)
        self._tools.checkpoint.remove(uid)
        self._change_running(uid, None)
        successor = self._waiting.pop(lane.pod.key, None)
        if successor is not None:
            self.set_pod(successor)

    # --- what others see ------------------------------------------------------------------------------------

    def pods(self) -> tuple[Pod, ...]:
        return tuple(lane.pod for lane in self._lanes.values())

    def running_pods(self) -> tuple[RunningPod, ...]:
        return tuple(self._running.values())

    def subscribe_running(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    def find_container(
        self, key: ObjectKey, uid: str, container: str, previous: bool
    ) -> ContainerHandle | None:
        lane = self._lanes.get(PodUID(uid)) if uid else self._find_by_key(key)
        if lane is None or lane.pod.key != key:
            return None
        logs = build_log_directory(lane.pod, self._tools.executor.environment)
        return build_handle(lane.pod, lane.observed, container, previous, logs)

    def find_pod(self, key: ObjectKey) -> Pod | None:
        lane = self._find_by_key(key)
        return lane.pod if lane is not None else None

    def _note_look(self, lane: Lane) -> None:
        terminating = lane.record.terminating_since is not None
        self._change_running(lane.pod.uid, build_running_pod(lane.pod, lane.observed, terminating))

    def _change_running(self, uid: PodUID, running: RunningPod | None) -> None:
        if self._running.get(uid) == running:
            return
        if running is None:
            del self._running[uid]
        else:
            self._running[uid] = running
        for handler in self._handlers:
            handler()


def _holds_resources(lane: Lane) -> bool:
    return lane.record.rejection is None and lane.pod.status.phase not in TERMINAL_PHASES
