"""The agent's own files of a pod, and what containers leave in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.pods.config.dns_config import Resolver
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.pod_files import LocalPodFiles
from agent.pods.ports import ContainerID
from agent.pods.termination_log import parse_log_tail, read_termination_message
from agent.resources.cgroup import CgroupFacts, CgroupMode
from agent.resources.pod_cgroups import PodCgroups
from agent.runtime.values import ContainerState, RuntimeContainerStatus
from tests import builders

POD = builders.pod()


@pytest.fixture
def files(tmp_path: Path) -> LocalPodFiles:
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
    return LocalPodFiles(environment, PodCgroups(CgroupFacts(CgroupMode.NONE, ())))


async def test_a_container_finds_its_files(files: LocalPodFiles, tmp_path: Path) -> None:
    made = await files.prepare_container(POD, "web", 2, ("10.1.0.1",), ())
    assert "10.1.0.1\tweb-1" in made.hosts.read_text()
    assert made.termination.stat().st_mode & 0o777 == 0o666
    assert (tmp_path / "logs" / "default_web-1_uid-web-1" / "web").is_dir()


async def test_the_hosts_file_is_kept_in_place(files: LocalPodFiles) -> None:
    first = await files.prepare_container(POD, "web", 0, ("10.1.0.1",), ())
    before = first.hosts.stat()
    again = await files.prepare_container(POD, "web", 1, ("10.1.0.1",), ())
    assert (again.hosts.stat().st_ino, again.hosts.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    changed = await files.prepare_container(POD, "web", 2, ("10.1.0.2",), ())
    assert changed.hosts.stat().st_ino == before.st_ino
    assert "10.1.0.2" in changed.hosts.read_text()


async def test_removal_leaves_nothing_and_may_be_repeated(files: LocalPodFiles, tmp_path: Path) -> None:
    await files.prepare_pod(POD)
    await files.prepare_container(POD, "web", 0, ("10.1.0.1",), ())
    for _ in range(2):
        await files.remove_pod(POD)
    assert list((tmp_path / "root" / "pods").iterdir()) == []
    assert list((tmp_path / "logs").iterdir()) == []


async def test_links_in_the_pods_directory_are_not_followed(files: LocalPodFiles, tmp_path: Path) -> None:
    await files.prepare_container(POD, "web", 0, ("10.1.0.1",), ())
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (tmp_path / "root" / "pods" / POD.uid / "link").symlink_to(precious)
    await files.remove_pod(POD)
    assert not (tmp_path / "root" / "pods" / POD.uid).exists()
    assert (precious / "file").read_text() == "x"


async def test_a_log_is_removed_once(files: LocalPodFiles, tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.touch()
    await files.remove_log(log)
    await files.remove_log(log)
    assert not log.exists()


# --- last words ---------------------------------------------------------------------------------------------


def status(log_path: Path, exit_code: int = 1) -> RuntimeContainerStatus:
    return RuntimeContainerStatus(
        ContainerID("c"), ContainerState.EXITED, 1.0, 2.0, exit_code, "", "", "", "", str(log_path)
    )


def build_annotations(path: Path, policy: str = "FallbackToLogsOnError") -> dict[str, str]:
    return {
        "berth.dev/termination-message-file": str(path),
        "io.kubernetes.container.terminationMessagePolicy": policy,
    }


def test_the_termination_file_speaks_first(tmp_path: Path) -> None:
    file, log = tmp_path / "message", tmp_path / "log"
    file.write_text("x" * 10 + "end" + "y" * 4093)
    log.write_text("t stdout F from the log\n")
    assert read_termination_message(build_annotations(file), status(log)) == "end" + "y" * 4093


@pytest.mark.parametrize(
    ("policy", "exit_code", "message"),
    [
        ("FallbackToLogsOnError", 1, "from the log\n"),
        ("FallbackToLogsOnError", 0, ""),
        ("File", 1, ""),
    ],
)
def test_the_log_speaks_for_failures_where_asked(
    tmp_path: Path, policy: str, exit_code: int, message: str
) -> None:
    log = tmp_path / "log"
    log.write_text("t stdout F from the log\n")
    found = read_termination_message(build_annotations(tmp_path / "none", policy), status(log, exit_code))
    assert found == message


def test_the_tail_of_a_log_is_bounded() -> None:
    lines = [f"t stderr F line {number}" for number in range(200)]
    tail = parse_log_tail("\n".join(lines))
    assert tail.splitlines()[0] == "line 120"
    assert tail.splitlines()[-1] == "line 199"
    assert len(parse_log_tail(f"t stdout F {'é' * 3000}").encode()) <= 2048


def test_parts_of_a_long_line_are_joined_and_noise_is_skipped() -> None:
    assert parse_log_tail("noise\nt stdout P one \nt stdout F two\n") == "one two\n"
