"""A volume on a file system that never answers: what waits, what goes on, who is named."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.volumes import source as volume_source
from agent.volumes.blocking import BlockingWork
from agent.volumes.mounts import bind_mount, detach, read_mounts_below
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.pod import Pod
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume
from lab.hanging_mount import HangingMount, hanging_mount
from tests.builders import pod
from tests.runtime.volumes.doubles import NoConfig, NoTokens

SHORT_SECONDS = 0.5


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty seconds of waiting teach no more than half of one."""
    monkeypatch.setattr(volume_source, "_DISK_SECONDS", SHORT_SECONDS)


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[HangingMount]:
    (tmp_path / "dead").mkdir()
    with hanging_mount(tmp_path / "dead") as mount:
        yield mount


@pytest.fixture
def work() -> BlockingWork:
    return BlockingWork()


@pytest.fixture
def volumes(tmp_path: Path, work: BlockingWork) -> Iterator[PodVolumes]:
    root = tmp_path / "root"
    yield PodVolumes(root, NoConfig(), ServiceAccountTokens(NoTokens(), lambda: 0.0), work, dict)
    for mount in reversed(read_mounts_below(root)):
        detach(mount.mount_point)


def _is_gone(path: Path) -> bool:
    return not os.path.lexists(path)


def _pod(path: Path, name: str = "web") -> Pod:
    host = Volume(name="data", host_path=HostPathVolumeSource(path=str(path)))
    memory = Volume(name="fast", empty_dir=EmptyDirVolumeSource(medium="Memory"))
    return pod(name, spec={"volumes": (host, memory)})


async def _until_free(work: BlockingWork, key: object) -> None:
    async with asyncio.timeout(10):
        while work.in_flight(key) is not None:  # noqa: ASYNC110 - a thread ends when the kernel lets it
            await asyncio.sleep(0.01)


async def test_the_mount_that_hangs_is_named_and_asked_only_once(
    volumes: PodVolumes, dead: HangingMount
) -> None:
    subject = _pod(dead.path)
    expected = rf'mounting volume "data" has not returned for \d+ s.*{dead.path} lies on {dead.path} \(fuse'
    with pytest.raises(Unavailable, match=expected) as caught:
        await volumes.prepare_volumes(subject)
    assert caught.value.reason == "FailedMount"
    started = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="has not returned"):
        await volumes.prepare_volumes(subject)
    assert asyncio.get_running_loop().time() - started < SHORT_SECONDS


async def test_other_pods_go_on_and_so_do_its_other_volumes(volumes: PodVolumes, dead: HangingMount) -> None:
    subject = _pod(dead.path)
    with pytest.raises(Unavailable):
        await volumes.prepare_volumes(subject)
    started = asyncio.get_running_loop().time()
    await volumes.prepare_volumes(_pod(dead.path.parent, "other"))
    assert asyncio.get_running_loop().time() - started < SHORT_SECONDS
    await volumes.remove_volumes(subject.uid)
    assert not (dead.path.parent / "root/pods" / subject.uid / "volumes").exists()


async def test_once_it_answers_again_the_pod_gets_its_volume(
    volumes: PodVolumes, work: BlockingWork, dead: HangingMount
) -> None:
    subject = _pod(dead.path)
    with pytest.raises(Unavailable):
        await volumes.prepare_volumes(subject)
    dead.release()
    detach(dead.path)
    await _until_free(work, (subject.uid, "data"))
    assert (await volumes.prepare_volumes(subject))["data"].path == dead.path


async def test_a_hanging_mount_below_the_pods_directory_goes_with_it(
    volumes: PodVolumes, dead: HangingMount, tmp_path: Path
) -> None:
    """Nobody waits for its server: the kernel takes the mount away without asking it."""
    subject = pod(spec={"volumes": (Volume(name="disk", empty_dir=EmptyDirVolumeSource()),)})
    path = (await volumes.prepare_volumes(subject))["disk"].path
    (path / "inner").mkdir()
    bind_mount(dead.path, path / "inner")
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(tmp_path / "root") == ()
    assert _is_gone(path)
