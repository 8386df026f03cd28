"""Pods on real containerd, from their creation until nothing is left of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agent.runtime.values import ContainerState
from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    Container,
    ContainerPort,
    EnvFromSource,
    EnvSource,
    EnvVar,
    EnvVarSource,
    ExecAction,
    HostAlias,
    KeySelector,
    Lifecycle,
    LifecycleHandler,
    ObjectFieldSelector,
    PodSecurityContext,
    Probe,
    ResourceFieldSelector,
    ResourceRequirements,
    SecurityContext,
    SleepAction,
    VolumeMount,
)
from kubeapi.volume import ConfigMapVolumeSource, EmptyDirVolumeSource, Volume
from lab.images import SHELL_IMAGE
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod


async def test_a_pod_runs_and_says_so(host: PodHost) -> None:
    uid = host.create(new_pod("echo hello", FOREVER))
    await host.wait(lambda: host.is_ready(uid))
    status = host.status(uid)
    (container,) = status.container_statuses
    assert status.phase == "Running"
    assert status.pod_ip.startswith("10.244.")
    assert (container.ready, container.started, container.restart_count) == (True, True, 0)
    assert container.container_id.startswith("containerd://")
    assert container.image == SHELL_IMAGE
    pod = host.api.pods[uid]
    await host.wait(lambda: host.read_log(pod) == "hello")
    reasons = [event.reason for event in host.events.events]
    assert reasons == ["Pulled", "Created", "Started"]


async def test_deletion_leaves_nothing_on_the_machine(host: PodHost) -> None:
    uid = host.create(new_pod(FOREVER, volumes=(Volume(name="tmp", empty_dir=EmptyDirVolumeSource()),)))
    await host.wait(lambda: host.is_ready(uid))
    assert len(await host.find_leftovers(uid)) > 5  # the search finds what there is
    begun = time.monotonic()
    host.delete(uid, grace_seconds=20)
    await host.wait_until_gone(uid)
    assert time.monotonic() - begun < 5
    assert host.status(uid).phase == "Succeeded"
    await asyncio.sleep(0.2)
    assert await host.find_leftovers(uid) == []


async def test_environment_files_and_names_are_those_of_kubernetes(host: PodHost) -> None:
    host.config.config_maps[ObjectKey("default", "settings")] = {"COLOR": b"blue", "file.txt": b"text"}
    host.config.secrets[ObjectKey("default", "keys")] = {"token": b"s3cret"}
    env = (
        EnvVar(name="GREETING", value="hi $(COLOR_COPY) $$(X) $(UNKNOWN)"),
        EnvVar(name="IP", value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path="status.podIP"))),
        EnvVar(name="TOKEN", value_from=EnvVarSource(secret_key_ref=KeySelector(name="keys", key="token"))),
        EnvVar(
            name="CPU",
            value_from=EnvVarSource(resource_field_ref=ResourceFieldSelector(resource="limits.cpu")),
        ),
    )
    copy = EnvVar(
        name="COLOR_COPY",
        value_from=EnvVarSource(config_map_key_ref=KeySelector(name="settings", key="COLOR")),
    )
    pod = new_pod(
        "echo $GREETING; echo $IP; echo $TOKEN; echo $CPU; echo $PRE_COLOR; echo $WEB_SERVICE_HOST",
        "cat /etc/config/file.txt; echo; hostname; grep -c 1.2.3.4 /etc/hosts",
        "cat /etc/resolv.conf; tail -n 1 /etc/hosts | head -c 7; sleep 0.2",
        FOREVER,
        container={
            "env": (copy, *env),
            "env_from": (EnvFromSource(prefix="PRE_", config_map_ref=EnvSource(name="settings")),),
            "resources": ResourceRequirements(limits={"cpu": "2"}),
            "volume_mounts": (VolumeMount(name="config", mount_path="/etc/config"),),
        },
        volumes=(Volume(name="config", config_map=ConfigMapVolumeSource(name="settings")),),
        host_aliases=(HostAlias(ip="1.2.3.4", hostnames=("other",)),),
    )
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    await host.wait(lambda: len(host.read_log(pod).splitlines()) > 11)
    lines = host.read_log(pod).splitlines()
    assert lines[:8] == [
        "hi blue $(X) $(UNKNOWN)",
        host.status(uid).pod_ip,
        "s3cret",
        "2",
        "blue",
        "10.96.0.10",
        "text",
        "web",
    ]
    assert lines[8] == "1"
    assert "nameserver 10.96.0.10" in lines
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in lines
    assert "options ndots:5" in lines


async def test_a_crash_is_told_and_backed_off(host: PodHost) -> None:
    command = "echo why > /dev/termination-log; exit 5"
    uid = host.create(new_pod(command))
    await host.wait(lambda: host.status(uid).container_statuses != ())
    await host.wait(lambda: host.status(uid).container_statuses[0].restart_count == 1)

    def is_waiting() -> bool:
        waiting = host.status(uid).container_statuses[0].state.waiting
        return waiting is not None and waiting.reason == "CrashLoopBackOff"

    await host.wait(is_waiting)
    last = host.status(uid).container_statuses[0].last_state.terminated
    assert last is not None
    assert (last.exit_code, last.reason, last.message.strip()) == (5, "Error", "why")


async def test_the_log_stands_in_for_a_missing_termination_message(host: PodHost) -> None:
    pod = new_pod(
        "echo last words; exit 1",
        container={"termination_message_policy": "FallbackToLogsOnError"},
        restart_policy="Never",
    )
    uid = host.create(pod)
    await host.wait(lambda: host.status(uid).phase == "Failed")
    ended = host.status(uid).container_statuses[0].state.terminated
    assert ended is not None
    assert ended.message == "last words\n"


async def test_too_much_memory_is_an_oom_kill(host: PodHost) -> None:
    pod = new_pod(
        "tail /dev/zero",
        container={"resources": ResourceRequirements(limits={"memory": "16Mi"})},
        restart_policy="Never",
    )
    uid = host.create(pod)
    await host.wait(lambda: host.status(uid).phase == "Failed")
    ended = host.status(uid).container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


async def test_a_program_that_is_absent_shows_why(host: PodHost) -> None:
    pod = new_pod()
    missing = Container(name="main", image=SHELL_IMAGE, command=("/no/such/program",))
    uid = host.create(new_pod(containers=(missing,), restart_policy="Never"))
    await host.wait(lambda: host.status(uid).phase == "Failed")
    ended = host.status(uid).container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (128, "StartError")
    assert "no such file or directory" in ended.message
    assert pod.uid != uid


async def test_an_image_that_is_nowhere_is_named(host: PodHost) -> None:
    absent = Container(name="main", image="berth.local/absent:1", image_pull_policy="Never")
    uid = host.create(new_pod(containers=(absent,)))

    def reason() -> str:
        statuses = host.status(uid).container_statuses
        waiting = statuses[0].state.waiting if statuses else None
        return waiting.reason if waiting else ""

    await host.wait(lambda: reason() == "ErrImageNeverPull")


async def test_init_containers_sidecars_and_apps_come_in_order(host: PodHost) -> None:
    def container(name: str, script: str, **more: Any) -> Container:
        mount = VolumeMount(name="shared", mount_path="/shared")
        return Container(
            name=name, image=SHELL_IMAGE, command=("sh", "-c", script), volume_mounts=(mount,), **more
        )

    note = "echo {0} >> /shared/order"
    stop_note = "trap 'echo {0} >> /shared/stops; exit 0' TERM; while :; do sleep 0.05; done"
    pod = new_pod(
        volumes=(Volume(name="shared", empty_dir=EmptyDirVolumeSource()),),
        init_containers=(
            container("first", note.format("first")),
            container(
                "proxy", note.format("proxy") + "; " + stop_note.format("proxy"), restart_policy="Always"
            ),
            container("second", note.format("second")),
        ),
        containers=(container("main", note.format("main") + "; " + stop_note.format("main")),),
    )
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    directory = host.root / "pods" / uid / "volumes" / "kubernetes.io~empty-dir" / "shared"
    await host.wait(lambda: "main" in (directory / "order").read_text())
    assert (directory / "order").read_text().split() == ["first", "proxy", "second", "main"]
    stops = (directory / "stops").open("w+")
    host.delete(uid, grace_seconds=10)
    await host.wait_until_gone(uid)
    stops.seek(0)
    assert stops.read().split() == ["main", "proxy"]
    stops.close()


async def test_hooks_run_and_the_grace_period_covers_them(host: PodHost) -> None:
    hooks = Lifecycle(
        post_start=LifecycleHandler(exec=ExecAction(command=("sh", "-c", "echo hello > /proc/1/fd/1"))),
        pre_stop=LifecycleHandler(sleep=SleepAction(seconds=1)),
    )
    pod = new_pod(FOREVER, container={"lifecycle": hooks})
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    assert host.read_log(pod) == "hello"
    begun = time.monotonic()
    host.delete(uid, grace_seconds=10)
    await host.wait_until_gone(uid)
    assert 1 <= time.monotonic() - begun < 5


async def test_probes_decide_about_readiness_and_restarts(host: PodHost) -> None:
    readiness = Probe(exec=ExecAction(command=("test", "-e", "/tmp/ready")), period_seconds=1)
    liveness = Probe(
        exec=ExecAction(command=("test", "!", "-e", "/tmp/dead")),
        period_seconds=1,
        failure_threshold=1,
    )
    pod = new_pod(FOREVER, container={"readiness_probe": readiness, "liveness_probe": liveness})
    uid = host.create(pod)
    await host.wait(lambda: host.status(uid).phase == "Running")
    assert not host.is_ready(uid)
    handle = host.lanes.find_container(ObjectKey("default", "web"), "", "", previous=False)
    assert handle is not None
    await host.client.exec_sync(handle.container_id, ("touch", "/tmp/ready"), 5)
    await host.wait(lambda: host.is_ready(uid))
    await host.client.exec_sync(handle.container_id, ("touch", "/tmp/dead"), 5)
    await host.wait(lambda: host.status(uid).container_statuses[0].restart_count == 1)
    previous = host.lanes.find_container(ObjectKey("default", "web"), uid, "main", previous=True)
    assert previous is not None
    assert previous.container_id == handle.container_id


async def test_security_settings_reach_the_process(host: PodHost) -> None:
    pod = new_pod(
        "id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; touch /x 2>&1 | tail -n 1",
        "grep CapEff /proc/self/status",
        FOREVER,
        container={
            "security_context": SecurityContext(
                run_as_user=1234,
                run_as_non_root=True,
                read_only_root_filesystem=True,
                allow_privilege_escalation=False,
            )
        },
        security_context=PodSecurityContext(run_as_group=55, supplemental_groups=(66,), fs_group=77),
    )
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    await host.wait(lambda: len(host.read_log(pod).splitlines()) == 6)
    lines = host.read_log(pod).splitlines()
    assert lines[:3] == ["1234", "55", "55 66 77"]
    assert lines[3].split() == ["NoNewPrivs:", "1"]
    assert "Read-only file system" in lines[4]
    assert lines[5].split()[1] == "0" * 16


async def test_root_is_refused_where_it_must_not_be(host: PodHost) -> None:
    refused = SecurityContext(run_as_non_root=True)
    uid = host.create(new_pod(FOREVER, container={"security_context": refused}))

    def message() -> str:
        statuses = host.status(uid).container_statuses
        waiting = statuses[0].state.waiting if statuses else None
        return f"{waiting.reason}: {waiting.message}" if waiting else ""

    await host.wait(lambda: "image will run as root" in message())
    assert message().startswith("CreateContainerConfigError")


async def test_a_pod_on_the_host_network_has_the_nodes_address(host: PodHost) -> None:
    ports = (ContainerPort(container_port=8080, host_port=8080),)
    uid = host.create(new_pod(FOREVER, container={"ports": ports}, host_network=True))
    await host.wait(lambda: host.is_ready(uid))
    assert host.status(uid).pod_ip == str(host.node.ip)
    (running,) = host.lanes.running_pods()
    assert (running.host_network, running.host_ports) == (True, ())


async def test_resources_reach_the_kernel(host: PodHost) -> None:
    resources = ResourceRequirements(
        requests={"cpu": "250m", "memory": "32Mi"}, limits={"cpu": "500m", "memory": "64Mi"}
    )
    uid = host.create(new_pod(FOREVER, container={"resources": resources}))
    await host.wait(lambda: host.is_ready(uid))
    assert host.status(uid).qos_class == "Burstable"
    handle = host.lanes.find_container(ObjectKey("default", "web"), uid, "main", previous=False)
    assert handle is not None
    result = await host.client.exec_sync(handle.container_id, ("cat", "/proc/self/cgroup"), 5)
    assert f"/kubepods/burstable/pod{uid}/".encode() in result.stdout


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
async def test_an_agent_that_dies_while_a_pod_starts_makes_nothing_twice(
    host: PodHost, seconds: float
) -> None:
    uid = host.create(new_pod(FOREVER))
    await asyncio.sleep(seconds)
    await host.crash()
    host.start()
    await host.wait(lambda: host.is_ready(uid))
    await asyncio.sleep(1.2)
    assert len([s for s in await host.client.list_pod_sandboxes(uid) if s.ready]) == 1
    # A start that the death cut short may have failed inside the runtime, and then is done again.
    states = [container.state for container in await host.client.list_containers(uid)]
    assert states.count(ContainerState.RUNNING) == 1
    assert len(states) <= 2


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.06, 0.1, 0.15])
async def test_an_agent_that_dies_while_a_pod_ends_finishes_later(host: PodHost, seconds: float) -> None:
    uid = host.create(new_pod(FOREVER))
    await host.wait(lambda: host.is_ready(uid))
    host.delete(uid, grace_seconds=5)
    await asyncio.sleep(seconds)
    await host.crash()
    host.start()
    await host.wait_until_gone(uid)
    await asyncio.sleep(0.3)
    assert await host.find_leftovers(uid) == []


async def test_a_restart_of_the_agent_changes_nothing(host: PodHost) -> None:
    readiness = Probe(exec=ExecAction(command=("true",)), period_seconds=30)
    uids = [
        host.create(new_pod(FOREVER, name=f"web-{number}", container={"readiness_probe": readiness}))
        for number in range(3)
    ]
    await host.wait(lambda: all(map(host.is_ready, uids)))
    before = {container.id for container in await host.client.list_containers()}
    await asyncio.sleep(0.3)
    writes = {uid: len(host.api.history[uid]) for uid in uids}
    for _ in range(5):
        await host.crash()
        host.start()
        await asyncio.sleep(0.7)
    assert {container.id for container in await host.client.list_containers()} == before
    assert {uid: len(host.api.history[uid]) for uid in uids} == writes


async def test_a_runtime_that_restarts_loses_no_pod(host: PodHost) -> None:
    uid = host.create(new_pod(FOREVER))
    await host.wait(lambda: host.is_ready(uid))
    before = {container.id for container in await host.client.list_containers(uid)}
    host.node.kill_containerd()
    await asyncio.sleep(0.5)
    late = host.create(new_pod(FOREVER, name="late"))
    await asyncio.to_thread(host.node.start_containerd)
    await host.wait(lambda: host.is_ready(late), seconds=60)
    assert {container.id for container in await host.client.list_containers(uid)} == before
    assert host.is_ready(uid)
