"""A subPath never leads out of its volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.volumes.sub_path import SubPathRefused, open_sub_path


def resolve_sub_path(volume: Path, sub_path: str) -> Path:
    """Where the descriptor leads."""
    descriptor = open_sub_path(volume, sub_path)
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


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


def test_refuses_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SubPathRefused, match="circle"):
        resolve_sub_path(tmp_path, "a/x")


def test_a_directory_swapped_for_a_link_after_the_check_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a container does while we look: the path is resolved, and then one of its parts becomes a link."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "a/b").mkdir(parents=True)
    outside.mkdir()
    really_resolve = Path.resolve

    def resolve_and_swap(path: Path, strict: bool = False) -> Path:
        resolved = really_resolve(path, strict)
        if path.name == "b":
            (volume / "a/b").rmdir()
            (volume / "a").rmdir()
            (volume / "a").symlink_to(outside)
        return resolved

    monkeypatch.setattr(Path, "resolve", resolve_and_swap)
    with pytest.raises(SubPathRefused, match="no directory"):
        resolve_sub_path(volume, "a/b")
    assert list(outside.iterdir()) == []
