"""What keeps an agent from starting gets one sentence; what keeps a loop going."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from agent.app import run_agent
from agent.errors import AgentError
from agent.ready_notice import send_notice
from agent.root_lock import hold_root
from agent.settings import AgentSettings
from agent.supervise import supervise

_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: x
"""


def build_settings(tmp_path: Path, **changes: object) -> AgentSettings:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(_KUBECONFIG)
    facts = {
        "node_name": "n1",
        "kubeconfig": kubeconfig,
        "root_dir": tmp_path / "root",
        "container_runtime_endpoint": f"unix://{tmp_path}/none.sock",
        **changes,
    }
    return AgentSettings(**facts)  # type: ignore[arg-type]


async def refuse(settings: AgentSettings) -> str:
    with pytest.raises(AgentError) as raised:
        await run_agent(settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


async def test_an_unreadable_kubeconfig_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    message = await refuse(build_settings(tmp_path, kubeconfig=missing))
    assert str(missing) in message
    assert "name another with --kubeconfig" in message


async def test_a_missing_runtime_is_named(tmp_path: Path) -> None:
    expected = f"no container runtime at unix://{tmp_path}/none.sock"
    assert (await refuse(build_settings(tmp_path))).startswith(expected)


async def test_a_root_directory_in_use_is_named(tmp_path: Path) -> None:
    with hold_root(tmp_path / "root"):
        assert "another agent uses the root directory" in await refuse(build_settings(tmp_path))
    assert "no container runtime" in await refuse(build_settings(tmp_path))


async def test_a_root_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    assert f"the root directory {tmp_path}/root can't be used" in await refuse(build_settings(tmp_path))


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        send_notice(str(tmp_path / "notify"), "READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_without_a_service_manager_nobody_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    send_notice("", "READY=1")
    assert caplog.records == []
    send_notice(str(tmp_path / "nobody"), "READY=1")
    assert len(caplog.records) == 1


async def test_a_loop_that_fails_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(5):
            await supervise("loop", run)
    assert runs == 2
    assert [record.message for record in caplog.records] == ["a loop failed and starts again"]


async def test_a_supervised_loop_can_be_cancelled() -> None:
    task = asyncio.create_task(supervise("loop", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_alone_no_kubeconfig_is_read(tmp_path: Path) -> None:
    settings = build_settings(
        tmp_path, standalone=True, kubeconfig=tmp_path / "missing", static_pod_path=tmp_path
    )
    assert (await refuse(settings)).startswith("no container runtime at")
