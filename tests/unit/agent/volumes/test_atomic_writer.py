"""The writer of volumes: what a reader finds, and that nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from agent.volumes.atomic_writer import write_volume_files
from agent.volumes.files import VolumeFile


def _file(path: str, content: bytes, mode: int = 0o644) -> VolumeFile:
    return VolumeFile(PurePosixPath(path), content, mode)


def _payloads(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith("..2")]


def test_writes_files_through_the_data_link(tmp_path: Path) -> None:
    assert write_volume_files(tmp_path, [_file("a", b"1"), _file("dir/b", b"2", 0o400)])
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "dir") == "..data/dir"
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "dir/b").stat().st_mode & 0o777 == 0o400


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    files = [_file("a", b"1")]
    write_volume_files(tmp_path, files)
    before = os.readlink(tmp_path / "..data")
    assert not write_volume_files(tmp_path, files)
    assert os.readlink(tmp_path / "..data") == before


def test_a_change_replaces_all_and_removes_what_is_gone(tmp_path: Path) -> None:
    write_volume_files(tmp_path, [_file("a", b"1"), _file("old/x", b"1")])
    assert write_volume_files(tmp_path, [_file("a", b"2"), _file("new", b"2")])
    names = {name for name in os.listdir(tmp_path) if not name.startswith("..")}
    assert names == {"a", "new"}
    assert (tmp_path / "a").read_bytes() == b"2"
    assert len(_payloads(tmp_path)) == 1


def test_a_mode_alone_is_a_change(tmp_path: Path) -> None:
    write_volume_files(tmp_path, [_file("a", b"1")])
    assert write_volume_files(tmp_path, [_file("a", b"1", 0o600)])
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_an_empty_volume_is_a_volume(tmp_path: Path) -> None:
    assert write_volume_files(tmp_path, [])
    assert (tmp_path / "..data").is_dir()
    assert not write_volume_files(tmp_path, [])


def test_goes_on_after_a_crash_in_the_middle(tmp_path: Path) -> None:
    write_volume_files(tmp_path, [_file("a", b"1")])
    # A crash before the swap leaves a payload that nothing points at, one during it the next link.
    (tmp_path / "..2026_01_01_00_00_00.half").mkdir()
    (tmp_path / "..2026_01_01_00_00_00.half/a").write_bytes(b"half")
    (tmp_path / "..data_tmp").symlink_to("..2026_01_01_00_00_00.half")
    # One after it leaves the names of before.
    (tmp_path / "gone").symlink_to("..data/gone")
    write_volume_files(tmp_path, [_file("a", b"1")])
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path)) == sorted(["..data", os.readlink(tmp_path / "..data"), "a"])


def test_files_of_a_group_can_be_read_by_it(tmp_path: Path) -> None:
    group = os.getgid()
    write_volume_files(tmp_path, [_file("a", b"1", 0o400)], group)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o440
    assert (tmp_path / "..data").stat().st_mode & 0o7777 == 0o2755
    assert not write_volume_files(tmp_path, [_file("a", b"1", 0o400)], group)
