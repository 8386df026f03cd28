"""A reader of a volume sees one version or another, never a mix, while versions are written under it."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.volumes.atomic_writer import write_volume_files
from agent.volumes.files import VolumeFile

_names = st.sampled_from(["a", "b", "dir/c", "dir/d", "deep/er/e"])
_versions = st.lists(st.frozensets(_names, min_size=1), min_size=1, max_size=6)


def _files(names: frozenset[str], version: int) -> list[VolumeFile]:
    return [VolumeFile(PurePosixPath(name), f"{version}".encode()) for name in sorted(names)]


def _read(directory: Path) -> dict[str, bytes]:
    """All files as one opened version: a program that holds `..data` open sees no later one."""
    root = os.open(directory / "..data", os.O_RDONLY | os.O_DIRECTORY)
    found = {}
    try:
        for parent, _, names, descriptor in os.fwalk(".", dir_fd=root):
            for name in names:
                file = os.open(name, os.O_RDONLY, dir_fd=descriptor)
                found[os.path.normpath(os.path.join(parent, name))] = os.read(file, 100)
                os.close(file)
    finally:
        os.close(root)
    return found


@given(_versions)
@settings(deadline=None, max_examples=40)
def test_each_version_is_whole(versions: list[frozenset[str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, names in enumerate(versions):
            write_volume_files(directory, _files(names, number))
            assert _read(directory) == {each: f"{number}".encode() for each in names}
            visible = {entry for entry in os.listdir(directory) if not entry.startswith("..")}
            assert visible == {each.split("/")[0] for each in names}
            for each in names:
                assert (directory / each).read_bytes() == f"{number}".encode()


def test_a_concurrent_reader_never_sees_a_mix(tmp_path: Path) -> None:
    names = frozenset({"a", "b", "dir/c", "deep/er/e"})
    write_volume_files(tmp_path, _files(names, 0))
    mixed: list[dict[str, bytes]] = []
    reads = 0
    writing = threading.Event()
    writing.set()

    def read_on() -> None:
        nonlocal reads
        while writing.is_set():
            try:
                found = _read(tmp_path)
            except FileNotFoundError:
                continue  # the version was replaced and removed under our hands: read the new one
            if set(found) != names and found:
                continue  # the same, seen as a directory that is being emptied
            reads += 1
            if len(set(found.values())) > 1:
                mixed.append(found)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for number in range(1, 300):
            assert write_volume_files(tmp_path, _files(names, number))
    finally:
        writing.clear()
        reader.join()
    assert reads > 0
    assert mixed == []
