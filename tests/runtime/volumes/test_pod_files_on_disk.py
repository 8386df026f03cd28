"""The agent's own files of a pod beside its mounts, on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.pods.config.dns_config import Resolver
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.pod_files import LocalPodFiles
from agent.pods.ports import Unavailable
from agent.resources.cgroup import CgroupFacts, CgroupMode
from agent.resources.pod_cgroups import PodCgroups
from agent.volumes.mounts import bind_mount, detach, read_mounts_below
from lab.hanging_mount import hanging_mount
from tests import builders

POD = builders.pod()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[LocalPodFiles]:
    environment = PodEnvironment(
        node_name="node-1",
        root_dir=tmp_path / "root",
        pod_logs_dir=tmp_path / "logs",
        cgroup_root="/",
        cluster_dns="10.96.0.10",
        cluster_domain="cluster.local",
        host_resolver=Resolver(),
        memory_capacity_bytes=1 << 30,
    )
    yield LocalPodFiles(environment, PodCgroups(CgroupFacts(CgroupMode.NONE, ())))
    for mount in reversed(read_mounts_below(tmp_path)):
        detach(mount.mount_point)


async def test_sub_paths_lie_where_no_container_reaches(files: LocalPodFiles, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    made = await files.prepare_container(POD, "web", 2, ("10.1.0.1",), ((tmp_path / "volume", "sub/dir"),))
    assert made.sub_paths == (tmp_path / "root/pods" / POD.uid / "volume-subpaths/web/0",)
    (made.sub_paths[0] / "f").touch()
    assert (tmp_path / "volume/sub/dir/f").exists()


async def test_a_mount_that_is_left_is_never_deleted_into(files: LocalPodFiles, tmp_path: Path) -> None:
    await files.prepare_container(POD, "web", 0, ("10.1.0.1",), ())
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    left = tmp_path / "root/pods" / POD.uid / "volumes/kind/data"
    left.mkdir(parents=True)
    bind_mount(tmp_path / "precious", left)
    with pytest.raises(Unavailable, match="a mount of its own"):
        await files.remove_pod(POD)
    assert (tmp_path / "precious/file").read_text() == "x"


async def test_a_sub_path_of_a_volume_that_hangs_is_named(
    files: LocalPodFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.pods.pod_files._SUB_PATH_SECONDS", 0.3)
    (tmp_path / "dead").mkdir()
    with hanging_mount(tmp_path / "dead") as dead:
        with pytest.raises(Unavailable, match=rf"looking up subPath 'a' of {dead.path} has not returned"):
            await files.prepare_container(POD, "web", 0, ("10.1.0.1",), ((dead.path, "a"),))
        made = await files.prepare_container(POD, "other", 0, ("10.1.0.1",), ())
        assert made.hosts.exists()
