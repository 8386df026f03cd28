"""A subPath as a bind mount of our own, which no container can lead elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.volumes.mounts import detach, read_mounts_below
from agent.volumes.sub_path import bind_sub_path


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "pod/volume-subpaths/web/0"
    yield target
    for mount in reversed(read_mounts_below(tmp_path)):
        detach(mount.mount_point)


def test_a_directory_and_a_file_are_shown(tmp_path: Path, target: Path) -> None:
    (tmp_path / "volume/a").mkdir(parents=True)
    (tmp_path / "volume/a/file").write_text("x")
    assert bind_sub_path(tmp_path / "volume", "a", target) == target
    assert (target / "file").read_text() == "x"
    single = target.with_name("1")
    assert bind_sub_path(tmp_path / "volume", "a/file", single).read_text() == "x"


def test_a_second_attempt_of_the_container_finds_it_as_it_is(tmp_path: Path, target: Path) -> None:
    (tmp_path / "volume/a").mkdir(parents=True)
    bind_sub_path(tmp_path / "volume", "a", target)
    before = read_mounts_below(tmp_path)
    bind_sub_path(tmp_path / "volume", "a", target)
    assert read_mounts_below(tmp_path) == before


def test_what_was_replaced_is_bound_anew(tmp_path: Path, target: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/one").write_text("old")
    (tmp_path / "volume/two").write_text("new")
    (tmp_path / "volume/key").symlink_to("one")
    bind_sub_path(tmp_path / "volume", "key", target)
    (tmp_path / "volume/key").unlink()
    (tmp_path / "volume/key").symlink_to("two")
    assert bind_sub_path(tmp_path / "volume", "key", target).read_text() == "new"
    (tmp_path / "volume/key").unlink()
    (tmp_path / "volume/key").mkdir()
    assert bind_sub_path(tmp_path / "volume", "key", target).is_dir()
    assert len(read_mounts_below(tmp_path)) == 1


def test_a_link_planted_later_changes_nothing(tmp_path: Path, target: Path) -> None:
    (tmp_path / "volume/a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    bind_sub_path(tmp_path / "volume", "a", target)
    (tmp_path / "volume/a").rename(tmp_path / "volume/b")
    (tmp_path / "volume/a").symlink_to(tmp_path / "outside")
    (target / "made").touch()
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "volume/b/made").exists()
