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
from agent.journal.recorder import JournalRecorder
from agent.pods.admission import admit_new_pod
from agent.pods.config.sandbox_config import build_log_directory
from agent.pods.desired import build_orphan, was_admitted
from agent.pods.goal import is_static
from agent.pods.lanes.directory import build_handle, build_running_pod
from agent.pods.lanes.lane import Lane, LaneTools
from agent.pods.lifecycle import TERMINAL_PHASES
from agent.pods.pod_events import PodEvent, describe_probe_failure, describe_pulling
from agent.pods.ports import ContainerHandle, ProbeFailure, ProbeTrouble, RunningPod
from agent.pods.resize.wish import compute_turn, decide_resize
from agent.pods.waits import Wait
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.relist import Fingerprint
from agent.runtime.values import HandlerFeatures
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.pod import Container, Pod, PodUID

_logger = logging.getLogger(__name__)

_RESTART_SECONDS: Final = 5.0


class PodMemory(Protocol):
    """What follows the set of pods: ConfigMaps and Secrets to be watched."""

    def retain(self, pod: Pod) -> None: ...

    def release(self, uid: PodUID) -> None: ...


def _know_no_features(_pod: Pod) -> HandlerFeatures | None:
    return None


class PodLanes:
    """Use `run` as the one task that owns all lanes; everything else is sync."""

    def __init__(
        self,
        tools: LaneTools,
        memory: PodMemory,
        *,
        read_node: Callable[[], Node | None],
        max_pods: int,
        app_armor: bool = True,
        read_features: Callable[[Pod], HandlerFeatures | None] = _know_no_features,
    ) -> None:
        self._tools = tools
        self._memory = memory
        self._read_node = read_node
        self._max_pods = max_pods
        self._app_armor = app_armor
        self._read_features = read_features
        self._lanes: dict[PodUID, Lane] = {}
        self._waiting: dict[ObjectKey, Pod] = {}
        self._running: dict[PodUID, RunningPod] = {}
        self._handlers: list[Callable[[], None]] = []
        self._look_handlers: list[Callable[[], None]] = []
        self._starts: asyncio.Queue[Lane | PodUID] = asyncio.Queue()
        self._adopts_orphans = False
        self._orphans: set[PodUID] = set()  # being read
        self._shown: frozenset[PodUID] | None = None  # what the last relist had something of
        self._directories: Mapping[PodUID, Pod] = {}

    # --- wishes ---------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[PodRecord]) -> None:
        """Pods that this node remembers; their sources will confirm them or drop them."""
        for record in records:
            self._open(record).journal.note_resumption(self._tools.now())

    def set_pod(self, pod: Pod) -> None:
        """A source has this pod, new or changed."""
        lane = self._lanes.get(pod.uid)
        if lane is not None and lane.record.gone:
            # Wanted again, as a static pod's file may be: what has begun to end does so first.
            self._waiting[pod.key] = pod
        elif lane is not None:
            self._memory.retain(pod)
            lane.set_pod(pod)
            self._decide_resizes()
        elif is_static(pod) and self._find_by_key(pod.key) is not None:
            # The file changed: the old pod goes first, as both may want the same ports and names.
            self._drop_waiting(pod.key)
            self._waiting[pod.key] = pod
            self._tell_of_waiting(pod)
        else:
            self._tell_of_arrival(self._open(self._admit(pod)))

    def remove_pod(self, uid: PodUID) -> None:
        """No source has this pod any more."""
        for key in [key for key, pod in self._waiting.items() if pod.uid == uid]:
            self._drop_waiting(key)
        if (lane := self._lanes.get(uid)) is not None:
            lane.set_gone()

    def keep_only(self, uids: Collection[PodUID], *, static: bool) -> None:
        """A source is complete: pods of its kind that it doesn't have go."""
        for uid, lane in tuple(self._lanes.items()):
            if is_static(lane.pod) == static and uid not in uids:
                lane.set_gone()
        for key, pod in tuple(self._waiting.items()):
            if is_static(pod) == static and pod.uid not in uids:
                self._drop_waiting(key)

    def adopt_orphans(self) -> None:
        """From now on the sources are complete: whatever else the runtime shows of ours goes."""
        self._adopts_orphans = True
        self._read_orphans(self._directories)

    def _admit(self, pod: Pod) -> PodRecord:
        now = self._tools.now()
        if was_admitted(pod) or pod.metadata.deletion_timestamp is not None:
            return PodRecord(pod=pod, start_time=now)
        others = [lane.pod for lane in self._lanes.values() if _holds_resources(lane)]
        admission = admit_new_pod(
            pod,
            self._read_node(),
            others,
            self._max_pods,
            app_armor=self._app_armor,
            features=self._read_features(pod),
        )
        for preempted in admission.preempted:
            self._lanes[preempted.uid].preempt(pod.uid)
        refusal = admission.refusal
        if refusal is None:
            return PodRecord(pod=pod, start_time=now)
        self._tools.events.record(pod, PodEvent(refusal.reason, refusal.message, warning=True))
        message = f"Pod was rejected: {refusal.message}"
        return PodRecord(pod=pod, start_time=now, rejection=(refusal.reason, message))

    def _decide_resizes(self) -> None:
        """Which pods get the resources that they wait for; at each change that may have made room."""
        waiting = [lane for lane in self._lanes.values() if _wants_resize(lane)]
        for lane in sorted(waiting, key=lambda lane: compute_turn(lane.record)):
            others = [
                other.pod for other in self._lanes.values() if other is not lane and _holds_resources(other)
            ]
            lane.note_resize(decide_resize(lane.pod, lane.record.resources.wanted, self._read_node(), others))

    def _tell_of_arrival(self, lane: Lane) -> None:
        now, record = self._tools.now(), lane.record
        lane.journal.note_arrival(record.pod, now)
        if was_admitted(record.pod):
            lane.journal.note_resumption(now)
        else:
            lane.journal.note_admission(record.rejection, now)

    def _drop_waiting(self, key: ObjectKey) -> None:
        """Of a pod that never got a lane nothing is left but what the journal says of it."""
        pod = self._waiting.pop(key, None)
        if pod is not None and pod.uid not in self._lanes:
            JournalRecorder(self._tools.journal, pod).close(self._tools.now())

    def _tell_of_waiting(self, pod: Pod) -> None:
        """A pod whose predecessor still ends has no lane yet."""
        now = self._tools.now()
        message = "the pod of this name that its file had before is still ending"
        recorder = JournalRecorder(self._tools.journal, pod)
        recorder.note_arrival(pod, now)
        recorder.show(pod.status, (Wait("pod", "PredecessorTerminating", message, now),), now)

    def _open(self, record: PodRecord) -> Lane:
        # Nobody else makes anything of a pod: what the runtime lacked before there was a lane, it lacks.
        is_new = self._shown is not None and record.pod.uid not in self._shown
        lane = Lane(record, self._tools, self._note_look, self._list_yielding, is_new=is_new)
        self._lanes[record.pod.uid] = lane
        self._memory.retain(record.pod)
        self._tools.checkpoint.save(record)
        self._starts.put_nowait(lane)
        return lane

    def _list_yielding(self, uid: PodUID) -> tuple[Pod, ...]:
        """The pods that make room for this one and haven't ended yet."""
        return tuple(lane.pod for lane in self._lanes.values() if _yields_to(lane) == uid)

    def _find_by_key(self, key: ObjectKey) -> Lane | None:
        """The lane of that name; of two, the one whose pod isn't ending."""
        found = [lane for lane in self._lanes.values() if lane.pod.key == key]
        return min(found, key=lambda lane: lane.record.terminating_since is not None, default=None)

    # --- hints ----------------------------------------------------------------------------------------------

    def note_relist(self, pods: Mapping[PodUID, Fingerprint]) -> None:
        """What the runtime shows of all pods."""
        self._shown = frozenset(pods)
        for uid, lane in tuple(self._lanes.items()):
            lane.hint(pods.get(uid, frozenset()))
        self._decide_resizes()
        if self._adopts_orphans:
            self._read_orphans(pods)

    def note_directories(self, pods: Mapping[PodUID, Pod]) -> None:
        """The pods that have a directory on this machine, as far as its name tells of them."""
        self._directories = pods
        if self._adopts_orphans:
            self._read_orphans(pods)

    def _read_orphans(self, pods: Mapping[PodUID, object]) -> None:
        for uid in pods.keys() - self._lanes.keys() - self._orphans:
            self._orphans.add(uid)
            self._starts.put_nowait(uid)

    def note_event(self, uid: PodUID) -> None:
        """The runtime says that something happened to this pod."""
        if (lane := self._lanes.get(uid)) is not None:
            lane.hint(None)

    def note_verdict(self, uid: PodUID) -> None:
        if (lane := self._lanes.get(uid)) is not None:
            lane.look_again()

    def note_released(self, uid: PodUID) -> None:
        """No Service of this node sends clients to the pod any more."""
        if (lane := self._lanes.get(uid)) is not None:
            lane.look_again()

    def note_probe_failure(self, failure: ProbeFailure) -> None:
        """A container didn't pass a probe that counts, or not as meant."""
        if (lane := self._lanes.get(failure.uid)) is not None:
            event = describe_probe_failure(failure)
            self._tools.events.record(lane.pod, event)
            if failure.trouble is ProbeTrouble.HANGS:
                lane.journal.note_overdue(event.message, failure.container, self._tools.now())

    def note_pull(self, pod: Pod, container: Container) -> None:
        """The image of one of the pod's containers is being pulled."""
        self._tools.events.record(pod, describe_pulling(container))

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
                    group.create_task(self._open_orphan(start), name=f"orphan {start}")

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
        finally:
            self._orphans.discard(uid)
        orphan = build_orphan(sandboxes, containers) or self._directories.get(uid)
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
        lane.journal.close(self._tools.now())
        self._change_running(uid, None)
        self._wake_preempting(lane)
        for handler in self._look_handlers:
            handler()
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

    def subscribe_pods(self, handler: Callable[[], None]) -> None:
        self._look_handlers.append(handler)

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
        if _yields_to(lane) is None:
            self._wake_preempting(lane)
        for handler in self._look_handlers:
            handler()

    def _wake_preempting(self, ended: Lane) -> None:
        """The pod that `ended` made room for, if it is still waiting for that."""
        preempting = self._lanes.get(PodUID(ended.record.makes_room_for))
        if preempting is not None and not preempting.progress.turn.granted:
            preempting.look_again()

    def _change_running(self, uid: PodUID, running: RunningPod | None) -> None:
        if self._running.get(uid) == running:
            return
        if running is None:
            del self._running[uid]
        else:
            self._running[uid] = running
        for handler in self._handlers:
            handler()


def _wants_resize(lane: Lane) -> bool:
    return bool(lane.record.resources.wanted) and lane.record.terminating_since is None


def _holds_resources(lane: Lane) -> bool:
    return lane.record.rejection is None and lane.pod.status.phase not in TERMINAL_PHASES


def _yields_to(lane: Lane) -> str | None:
    """The uid of the pod that waits for this one's end; a final phase waits for the last container."""
    over = lane.pod.status.phase in TERMINAL_PHASES
    return None if over or not lane.record.makes_room_for else lane.record.makes_room_for
