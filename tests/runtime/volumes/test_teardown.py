"""Teardown on the real kernel: it ends, it names what blocks it, and it deletes only what is the pod's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.volumes import source as volume_source
from agent.volumes.blocking import BlockingWork
from agent.volumes.mounts import bind_mount, detach, mount_tmpfs, read_mounts_below, unmount
from agent.volumes.source import PodVolumes
from agent.volumes.teardown import MountBusy, TeardownBlocked, remove_volume_tree
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume
from tests.builders import pod
from tests.runtime.volumes.doubles import NoConfig, NoTokens

_MEMORY = Volume(name="fast", empty_dir=EmptyDirVolumeSource(medium="Memory"))
_DISK = Volume(name="disk", empty_dir=EmptyDirVolumeSource())


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for mount in reversed(read_mounts_below(tmp_path)):
        detach(mount.mount_point)


@pytest.fixture
def volumes(root: Path) -> PodVolumes:
    tokens = ServiceAccountTokens(NoTokens(), lambda: 0.0)
    return PodVolumes(root / "agent", NoConfig(), tokens, BlockingWork(), dict)


def _fill(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "precious").write_text("x")


@contextmanager
def _process_in(directory: Path) -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"], cwd=directory) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_bind_mount_of_the_same_device_is_not_deleted_into(root: Path) -> None:
    _fill(root / "host")
    inner = root / "volumes/kind/name"
    inner.mkdir(parents=True)
    bind_mount(root / "host", inner)
    # As if it had been mounted right after the kernel's table was read: the device number is the same.
    with pytest.raises(TeardownBlocked, match="a mount of its own"):
        remove_volume_tree(root / "volumes", read_mounts=lambda _: ())
    assert (root / "host/precious").read_text() == "x"


async def test_host_paths_keep_their_files_and_their_mounts(volumes: PodVolumes, root: Path) -> None:
    _fill(root / "host/deep")
    (root / "host/mounted").mkdir()
    mount_tmpfs(root / "host/mounted")
    (root / "host/mounted/precious").write_text("y")
    host = Volume(name="host", host_path=HostPathVolumeSource(path=str(root / "host")))
    subject = pod(spec={"volumes": (host, _DISK)})
    ready = await volumes.prepare_volumes(subject)
    # What a container with Bidirectional propagation may leave behind: the host's tree mounted in its volume.
    (ready["disk"].path / "copy").mkdir()
    bind_mount(root / "host", ready["disk"].path / "copy")
    await volumes.remove_volumes(subject.uid)
    assert (root / "host/deep/precious").read_text() == "x"
    assert (root / "host/mounted/precious").read_text() == "y"
    assert [mount.mount_point for mount in read_mounts_below(root)] == [root / "host/mounted"]


async def test_a_tree_deeper_than_any_path_goes(volumes: PodVolumes) -> None:
    subject = pod(spec={"volumes": (_DISK,)})
    path = (await volumes.prepare_volumes(subject))["disk"].path
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    await volumes.remove_volumes(subject.uid)
    assert not path.exists()


async def test_nested_stacked_and_hidden_mounts_go(volumes: PodVolumes, root: Path) -> None:
    subject = pod(spec={"volumes": (_MEMORY,)})
    path = (await volumes.prepare_volumes(subject))["fast"].path
    (path / "a").mkdir()
    mount_tmpfs(path / "a")
    (path / "a/b").mkdir()
    mount_tmpfs(path / "a/b")
    mount_tmpfs(path)  # hides all of the above
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(root / "agent") == ()


async def test_who_keeps_a_mount_busy_is_named_and_the_rest_goes(volumes: PodVolumes, root: Path) -> None:
    subject = pod(spec={"volumes": (_MEMORY, _DISK)})
    ready = await volumes.prepare_volumes(subject)
    with _process_in(ready["fast"].path) as pid:
        with pytest.raises(Unavailable, match=rf"in use by process {pid} \(sleep\)") as caught:
            await volumes.remove_volumes(subject.uid)
        assert caught.value.reason == "FailedUnMount"
        assert not ready["disk"].path.exists()
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(root / "agent") == ()


async def test_what_stays_busy_is_taken_out_of_the_tree(
    volumes: PodVolumes, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(volume_source, "_BUSY_SECONDS", 0.0)
    subject = pod(spec={"volumes": (_MEMORY,)})
    path = (await volumes.prepare_volumes(subject))["fast"].path
    with (path / "held").open("w+") as held:
        with pytest.raises(Unavailable, match="in use"):
            await volumes.remove_volumes(subject.uid)
        await volumes.remove_volumes(subject.uid)
        assert "taken out of the tree" in caplog.text
        assert not path.exists()
        held.write("still mine")
        held.flush()
    assert read_mounts_below(root / "agent") == ()


def test_teardown_begins_again_after_a_crash_at_any_point(root: Path) -> None:
    """Each prefix of it leaves what the next one finishes: here the mounts are gone and the files half."""
    (root / "v/a/b").mkdir(parents=True)
    mount_tmpfs(root / "v/a/b")
    (root / "v/a/b/file").write_text("x")
    with (root / "v/a/b/file").open(), pytest.raises(MountBusy):
        remove_volume_tree(root / "v")
    unmount(root / "v/a/b")
    remove_volume_tree(root / "v")
    remove_volume_tree(root / "v")
    assert not (root / "v").exists()
