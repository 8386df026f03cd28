"""A ConfigMap that many pods share, edited again and again: how soon each pod sees it, and never a mix.

A shell on a lab of one node. Each edit writes one number under two keys; a loop in each pod reads both from
the volume's present content and prints them when they change. The times are those of the container logs,
which the runtime writes on the same clock. `measure_edits` is used by the tests too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.options import BenchOptions
from bench.report import Figure, Ratio, Report, Samples
from kubeapi.client import Client, PatchType
from kubeapi.errors import Unreachable
from kubeapi.kubeconfig import read_kubeconfig
from kubeapi.pod import Pod
from kubeapi.resources import CONFIG_MAPS, PODS
from kubeapi.watch_stream import WatchEventType
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.images import SHELL_IMAGE

AIM_SECONDS: Final = 2.0
POD_COUNT: Final = 20
_EDITS_PER_COUNT: Final = 5
_NAME: Final = "edited"
_LABEL: Final = "bench=config-edits"
_START_SECONDS: Final = 120
_SEEN_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.5
# Waits without a process of its own: twenty loops must not be what the machine is busy with.
_READER: Final = """
exec 9<> <(:)
seen=
while :; do
  if cd -P /config/..data && read -r one < one && read -r other < other; then
    [ "$one $other" = "$seen" ] || { seen="$one $other"; echo "$seen"; }
  fi 2>/dev/null
  read -r -t 0.05 -u 9
done
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of a pod's loop: when it was printed, and what both keys held."""

    at: float
    one: int
    other: int


@dataclass(frozen=True, slots=True)
class EditFindings:
    """Seconds from each edit's answer until each pod showed it, or a later one; how often keys disagreed."""

    delays: tuple[float, ...]
    mixed: int


def run(options: BenchOptions) -> Report:
    """Twenty pods; five edits for each sample that is asked for."""
    with running_cluster(ClusterSettings(name="bench-edits", bound_to_this_process=True)) as cluster:
        return asyncio.run(_measure(cluster, options.count * _EDITS_PER_COUNT))


async def _measure(cluster: Cluster, edits: int) -> Report:
    async with Client(read_kubeconfig(cluster.kubeconfig), user_agent="berth-bench") as client:
        return build_report(await measure_edits(cluster, client, "default", pods=POD_COUNT, edits=edits))


def build_report(findings: EditFindings) -> Report:
    seen = Samples("edit answered → seen in a pod", findings.delays)
    return Report(
        "config-edits",
        samples=(seen,),
        ratios=(
            Ratio(f"p99 over {AIM_SECONDS:g} s", seen.percentile(99) / AIM_SECONDS, 1.0),
            Ratio("readings that mixed two versions", float(findings.mixed), 0.0),
        ),
        figures=(Figure("readings", float(len(findings.delays)), ""),),
    )


async def measure_edits(
    cluster: Cluster, client: Client, namespace: str, *, pods: int, edits: int
) -> EditFindings:
    """Makes the pods on the first node, edits their ConfigMap, and takes all of it away again.

    Raises Unreachable when a pod doesn't start, or doesn't show an edit, in time.
    """
    await client.create(CONFIG_MAPS, _build_config_map(0), namespace)
    try:
        made = [await _start_pod(client, namespace, cluster.nodes[0].name, index) for index in range(pods)]
        await _wait_until_ready(client, namespace, pods)
        logs = [_find_log(cluster, pod) for pod in made]
        answered = [await _edit(client, namespace, number + 1) for number in range(edits)]
        return build_findings(answered, [await _read_until(log, edits) for log in logs])
    finally:
        await client.delete(CONFIG_MAPS, _NAME, namespace)
        await _remove_pods(client, namespace)


def build_findings(answered: Sequence[float], pods: Iterable[Sequence[Reading]]) -> EditFindings:
    """`answered`: when the edits 1, 2, … were taken. Raises ValueError for one that a pod never saw."""
    delays: list[float] = []
    mixed = 0
    for readings in pods:
        mixed += sum(reading.one != reading.other for reading in readings)
        for number, at in enumerate(answered, start=1):
            seen = min((reading.at for reading in readings if reading.one >= number), default=None)
            if seen is None:
                raise ValueError(f"a pod never showed the edit {number}")
            delays.append(max(0.0, seen - at))
    return EditFindings(tuple(delays), mixed)


def parse_readings(log: str) -> tuple[Reading, ...]:
    """The lines of a container log in CRI's format that hold two numbers."""
    readings = []
    for line in log.splitlines():
        match line.split():
            case [instant, "stdout", _, one, other] if one.isdecimal() and other.isdecimal():
                readings.append(Reading(_parse_instant(instant), int(one), int(other)))
    return tuple(readings)


def _parse_instant(text: str) -> float:
    """RFC 3339 with nine digits of fraction, three more than Python reads."""
    whole, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return datetime.fromisoformat(whole + rest[digits:]).timestamp() + float(f"0.{rest[:digits] or 0}")


# --- objects ------------------------------------------------------------------------------------------------


def _build_config_map(number: int) -> Mapping[str, Any]:
    return {"metadata": {"name": _NAME}, "data": {"one": f"{number}\n", "other": f"{number}\n"}}


async def _edit(client: Client, namespace: str, number: int) -> float:
    """When the API server had taken it."""
    patch = {"data": _build_config_map(number)["data"]}
    await client.patch(CONFIG_MAPS, patch, _NAME, namespace, patch_type=PatchType.MERGE)
    at = time.time()
    await asyncio.sleep(_PAUSE_SECONDS)
    return at


async def _start_pod(client: Client, namespace: str, node: str, index: int) -> Pod:
    reader = {
        "name": "reader",
        "image": SHELL_IMAGE,
        "command": ["/sbin/catatonit", "--", "bash", "-c", _READER],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }
    key, _, value = _LABEL.partition("=")
    document = {
        "metadata": {"name": f"{_NAME}-{index}", "labels": {key: value}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [reader],
            "volumes": [{"name": "config", "configMap": {"name": _NAME}}],
        },
    }
    return await client.create(PODS, document, namespace)


async def _wait_until_ready(client: Client, namespace: str, count: int) -> None:
    def is_ready(pod: Pod) -> bool:
        return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)

    await _follow(client, namespace, lambda pods: sum(map(is_ready, pods)) == count, "Ready")


async def _remove_pods(client: Client, namespace: str) -> None:
    listed = await client.list(PODS, namespace, label_selector=_LABEL)
    for pod in listed.items:
        await client.delete(PODS, pod.metadata.name, namespace)
    await _follow(client, namespace, lambda pods: not pods, "gone")


async def _follow(
    client: Client, namespace: str, is_done: Callable[[Collection[Pod]], bool], what: str
) -> None:
    listed = await client.list(PODS, namespace, label_selector=_LABEL)
    pods = {pod.uid: pod for pod in listed.items}
    if is_done(pods.values()):
        return
    watch = client.watch(
        PODS, namespace, resource_version=listed.metadata.resource_version, label_selector=_LABEL
    )
    async with asyncio.timeout(_START_SECONDS), aclosing(watch) as events:
        async for event in events:
            pods.pop(event.object.uid, None)
            if event.type in (WatchEventType.ADDED, WatchEventType.MODIFIED):
                pods[event.object.uid] = event.object
            if is_done(pods.values()):
                return
    raise Unreachable(f"the watch ended before all pods were {what}")


# --- logs ---------------------------------------------------------------------------------------------------


def _find_log(cluster: Cluster, pod: Pod) -> Path:
    meta = pod.metadata
    directory = cluster.nodes[0].paths.pod_logs_directory / f"{meta.namespace}_{meta.name}_{meta.uid}"
    return directory / "reader/0.log"


async def _read_until(log: Path, number: int) -> tuple[Reading, ...]:
    """All readings, once the last edit is among them."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        readings = parse_readings(await asyncio.to_thread(log.read_text))
        if any(reading.one >= number for reading in readings):
            return readings
        if time.monotonic() > deadline:
            raise Unreachable(
                f"{log} doesn't show the edit {number} after {_SEEN_SECONDS:g} s: {readings[-1:]}"
            )
        await asyncio.sleep(0.1)
