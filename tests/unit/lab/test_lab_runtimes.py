"""Which programs a lab's runtime is made of: by name, directory, BERTH_LAB_RUNTIME; what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cluster import ClusterSettings
from lab.errors import LabError
from lab.runtimes import MACHINE_PROGRAMS, default_runtime, find_runtime

CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path))
    monkeypatch.delenv("BERTH_LAB_RUNTIME", raising=False)
    return tmp_path


def put_programs(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


def test_without_a_name_it_is_the_machines(cache: Path) -> None:
    assert default_runtime() == ""
    assert find_runtime("") == MACHINE_PROGRAMS


def test_a_name_is_one_that_was_unpacked_with_the_runc_beside_it(cache: Path) -> None:
    directory = put_programs(cache / "runtimes" / "containerd-2" / "bin", *CONTAINERD, "runc")

    found = find_runtime("containerd-2")

    assert (found.containerd, found.runc) == (directory, directory / "runc")
    assert find_runtime(str(directory)) == found


def test_without_a_runc_beside_it_the_machines_is_taken(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = put_programs(tmp_path / "machine", "runc")
    monkeypatch.setenv("PATH", str(machine))
    directory = put_programs(tmp_path / "mine", *CONTAINERD)

    assert find_runtime(str(directory)).runc == machine / "runc"


def test_a_relative_directory_stays_the_same_wherever_a_later_command_is_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_programs(tmp_path / "mine", *CONTAINERD, "runc")
    monkeypatch.chdir(tmp_path)

    assert find_runtime("./mine").containerd == tmp_path / "mine"


def test_what_is_not_there_is_refused_and_what_is_there_is_named(cache: Path) -> None:
    put_programs(cache / "runtimes" / "containerd-1.7" / "bin", *CONTAINERD)
    put_programs(cache / "runtimes" / "half" / "bin", "containerd", "ctr")

    with pytest.raises(LabError, match=r"'containerd-9'.*or one of containerd-1\.7"):
        find_runtime("containerd-9")
    with pytest.raises(LabError, match=r"there is no program .*/half/bin/containerd-shim-runc-v2"):
        find_runtime("half")


def test_every_lab_that_is_not_told_otherwise_takes_the_variables_runtime(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTH_LAB_RUNTIME", "containerd-2")

    assert ClusterSettings().runtime == "containerd-2"
    assert ClusterSettings(runtime="").runtime == ""
