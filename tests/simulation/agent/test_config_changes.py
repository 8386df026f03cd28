"""A change of a ConfigMap reaches a pod's volume whenever it comes, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import pytest

from agent.pods.lanes.lanes import PodLanes
from agent.pods.ports import HostVolume, Unavailable
from kubeapi.pod import Pod, PodStatus, PodUID
from kubeapi.volume import ConfigMapVolumeSource, Volume
from tests import builders
from tests.simulation.agent.pod_fakes import FakeVolumes
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually

SEEN_SECONDS = 2.0
WRITE_SECONDS = 0.4


@dataclass(slots=True)
class SlowVolumes(FakeVolumes):
    """Reads the content when it begins, and has written it a while later; an empty one isn't there yet."""

    content: str = "first"
    written: str = ""

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        ready = await FakeVolumes.prepare_volumes(self, pod)
        await self._write()
        return ready

    async def refresh_volumes(self, pod: Pod) -> None:
        await self._write()

    async def _write(self) -> None:
        content = self.content
        if not content:
            raise Unavailable("FailedMount", 'configmap "settings" not found')
        await asyncio.sleep(WRITE_SECONDS)
        self.written = content


def _pod() -> Pod:
    volume = Volume(name="config", config_map=ConfigMapVolumeSource(name="settings"))
    return msgspec.structs.replace(builders.pod(spec={"volumes": (volume,)}), status=PodStatus())


class Play:
    """A world whose pods have one slow volume."""

    def __init__(self) -> None:
        self.world = PodWorld()
        fakes = self.world.volumes
        self.volumes = SlowVolumes(steps=fakes.steps, is_used=fakes.is_used)
        self.world.volumes = self.volumes

    @property
    def lanes(self) -> PodLanes:
        assert self.world.lanes is not None
        return self.world.lanes

    def change(self, uid: PodUID, content: str) -> None:
        """As the watch tells it."""
        self.volumes.content = content
        self.lanes.note_config(uid)

    async def wait_until_written(self, content: str) -> float:
        return await self.world.wait(lambda: self.volumes.written == content)


@pytest.mark.parametrize("after_seconds", [0.0, 0.05, 0.2, 0.39, 0.41, 0.45, 0.8, 1.0])
def test_a_change_is_never_lost_between_reading_and_having_written(after_seconds: float) -> None:
    """It may come while the volume is first prepared, while an earlier change is written, or between."""

    async def main() -> None:
        play = Play()
        play.world.start()
        uid = play.world.create(_pod())
        await asyncio.sleep(after_seconds)
        play.change(uid, "second")
        await asyncio.sleep(after_seconds)
        play.change(uid, "third")
        assert await play.wait_until_written("third") <= SEEN_SECONDS
        await play.world.crash()

    run_virtually(main())


def test_what_failed_for_want_of_it_is_tried_at_once() -> None:
    """However long the back-off has become."""

    async def main() -> None:
        play = Play()
        play.volumes.content = ""
        play.world.start()
        uid = play.world.create(_pod())
        await asyncio.sleep(200)
        play.change(uid, "late")
        assert await play.wait_until_written("late") <= SEEN_SECONDS
        play.change(uid, "")
        await asyncio.sleep(200)
        play.change(uid, "back")
        assert await play.wait_until_written("back") <= SEEN_SECONDS
        await play.world.crash()

    run_virtually(main())


def test_changed_labels_are_written_too() -> None:
    async def main() -> None:
        play = Play()
        play.world.start()
        pod = _pod()
        uid = play.world.create(pod)
        await play.wait_until_written("first")
        play.volumes.content = "labelled"
        metadata = msgspec.structs.replace(pod.metadata, labels={"color": "blue"})
        play.lanes.set_pod(msgspec.structs.replace(pod, metadata=metadata))
        assert await play.wait_until_written("labelled") <= SEEN_SECONDS
        assert uid in play.world.api.pods
        await play.world.crash()

    run_virtually(main())
