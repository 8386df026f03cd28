"""A pod that is gone has left nothing on its node: no mount, cgroup, file, address, container, link, rule."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from kubeapi.resources import CONFIG_MAPS, PODS, SECRETS
from lab.cgroups import list_cgroups
from lab.cluster import Cluster
from lab.runtime_node import RuntimeNode
from tests.cluster.scene import Scene, build_pod, build_shell, build_web

GONE_SECONDS = 5.0

Traces = Mapping[str, frozenset[str]]


def read_traces(node: RuntimeNode) -> Traces:
    """Everything on the node in which a pod can leave something."""
    paths = node.paths
    return {
        "mounts": frozenset(_list_mounts(node)),
        "cgroups": frozenset(each for each in list_cgroups() if f"{node.cgroup_root}/kubepods/" in each),
        "agent's files": frozenset(map(str, paths.agent_root.rglob("*"))),
        "logs": frozenset(map(str, paths.pod_logs_directory.rglob("*"))),
        "addresses": frozenset(map(str, paths.cni_state_directory.glob("*/10.*"))),
        "containers": frozenset(node.run(["ctr", "containers", "ls", "-q"]).stdout.split()),
        "links": frozenset(_list_links(node)),
        "rules": frozenset(node.run(["nft", "list", "ruleset"]).stdout.splitlines()),
    }


def _list_mounts(node: RuntimeNode) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target = line.split()[1]
        if f"/{node.paths.lab.mark}/{node.name}/" in target:
            yield target


def _list_links(node: RuntimeNode) -> Iterator[str]:
    for line in node.run(["ip", "-brief", "link"]).stdout.splitlines():
        yield line.split()[0]


def find_new(before: Traces, after: Traces) -> Mapping[str, list[str]]:
    return {what: sorted(items - before[what]) for what, items in after.items() if items - before[what]}


async def test_a_pod_leaves_nothing_behind(cluster: Cluster, scene: Scene) -> None:
    node = cluster.node("n1")
    await scene.start_pod(build_pod("earlier"))
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"a": "b"}})
    await scene.create(SECRETS, {"metadata": {"name": "keys"}, "stringData": {"a": "b"}})
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in ("disk", "memory", "settings", "keys")]
    before = await asyncio.to_thread(read_traces, node)

    await scene.start_pod(
        build_pod(
            "full",
            build_web(ports=[{"name": "http", "containerPort": 8080, "hostPort": 8098}], volumeMounts=mounts),
            build_shell("trap '' TERM; while :; do sleep 1; done"),
            build_shell(
                "[ -e /disk/once ] || { touch /disk/once; exit 1; }; sleep 86400",
                "restarted",
                volumeMounts=mounts,
            ),
            initContainers=[build_shell("exit 0", name="init")],
            volumes=[
                {"name": "disk", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory"}},
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "secret": {"secretName": "keys"}},
            ],
        )
    )
    during = find_new(before, await asyncio.to_thread(read_traces, node))
    assert during.keys() == before.keys(), "the test sees what a pod makes"
    await scene.delete_pod("full")
    await scene.wait_until_gone(PODS, "full")

    deadline = time.monotonic() + GONE_SECONDS
    while left := find_new(before, await asyncio.to_thread(read_traces, node)):
        assert time.monotonic() < deadline, left
