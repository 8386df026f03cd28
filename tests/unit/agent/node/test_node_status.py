"""What the Node object says, one changed fact at a time."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from agent.node.conditions import RuntimeView, build_conditions, build_ready
from agent.node.facts import MachineFacts, parse_os_release, read_machine_facts
from agent.node.status import (
    NodeIdentity,
    Observation,
    build_allocatable,
    build_node,
    build_status,
    is_ready,
    is_same_report,
    plan_label_patch,
    shows_report,
)
from agent.runtime.values import (
    HandlerFeatures,
    RuntimeCondition,
    RuntimeFeatures,
    RuntimeImage,
    RuntimeVersion,
)
from kubeapi.meta import Condition
from tests.builders import at, node

GI = 1024**3
FACTS = MachineFacts(
    cpus=4,
    memory_total_bytes=8 * GI,
    memory_available_bytes=4 * GI,
    disk_total_bytes=100 * GI,
    disk_available_bytes=50 * GI,
    inodes_total=1000,
    inodes_available=500,
    machine_id="machine",
    system_uuid="uuid",
    boot_id="boot",
    kernel_version="6.18.0",
    os_image="Debian GNU/Linux 12 (bookworm)",
    architecture="amd64",
)
IDENTITY = NodeIdentity("node-1", "192.0.2.10", 10250, 110, {"team": "blue"})
GOOD = RuntimeView(
    (RuntimeCondition("RuntimeReady", True, "", ""), RuntimeCondition("NetworkReady", True, "", ""))
)
NO_NETWORK = RuntimeView(
    (
        RuntimeCondition("RuntimeReady", True, "", ""),
        RuntimeCondition("NetworkReady", False, "NetworkPluginNotReady", "cni plugin not initialized"),
    )
)
LOOK = Observation(FACTS, GOOD, RuntimeVersion("containerd", "v1.6.20", "v1"), ())


def test_a_healthy_node_has_the_kubelets_conditions() -> None:
    conditions = build_conditions(FACTS, GOOD, {}, at(0))
    assert [(each.type, each.status, each.reason, each.message) for each in conditions] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            replace(FACTS, memory_available_bytes=99 * 1024**2),
            ("MemoryPressure", "KubeletHasInsufficientMemory"),
        ),
        (replace(FACTS, disk_available_bytes=9 * GI), ("DiskPressure", "KubeletHasDiskPressure")),
        (replace(FACTS, inodes_available=49), ("DiskPressure", "KubeletHasDiskPressure")),
    ],
)
def test_pressure(facts: MachineFacts, expected: tuple[str, str]) -> None:
    conditions = build_conditions(facts, GOOD, {}, at(0))
    pressing = [
        (each.type, each.reason) for each in conditions if each.type != "Ready" and each.status == "True"
    ]
    assert pressing == [expected]


def test_a_file_system_without_inodes_has_no_pressure() -> None:
    conditions = build_conditions(replace(FACTS, inodes_total=0, inodes_available=0), GOOD, {}, at(0))
    assert conditions[1].status == "False"


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (
            NO_NETWORK,
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
            "message:cni plugin not initialized",
        ),
        (RuntimeView(trouble="no socket"), "container runtime is down: no socket"),
        (
            RuntimeView(),
            "[container runtime not ready: the runtime doesn't report RuntimeReady, "
            "container runtime network not ready: the runtime doesn't report NetworkReady]",
        ),
    ],
)
def test_not_ready_says_why(view: RuntimeView, message: str) -> None:
    expected = Condition(type="Ready", status="False", reason="KubeletNotReady", message=message)
    assert build_ready(view) == expected


def test_the_time_of_transition_moves_only_with_the_status() -> None:
    first = {each.type: each for each in build_conditions(FACTS, GOOD, {}, at(0))}
    second = {each.type: each for each in build_conditions(FACTS, NO_NETWORK, first, at(10))}
    assert (second["Ready"].last_transition_time, second["Ready"].last_heartbeat_time) == (at(10), at(10))
    assert (second["DiskPressure"].last_transition_time, second["DiskPressure"].last_heartbeat_time) == (
        at(0),
        at(10),
    )


def test_the_status_as_json() -> None:
    document = msgspec.json.decode(msgspec.json.encode(build_status(IDENTITY, LOOK, None, at(0))))
    del document["conditions"]
    assert document == {
        "capacity": {"cpu": "4", "memory": "8388608Ki", "ephemeral-storage": "104857600Ki", "pods": "110"},
        "allocatable": {"cpu": "4", "memory": "8286208Ki", "ephemeral-storage": "96636764160", "pods": "110"},
        "addresses": [
            {"type": "InternalIP", "address": "192.0.2.10"},
            {"type": "Hostname", "address": "node-1"},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": "machine",
            "systemUUID": "uuid",
            "bootID": "boot",
            "kernelVersion": "6.18.0",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "containerRuntimeVersion": "containerd://1.6.20",
            "kubeletVersion": "v1.36.0+berth",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }


def test_a_heartbeat_alone_is_no_news() -> None:
    first = build_status(IDENTITY, LOOK, None, at(0))
    later = build_status(IDENTITY, LOOK, first, at(300))
    assert first != later
    assert is_same_report(first, later)
    assert not is_same_report(first, build_status(IDENTITY, replace(LOOK, runtime=NO_NETWORK), first, at(1)))


def test_a_runtime_that_cannot_be_asked_keeps_its_version() -> None:
    first = build_status(IDENTITY, LOOK, None, at(0))
    away = replace(LOOK, version=None, runtime=RuntimeView(trouble="gone"))
    later = build_status(IDENTITY, away, first, at(1))
    assert later.node_info == first.node_info
    assert (is_ready(first), is_ready(later)) == (True, False)


def test_the_largest_images_come_first() -> None:
    images = tuple(RuntimeImage(f"i{size}", (f"t{size}",), (), size, None, "") for size in (1, 3, 2))
    nameless = RuntimeImage("none", (), (), 9, None, "")
    status = build_status(IDENTITY, replace(LOOK, images=(*images, nameless)), None, at(0))
    assert [(image.names, image.size_bytes) for image in status.images] == [
        (("t3",), 3),
        (("t2",), 2),
        (("t1",), 1),
    ]


def test_registration_and_labels() -> None:
    document = build_node(IDENTITY, LOOK, at(0))
    labels = {
        "team": "blue",
        "kubernetes.io/hostname": "node-1",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
    }
    assert document["metadata"] == {"name": "node-1", "labels": labels}
    assert plan_label_patch(IDENTITY, FACTS, node(metadata={"labels": {**labels, "theirs": "1"}})) is None
    patch = plan_label_patch(IDENTITY, FACTS, node(metadata={"labels": {**labels, "team": "red"}}))
    assert patch == {"metadata": {"labels": {"team": "blue"}}}


def test_os_release() -> None:
    text = '# comment\nNAME="Debian GNU/Linux"\nPRETTY_NAME="Debian \\"12\\""\nID=debian\n'
    assert parse_os_release(text) == {
        "NAME": "Debian GNU/Linux",
        "PRETTY_NAME": 'Debian "12"',
        "ID": "debian",
    }


def test_the_facts_of_this_machine(tmp_path: object) -> None:
    from pathlib import Path

    facts = read_machine_facts(Path(str(tmp_path)) / "not/yet/there")
    assert facts.cpus >= 1
    assert 0 < facts.memory_available_bytes <= facts.memory_total_bytes
    assert 0 < facts.disk_available_bytes <= facts.disk_total_bytes
    assert facts.kernel_version
    assert len(facts.boot_id) == 36
    assert build_allocatable(facts, 110)["pods"] == "110"


def test_a_report_shows_until_one_of_its_conditions_says_something_else() -> None:
    reported = build_status(IDENTITY, LOOK, None, at(0))
    theirs = Condition(type="NetworkUnavailable", status="False")
    with_theirs = msgspec.structs.replace(reported, conditions=(theirs, *reported.conditions))
    unknown = tuple(
        msgspec.structs.replace(each, status="Unknown", reason="NodeStatusUnknown")
        if each.type == "Ready"
        else each
        for each in reported.conditions
    )
    assert shows_report(with_theirs, reported)
    assert shows_report(build_status(IDENTITY, LOOK, None, at(60)), reported), "times don't count"
    assert not shows_report(msgspec.structs.replace(reported, conditions=unknown), reported)
    assert not shows_report(msgspec.structs.replace(reported, conditions=()), reported)


def test_the_runtimes_features_are_reported() -> None:
    handlers = {"runc": HandlerFeatures(user_namespaces=True), "": HandlerFeatures(recursive_read_only=True)}
    features = RuntimeFeatures(handlers, supplemental_groups_policy=True)
    status = msgspec.to_builtins(build_status(IDENTITY, replace(LOOK, features=features), None, at(0)))
    assert status["features"] == {"supplementalGroupsPolicy": True}
    assert list(status["runtimeHandlers"]) == [
        {"name": "", "features": {"recursiveReadOnlyMounts": True}},
        {"name": "runc", "features": {"userNamespaces": True}},
    ]
