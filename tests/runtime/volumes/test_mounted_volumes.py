"""Volumes that are mounts, on the real kernel: made, kept, taken down, nothing deleted across a device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.volumes.blocking import BlockingWork
from agent.volumes.files import TokenRef
from agent.volumes.mounts import mount_tmpfs, read_mounts_below, unmount
from agent.volumes.source import PodVolumes
from agent.volumes.teardown import TeardownBlocked, remove_volume_tree
from agent.volumes.tokens import IssuedToken, ServiceAccountTokens
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod, PodSecurityContext
from kubeapi.volume import EmptyDirVolumeSource, SecretVolumeSource, Volume
from tests.builders import pod


class _Secrets:
    """A ConfigSource with one secret in each namespace."""

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return None

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return {"password": b"hunter2"}


class _NoTokens:
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for mount in reversed(read_mounts_below(tmp_path)):
        unmount(mount.mount_point)


@pytest.fixture
def volumes(root: Path) -> PodVolumes:
    tokens = ServiceAccountTokens(_NoTokens(), lambda: 0.0)
    return PodVolumes(root, _Secrets(), tokens, BlockingWork(), dict)


_SECRET = Volume(name="secret", secret=SecretVolumeSource(secret_name="s", default_mode=0o400))
_MEMORY = Volume(name="fast", empty_dir=EmptyDirVolumeSource(medium="Memory", size_limit="1Mi"))


async def test_secrets_and_memory_lie_on_tmpfs_and_go(volumes: PodVolumes, root: Path) -> None:
    subject = pod(spec={"volumes": (_SECRET, _MEMORY)})
    ready = await volumes.prepare_volumes(subject)
    assert await volumes.prepare_volumes(subject) == ready
    mounts = read_mounts_below(root)
    assert {mount.mount_point for mount in mounts} == {volume.path for volume in ready.values()}
    assert {mount.filesystem for mount in mounts} == {"tmpfs"}
    assert (ready["secret"].path / "password").read_bytes() == b"hunter2"
    space = os.statvfs(ready["fast"].path)
    assert space.f_blocks * space.f_frsize == 1024 * 1024
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(root) == ()
    assert not (root / "pods" / subject.uid / "volumes").exists()


async def test_fs_group_owns_what_the_pod_may_write(volumes: PodVolumes) -> None:
    context = PodSecurityContext(fs_group=4242)
    ready = await volumes.prepare_volumes(
        pod(spec={"volumes": (_SECRET, _MEMORY), "security_context": context})
    )
    status = ready["fast"].path.stat()
    assert (status.st_gid, status.st_mode & 0o7777) == (4242, 0o2777)
    status = (ready["secret"].path / "password").stat()
    assert (status.st_gid, status.st_mode & 0o777) == (4242, 0o440)


async def test_mounts_that_somebody_else_made_inside_go_too(volumes: PodVolumes, root: Path) -> None:
    subject = pod(spec={"volumes": (_MEMORY,)})
    ready = await volumes.prepare_volumes(subject)
    inner = ready["fast"].path / "inner with space"
    inner.mkdir()
    mount_tmpfs(inner)
    mount_tmpfs(inner)  # twice on one place
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(root) == ()


async def test_a_mount_in_use_is_named_and_removal_goes_on_later(volumes: PodVolumes, root: Path) -> None:
    subject = pod(spec={"volumes": (_MEMORY,)})
    path = (await volumes.prepare_volumes(subject))["fast"].path
    with (path / "held").open("w"):
        with pytest.raises(
            Unavailable, match=rf"fast can't be unmounted: it is in use by process {os.getpid()}"
        ):
            await volumes.remove_volumes(subject.uid)
        assert (path / "held").exists()
    await volumes.remove_volumes(subject.uid)
    assert read_mounts_below(root) == ()


def test_nothing_is_deleted_on_another_device(root: Path) -> None:
    inner = root / "volumes/kind/name"
    inner.mkdir(parents=True)
    mount_tmpfs(inner)
    (inner / "precious").write_text("x")
    # As if somebody had mounted it right after the kernel's table was read: the device number still tells.
    with pytest.raises(TeardownBlocked, match="a mount of its own"):
        remove_volume_tree(root / "volumes", read_mounts=lambda _: ())
    assert (inner / "precious").read_text() == "x"
