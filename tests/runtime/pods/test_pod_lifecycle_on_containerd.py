"""The life of pods on real containerd: ephemeral containers, restart rules, hooks, signals, deadlines."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    Container,
    ContainerRestartRule,
    ContainerRestartRuleExitCodes,
    ContainerStatus,
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodUID,
    Probe,
    SleepAction,
    VolumeMount,
)
from kubeapi.volume import HostPathVolumeSource, Volume
from lab.images import SHELL_IMAGE
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

NOTES = VolumeMount(name="notes", mount_path="/notes")


def build_shell(name: str, *script: str, **more: Any) -> Container:
    return Container(
        name=name, image=SHELL_IMAGE, command=("sh", "-c", "\n".join(script)), volume_mounts=(NOTES,), **more
    )


def build_hook(script: str) -> LifecycleHandler:
    return LifecycleHandler(exec=ExecAction(command=("sh", "-c", script)))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A directory that all containers of a test write to, and that outlives them."""
    directory = tmp_path / "notes"
    directory.mkdir()
    return directory


def noting_pod(notes: Path, *containers: Container, **spec: Any) -> Pod:
    volume = Volume(name="notes", host_path=HostPathVolumeSource(path=str(notes)))
    return new_pod(containers=containers, volumes=(volume,), **spec)


def read_notes(notes: Path, name: str) -> list[str]:
    path = notes / name
    return path.read_text().split() if path.exists() else []


def debug(host: PodHost, uid: PodUID, **container: Any) -> None:
    """What `kubectl debug` does."""
    pod = host.api.pods[uid]
    good = {"name": "debugger", "image": SHELL_IMAGE, "command": ("sh", "-c", FOREVER)}
    added = Container(**{**good, **container})
    containers = (*pod.spec.ephemeral_containers, added)
    host.api.pods[uid] = msgspec.structs.replace(
        pod, spec=msgspec.structs.replace(pod.spec, ephemeral_containers=containers)
    )
    host._tell(uid)


def find_ephemeral(host: PodHost, uid: PodUID, name: str = "debugger") -> ContainerStatus | None:
    return next((s for s in host.status(uid).ephemeral_container_statuses if s.name == name), None)


def is_running(status: ContainerStatus | None) -> bool:
    return status is not None and status.state.running is not None


async def test_an_ephemeral_container_sees_its_target_and_runs_once(host: PodHost) -> None:
    uid = host.create(new_pod(FOREVER))
    await host.wait(lambda: host.is_ready(uid))
    debug(host, uid, target_container_name="main")
    await host.wait(lambda: is_running(find_ephemeral(host, uid)))
    status = find_ephemeral(host, uid)
    assert status is not None
    assert (status.ready, status.started, status.restart_count) == (False, None, 0)
    handle = host.lanes.find_container(ObjectKey("default", "web"), uid, "debugger", previous=False)
    assert handle is not None
    seen = await host.client.exec_sync(handle.container_id, ("cat", "/proc/1/cmdline"), 5)
    assert b"trap 'exit 0' TERM" in seen.stdout
    # Its end is for good, and nobody else's.
    await host.client.stop_container(handle.container_id, 1)

    def has_ended() -> bool:
        status = find_ephemeral(host, uid)
        return status is not None and status.state.terminated is not None

    await host.wait(has_ended)
    await asyncio.sleep(1.5)
    assert has_ended()
    assert host.is_ready(uid)
    assert host.status(uid).phase == "Running"


async def test_an_ephemeral_container_starts_while_init_containers_wait(host: PodHost, notes: Path) -> None:
    gate = build_shell("gate", "while [ ! -e /notes/open ]; do sleep 0.05; done")
    uid = host.create(noting_pod(notes, build_shell("main", FOREVER), init_containers=(gate,)))
    await host.wait(
        lambda: (
            host.status(uid).init_container_statuses != ()
            and is_running(host.status(uid).init_container_statuses[0])
        )
    )
    debug(host, uid)
    await host.wait(lambda: is_running(find_ephemeral(host, uid)))
    assert host.status(uid).phase == "Pending"
    (notes / "open").touch()
    await host.wait(lambda: host.is_ready(uid))
    debug(host, uid, name="other", image="berth.local/absent:1", image_pull_policy="Never")

    def reason() -> str:
        status = find_ephemeral(host, uid, "other")
        return status.state.waiting.reason if status and status.state.waiting else ""

    await host.wait(lambda: reason() == "ErrImageNeverPull")
    assert host.is_ready(uid)


async def test_a_rule_restarts_a_container_of_a_pod_that_never_does(host: PodHost, notes: Path) -> None:
    retry = ContainerRestartRule(
        action="Restart", exit_codes=ContainerRestartRuleExitCodes(operator="In", values=(42,))
    )
    main = build_shell(
        "main",
        "[ -e /notes/second ] && exit 7",
        "touch /notes/second; exit 42",
        restart_policy="Never",
        restart_policy_rules=(retry,),
    )
    uid = host.create(noting_pod(notes, main, restart_policy="Never"))
    phases: set[str] = set()

    def has_ended() -> bool:
        phases.add(host.status(uid).phase)
        return host.status(uid).phase in ("Failed", "Succeeded")

    await host.wait(has_ended)
    (status,) = host.status(uid).container_statuses
    assert status.restart_count == 1
    assert status.state.terminated is not None
    assert status.last_state.terminated is not None
    assert (status.last_state.terminated.exit_code, status.state.terminated.exit_code) == (42, 7)
    assert host.status(uid).phase == "Failed"


async def test_a_rule_restarts_the_whole_pod_in_its_sandbox(host: PodHost, notes: Path) -> None:
    restart_all = ContainerRestartRule(
        action="RestartAllContainers", exit_codes=ContainerRestartRuleExitCodes(operator="In", values=(42,))
    )
    setup = build_shell("setup", "echo setup >> /notes/began")
    hook = Lifecycle(pre_stop=build_hook("echo hook >> /notes/hooks"))
    web = build_shell(
        "web",
        "echo web >> /notes/began",
        "trap 'exit 0' TERM",
        "while :; do sleep 0.05; done",
        lifecycle=hook,
    )
    main = build_shell(
        "main",
        "until [ -e /notes/go ]; do sleep 0.05; done",
        "[ -e /notes/second ] && { touch /notes/back; while :; do sleep 1; done; }",
        "touch /notes/second; exit 42",
        restart_policy="Never",
        restart_policy_rules=(restart_all,),
    )
    uid = host.create(noting_pod(notes, web, main, init_containers=(setup,), restart_policy="Never"))
    await host.wait(lambda: host.is_ready(uid))
    address, before = host.status(uid).pod_ip, host.status(uid).container_statuses
    (notes / "go").touch()
    await host.wait(lambda: (notes / "back").exists() and host.is_ready(uid))
    status = host.status(uid)
    assert read_notes(notes, "began") == ["setup", "web", "setup", "web"]
    assert read_notes(notes, "hooks") == []
    assert (status.pod_ip, status.phase) == (address, "Running")
    everyone = (*status.init_container_statuses, *status.container_statuses)
    assert [each.restart_count for each in everyone] == [1, 1, 1]
    assert all(new.container_id != old.container_id for new, old in zip(everyone[1:], before, strict=True))
    condition = next(each for each in status.conditions if each.type == "AllContainersRestarting")
    assert condition.status == "False"


async def test_a_stop_signal_of_the_pods_choice_is_sent(host: PodHost, notes: Path) -> None:
    main = build_shell(
        "main",
        "trap 'echo usr1 >> /notes/signals; exit 0' USR1",
        "trap 'echo term >> /notes/signals; exit 0' TERM",
        "while :; do sleep 0.05; done",
        lifecycle=Lifecycle(stop_signal="SIGUSR1"),
    )
    uid = host.create(noting_pod(notes, main))
    await host.wait(lambda: host.is_ready(uid))
    assert host.status(uid).container_statuses[0].stop_signal == "SIGUSR1"
    begun = time.monotonic()
    host.delete(uid, grace_seconds=20)
    await host.wait_until_gone(uid)
    assert time.monotonic() - begun < 10
    assert read_notes(notes, "signals") == ["usr1"]


async def test_a_stop_signal_that_is_ignored_ends_with_the_grace_period(host: PodHost, notes: Path) -> None:
    lifecycle = Lifecycle(stop_signal="SIGUSR2")
    main = build_shell("main", "trap '' USR2 TERM", "while :; do sleep 0.05; done", lifecycle=lifecycle)
    uid = host.create(noting_pod(notes, main))
    await host.wait(lambda: host.is_ready(uid))
    begun = time.monotonic()
    host.delete(uid, grace_seconds=3)
    await host.wait_until_gone(uid)
    assert 2.5 < time.monotonic() - begun < 10


async def test_a_pre_stop_hook_runs_once_though_the_agent_dies_after_it(host: PodHost, notes: Path) -> None:
    main = build_shell(
        "main",
        "trap 'echo term >> /notes/order; sleep 2; exit 0' TERM",
        "while :; do sleep 0.05; done",
        lifecycle=Lifecycle(pre_stop=build_hook("echo hook >> /notes/order")),
    )
    uid = host.create(noting_pod(notes, main))
    await host.wait(lambda: host.is_ready(uid))
    host.delete(uid, grace_seconds=20)
    await host.wait(lambda: "term" in read_notes(notes, "order"))
    await host.crash()
    host.start()
    await host.wait_until_gone(uid)
    assert read_notes(notes, "order").count("hook") == 1
    assert read_notes(notes, "order")[:2] == ["hook", "term"]


async def test_a_hook_that_takes_all_the_time_leaves_the_process_two_seconds(
    host: PodHost, notes: Path
) -> None:
    main = build_shell(
        "main",
        "trap 'sleep 0.5; echo bye >> /notes/order; exit 0' TERM",
        "while :; do sleep 0.05; done",
        lifecycle=Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=60))),
    )
    uid = host.create(noting_pod(notes, main))
    await host.wait(lambda: host.is_ready(uid))
    begun = time.monotonic()
    host.delete(uid, grace_seconds=2)
    await host.wait_until_gone(uid)
    assert 2 <= time.monotonic() - begun < 8
    assert read_notes(notes, "order") == ["bye"]


async def test_sidecars_start_in_order_and_stop_in_reverse_with_all_hooks_at_once(
    host: PodHost, notes: Path
) -> None:
    def sidecar(name: str, **more: Any) -> Container:
        return build_shell(
            name,
            f"echo {name} >> /notes/starts; trap 'echo {name} >> /notes/stops; exit 0' TERM",
            "while :; do sleep 0.05; done",
            restart_policy="Always",
            **more,
        )

    slow = Probe(exec=ExecAction(command=("test", "-e", "/notes/go")), period_seconds=1, failure_threshold=60)
    hooked = Lifecycle(
        post_start=build_hook("sleep 0.5; echo hooked >> /notes/starts"),
        pre_stop=build_hook("echo hook >> /notes/stops"),
    )
    pod = noting_pod(
        notes,
        build_shell(
            "main",
            "echo main >> /notes/starts; trap 'sleep 0.5; echo main >> /notes/stops; exit 0' TERM",
            "while :; do sleep 0.05; done",
        ),
        init_containers=(sidecar("one", startup_probe=slow), sidecar("two", lifecycle=hooked)),
    )
    uid = host.create(pod)
    await host.wait(lambda: read_notes(notes, "starts") == ["one"])
    await asyncio.sleep(1.2)
    assert read_notes(notes, "starts") == ["one"]
    assert host.status(uid).phase == "Pending"
    (notes / "go").touch()
    await host.wait(lambda: host.is_ready(uid))
    assert read_notes(notes, "starts") == ["one", "two", "hooked", "main"]
    host.delete(uid, grace_seconds=10)
    await host.wait_until_gone(uid)
    assert read_notes(notes, "stops") == ["hook", "main", "two", "one"]


async def test_a_deadline_fails_the_pod_once_nothing_runs_any_more(host: PodHost) -> None:
    slow = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done"
    uid = host.create(new_pod(slow, active_deadline_seconds=2))
    await host.wait(lambda: host.is_ready(uid))
    seen: list[tuple[str, bool]] = []

    def has_failed() -> bool:
        status = host.status(uid)
        running = any(is_running(each) for each in status.container_statuses)
        seen.append((status.phase, running))
        return status.phase == "Failed"

    await host.wait(has_failed)
    assert ("Failed", True) not in seen
    assert (host.status(uid).reason, host.status(uid).message) == (
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )


async def test_a_lost_sandbox_runs_the_init_containers_again(host: PodHost, notes: Path) -> None:
    init = build_shell("first", "echo first >> /notes/order")
    main = build_shell("main", "echo main >> /notes/order", FOREVER)
    uid = host.create(noting_pod(notes, main, init_containers=(init,), termination_grace_period_seconds=2))
    await host.wait(lambda: host.is_ready(uid))
    (sandbox,) = await host.client.list_pod_sandboxes(uid)
    await host.client.stop_pod_sandbox(sandbox.id)
    await host.wait(lambda: not host.is_ready(uid))
    await host.wait(lambda: host.is_ready(uid))
    assert read_notes(notes, "order") == ["first", "main", "first", "main"]
    assert host.status(uid).container_statuses[0].restart_count == 1


async def test_long_last_words_are_cut_and_empty_ones_left_out(host: PodHost) -> None:
    long = "head -c 6000 /dev/zero | tr '\\0' x > /dev/termination-log; exit 3"
    uid = host.create(new_pod(long, restart_policy="Never"))
    await host.wait(lambda: host.status(uid).phase == "Failed")
    ended = host.status(uid).container_statuses[0].state.terminated
    assert ended is not None
    assert ended.message == "x" * 4096
    silent = host.create(new_pod("exit 0", name="silent", restart_policy="Never"))
    await host.wait(lambda: host.status(silent).phase == "Succeeded")
    document = msgspec.to_builtins(host.status(silent).container_statuses[0])
    terminated = document["state"]["terminated"]
    assert "message" not in terminated
    assert (terminated["exitCode"], terminated["reason"]) == (0, "Completed")
