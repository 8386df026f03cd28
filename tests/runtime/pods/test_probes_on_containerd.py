"""Probes on real containerd: what follows from their results, and what is left of commands out of time.

The agent's part runs in the test's own network namespace and reaches no pod's address; HTTP and TCP probes go
to a `host` of their own, which the test serves. tests/cluster/node probes pods at their addresses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.pods.hooks import HookRunner
from agent.pods.outcomes import HookFailed
from agent.pods.ports import ContainerID, ProbeTarget
from agent.resources.pod_cgroups import PodCgroups, read_cgroup_facts
from kubeapi.pod import (
    ContainerStatus,
    ExecAction,
    HTTPGetAction,
    LifecycleHandler,
    PodUID,
    Probe,
    TCPSocketAction,
)
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

EACH_SECOND: dict[str, Any] = {"period_seconds": 1, "failure_threshold": 1}
HOST = "127.0.0.1"


class Server:
    """Answers every GET with a status that may change; counts them by path."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: dict[str, int] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            self.asked[path] = self.asked.get(path, 0) + 1
            where = "Location: http://elsewhere.invalid/\r\n" if self.status == 302 else ""
            writer.write(f"HTTP/1.1 {self.status} It\r\n{where}Content-Length: 0\r\n\r\n".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def probe(self, path: str = "/", **more: Any) -> Probe:
        action = HTTPGetAction(host=HOST, port=self.port, path=path)
        return Probe(http_get=action, **{**EACH_SECOND, **more})


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.serve, HOST, 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


def by_exec(script: str, **more: Any) -> Probe:
    return Probe(exec=ExecAction(command=("sh", "-c", script)), **{**EACH_SECOND, **more})


def list_events(host: PodHost, reason: str) -> list[str]:
    return [event.message for event in host.events.events if event.reason == reason]


def read_status(host: PodHost, uid: PodUID) -> ContainerStatus:
    return host.status(uid).container_statuses[0]


def list_commands(host: PodHost, uid: PodUID, container_id: str) -> list[str]:
    """The command lines of all that runs in the container."""
    cgroups = PodCgroups(read_cgroup_facts(), host.node.cgroup_root)
    found = []
    for pid in cgroups.list_container_processes(uid, container_id):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
        except OSError:
            continue  # it has ended meanwhile
    return sorted(line for line in found if line)


def is_restarted(host: PodHost, uid: PodUID) -> bool:
    statuses = host.status(uid).container_statuses
    return bool(statuses) and statuses[0].restart_count > 0 and statuses[0].state.running is not None


async def test_readiness_follows_the_probe_both_ways(host: PodHost) -> None:
    async with serving() as server:
        uid = host.create(new_pod(FOREVER, container={"readiness_probe": server.probe("/ready")}))
        await host.wait(lambda: host.is_ready(uid))
        server.status = 503
        await host.wait(lambda: not host.is_ready(uid))
        assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in list_events(
            host, "Unhealthy"
        )
        server.status = 302
        await host.wait(lambda: host.is_ready(uid))
        assert list_events(host, "ProbeWarning")[0].startswith(
            "Readiness probe warning: Probe terminated redirects"
        )
        assert read_status(host, uid).restart_count == 0


@pytest.fixture
def closed_port(unused_tcp_port: int) -> int:
    return unused_tcp_port


async def test_each_kind_of_liveness_probe_restarts_what_fails_it(
    host: PodHost, unused_tcp_port: int
) -> None:
    async with serving() as server:
        server.status = 500
        tcp = Probe(tcp_socket=TCPSocketAction(host=HOST, port=unused_tcp_port), **EACH_SECOND)
        expected = {
            "http": (server.probe(), "HTTP probe failed with statuscode: 500"),
            "tcp": (tcp, f"dial tcp {HOST}:{unused_tcp_port}: connect: connection refused"),
            "exec": (by_exec("echo sick; exit 3"), "sick"),
        }
        sick = [
            host.create(
                new_pod(
                    "trap '' TERM; while :; do sleep 0.05; done",
                    name=name,
                    container={
                        # Its own grace period is shorter than the pod's.
                        "liveness_probe": _with_grace(probe, 1)
                    },
                )
            )
            for name, (probe, _) in expected.items()
        ]
        begun = time.monotonic()
        await host.wait(lambda: all(is_restarted(host, uid) for uid in sick))
        assert time.monotonic() - begun < 25, "the pod's own grace period is 30 s"
    for _, message in expected.values():
        assert f"Liveness probe failed: {message}" in list_events(host, "Unhealthy")
    assert list_events(host, "Killing")[:3] == ["Container main failed liveness probe, will be restarted"] * 3
    for uid in sick:
        last = read_status(host, uid).last_state.terminated
        assert last is not None
        assert (last.exit_code, last.reason) == (137, "Error")


def _with_grace(probe: Probe, seconds: int) -> Probe:
    return Probe(
        http_get=probe.http_get,
        tcp_socket=probe.tcp_socket,
        exec=probe.exec,
        termination_grace_period_seconds=seconds,
        **EACH_SECOND,
    )


async def test_the_startup_probe_holds_the_others_back_and_restarts_what_never_starts(host: PodHost) -> None:
    failing = by_exec("exit 1")
    slow = new_pod(
        "sleep 2; touch /tmp/started",
        FOREVER,
        name="slow",
        container={
            "startup_probe": by_exec("test -e /tmp/started", failure_threshold=60),
            "liveness_probe": by_exec("test -e /tmp/started"),
            "readiness_probe": by_exec("test -e /tmp/started"),
        },
    )
    never = new_pod(
        FOREVER, name="never", container={"startup_probe": failing, "readiness_probe": by_exec("true")}
    )
    slow_uid, never_uid = host.create(slow), host.create(never)
    await host.wait(lambda: read_status_or_none(host, slow_uid) is not None)
    await host.wait(lambda: is_restarted(host, never_uid))
    assert not host.is_ready(never_uid)
    assert "Container main failed startup probe, will be restarted" in list_events(host, "Killing")
    await host.wait(lambda: host.is_ready(slow_uid))
    status = read_status(host, slow_uid)
    assert (status.started, status.restart_count) == (True, 0)
    assert not [line for line in list_events(host, "Unhealthy") if line.startswith("Liveness")]


def read_status_or_none(host: PodHost, uid: PodUID) -> ContainerStatus | None:
    return next(iter(host.status(uid).container_statuses), None)


async def test_readiness_is_asked_to_the_end_and_liveness_no_more(host: PodHost) -> None:
    async with serving() as server:
        probes = {"readiness_probe": server.probe("/ready"), "liveness_probe": server.probe("/live")}
        uid = host.create(
            new_pod("trap 'sleep 4; exit 0' TERM; while :; do sleep 0.05; done", container=probes)
        )
        await host.wait(lambda: host.is_ready(uid) and server.asked.get("/live", 0) > 0)
        host.delete(uid, grace_seconds=20)
        await host.wait(lambda: bool(list_events(host, "Killing")))
        server.status = 500
        live, ready = server.asked["/live"], server.asked["/ready"]
        await host.wait(lambda: not host.is_ready(uid))
        await host.wait_until_gone(uid)
        assert server.asked["/ready"] > ready
        assert server.asked["/live"] <= live + 1, "a try that was under way may still end"


TREE = "sleep 4242 & setsid sleep 4242 & (sleep 4242 &) & sleep 4242"


async def test_nothing_of_a_probe_that_is_out_of_time_goes_on(host: PodHost) -> None:
    """Two probes at once, and a daemon of the container's own that is none of theirs."""
    hangs = by_exec(TREE, failure_threshold=100)
    leaves = by_exec("sleep 4242 &", failure_threshold=100)
    pod = new_pod(
        "setsid sleep 7777 &", FOREVER, container={"liveness_probe": hangs, "readiness_probe": leaves}
    )
    uid = host.create(pod)

    def has_failed_twice() -> bool:
        told = list_events(host, "Unhealthy")
        return all(
            sum(line.startswith(f"{kind} probe failed: command timed out: ") for line in told) >= 2
            for kind in ("Liveness", "Readiness")
        )

    await host.wait(has_failed_twice)
    container_id = read_status(host, uid).container_id.partition("://")[2]
    # Each probe begins anew every second: without an end to the earlier ones there would be ever more.
    assert sum("4242" in line for line in list_commands(host, uid, container_id)) <= 10
    await host.crash()
    await asyncio.sleep(1.5)
    host.start()
    assert "sleep 7777" in list_commands(host, uid, container_id)
    assert read_status(host, uid).restart_count == 0


async def test_nothing_of_a_hook_that_is_out_of_time_goes_on(host: PodHost) -> None:
    pod = new_pod("setsid sleep 7777 &", FOREVER)
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    container_id = ContainerID(read_status(host, uid).container_id.partition("://")[2])
    cgroups = PodCgroups(read_cgroup_facts(), host.node.cgroup_root)
    target = ProbeTarget(pod, pod.spec.containers[0], container_id, "", 0.0)
    hook = LifecycleHandler(exec=ExecAction(command=("sh", "-c", TREE)))
    begun = time.monotonic()
    failed = await HookRunner(host.client, cgroups).run(hook, target, 1.4)
    assert 1.4 <= time.monotonic() - begun < 4
    assert isinstance(failed, HookFailed)
    commands = list_commands(host, uid, container_id)
    assert not [line for line in commands if "4242" in line]
    assert "sleep 7777" in commands
