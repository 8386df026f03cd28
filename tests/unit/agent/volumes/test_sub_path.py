"""A subPath never leads out of its volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.volumes.sub_path import SubPathRefused, resolve_sub_path


def test_makes_what_is_missing_with_the_volumes_mode(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2777)
    assert resolve_sub_path(volume, "a/b") == volume / "a/b"
    assert (volume / "a").stat().st_mode & 0o7777 == 0o2777
    assert (volume / "a/b").is_dir()


def test_finds_files_and_follows_links_inside(tmp_path: Path) -> None:
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload/key").write_text("x")
    (tmp_path / "..data").symlink_to("payload")
    (tmp_path / "key").symlink_to("..data/key")
    assert resolve_sub_path(tmp_path, "key") == tmp_path / "payload/key"


@pytest.mark.parametrize("sub_path", ["../x", "a/../../x", "/etc"])
def test_refuses_a_way_up(tmp_path: Path, sub_path: str) -> None:
    with pytest.raises(SubPathRefused, match="relative path"):
        resolve_sub_path(tmp_path, sub_path)


@pytest.mark.parametrize("target", ["/etc", "../outside", "/"])
def test_refuses_a_link_that_leads_out(tmp_path: Path, target: str) -> None:
    volume = tmp_path / "volume"
    (tmp_path / "outside").mkdir()
    volume.mkdir()
    (volume / "link").symlink_to(target)
    with pytest.raises(SubPathRefused, match="symbolic link"):
        resolve_sub_path(volume, "link")
    with pytest.raises(SubPathRefused, match="symbolic link"):
        resolve_sub_path(volume, "link/made")
    assert list((tmp_path / "outside").iterdir()) == []


def test_refuses_to_cross_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises((SubPathRefused, NotADirectoryError)):
        resolve_sub_path(tmp_path, "file/below")
