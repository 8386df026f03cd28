"""hostPath types: what is checked, what is made."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.volumes.host_path import HostPathRefused, prepare_host_path
from kubeapi.volume import HostPathVolumeSource


def _prepare(path: Path, kind: str) -> Path:
    return prepare_host_path(HostPathVolumeSource(path=str(path), type=kind))


def test_no_type_checks_nothing(tmp_path: Path) -> None:
    assert _prepare(tmp_path / "absent", "") == tmp_path / "absent"
    assert not (tmp_path / "absent").exists()


def test_or_create_makes_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert _prepare(tmp_path / "a/b", "DirectoryOrCreate").is_dir()
    file = _prepare(tmp_path / "file", "FileOrCreate")
    file.write_text("kept")
    assert _prepare(tmp_path / "file", "FileOrCreate").read_text() == "kept"


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "CharDevice", "BlockDevice", "FileOrCreate"])
def test_refuses_what_is_missing_or_of_another_type(tmp_path: Path, kind: str) -> None:
    if kind != "FileOrCreate":
        with pytest.raises(HostPathRefused, match="type check failed"):
            _prepare(tmp_path / "absent", kind)
    wrong = tmp_path / "wrong"
    if kind == "Directory":
        wrong.touch()
    else:
        wrong.mkdir()
    with pytest.raises(HostPathRefused, match="is not a"):
        _prepare(wrong, kind)


def test_accepts_a_socket_and_a_device(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert _prepare(tmp_path / "s", "Socket").is_socket()
    assert _prepare(Path("/dev/null"), "CharDevice") == Path("/dev/null")


@pytest.mark.parametrize(("path", "kind"), [("relative", ""), ("/a/../b", ""), ("/tmp", "Folder")])
def test_refuses_a_bad_specification(path: str, kind: str) -> None:
    with pytest.raises(HostPathRefused, match=r"absolute|invalid volume type"):
        prepare_host_path(HostPathVolumeSource(path=path, type=kind))
