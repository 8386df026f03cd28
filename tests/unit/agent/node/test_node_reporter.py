"""The reporter and the Lease against an API server in memory."""

from __future__ import annotations

import asyncio
import copy
import socket
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import pytest

from agent.node.address import NoNodeAddress, choose_node_ip, parse_node_ips
from agent.node.api import KubeNodeApi
from agent.node.facts import MachineFacts
from agent.node.lease import LeaseKeeper
from agent.node.reporter import NodeReporter
from agent.node.status import NodeIdentity
from agent.runtime.errors import RuntimeServiceError, RuntimeUnavailable
from agent.runtime.values import (
    HandlerFeatures,
    RuntimeCondition,
    RuntimeFeatures,
    RuntimeImage,
    RuntimeVersion,
)
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import NODES
from kubeapi.status import Reason
from tests.builders import NOW
from tests.fakes.fake_api import FakeApi

_GI = 1024**3
FACTS = MachineFacts(4, 8 * _GI, 4 * _GI, 100 * _GI, 50 * _GI, 0, 0, "m", "u", "b", "6.18", "Debian", "amd64")
IDENTITY = NodeIdentity("node-1", "192.0.2.10", 10250, 110, {})


class _Runtime:
    def __init__(self) -> None:
        self.network_ready = True
        self.trouble: RuntimeServiceError | None = None
        self.looks = 0

    async def read_version(self) -> RuntimeVersion:
        return RuntimeVersion("containerd", "v1.6.20", "v1")

    async def read_conditions(self) -> tuple[RuntimeCondition, ...]:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        network = RuntimeCondition("NetworkReady", self.network_ready, "NetworkPluginNotReady", "no conf")
        return (RuntimeCondition("RuntimeReady", True, "", ""), network)

    async def read_features(self) -> RuntimeFeatures:
        return RuntimeFeatures({"": HandlerFeatures(user_namespaces=True)}, supplemental_groups_policy=True)

    async def list_images(self) -> tuple[RuntimeImage, ...]:
        return (RuntimeImage("i", ("web:1",), (), 5, None, ""),)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    async with api.serve():
        yield api


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with Client(ClientConfig(server=api.url), user_agent="test") as client:
        yield client


def _now() -> datetime:
    return NOW


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it never came to hold")


def _reporter(client: Client, runtime: _Runtime) -> NodeReporter:
    return NodeReporter(KubeNodeApi(client), runtime, IDENTITY, lambda: FACTS, _now)


def _ready(api: FakeApi) -> str:
    node = api.read("v1/nodes", "node-1")
    assert node is not None
    return next(str(each["status"]) for each in node["status"]["conditions"] if each["type"] == "Ready")


async def test_registers_and_then_has_nothing_to_say(api: FakeApi, client: Client) -> None:
    reporter = _reporter(client, _Runtime())
    await reporter.look()
    assert _ready(api) == "True"
    assert reporter.is_ready
    assert reporter.node_uid
    assert reporter.allocatable()["cpu"] == "4"
    requests = len(api.requests)
    await reporter.look()
    assert len(api.requests) == requests


async def test_adopts_a_node_that_is_there(api: FakeApi, client: Client) -> None:
    theirs = {"type": "NetworkUnavailable", "status": "False"}
    api.put(
        "v1/nodes",
        {
            "metadata": {"name": "node-1", "labels": {"theirs": "1"}},
            "spec": {"podCIDR": "10.244.1.0/24"},
            "status": {"conditions": [theirs]},
        },
    )
    await _reporter(client, _Runtime()).look()
    node = api.read("v1/nodes", "node-1")
    assert node is not None
    assert node["metadata"]["labels"]["theirs"] == "1"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert node["spec"] == {"podCIDR": "10.244.1.0/24"}
    assert _ready(api) == "True"


async def test_a_hint_makes_ready_at_once(api: FakeApi, client: Client) -> None:
    runtime = _Runtime()
    reporter = _reporter(client, runtime)
    task = asyncio.create_task(reporter.run())
    async with asyncio.timeout(10):
        await reporter.wait_until_registered()
        await _until(lambda: reporter.is_ready)
        # Ready now, so the next look is ten seconds away, unless there is a hint.
        runtime.network_ready = False
        reporter.look_again()
        await _until(lambda: not reporter.is_ready)
        runtime.network_ready = True
        await _until(lambda: reporter.is_ready)
    assert _ready(api) == "True"
    task.cancel()


async def test_a_runtime_that_is_away_makes_not_ready(api: FakeApi, client: Client) -> None:
    runtime = _Runtime()
    reporter = _reporter(client, runtime)
    await reporter.look()
    runtime.trouble = RuntimeUnavailable("nobody answers")
    await reporter.look()
    assert _ready(api) == "False"
    runtime.trouble = None
    await reporter.look()
    assert _ready(api) == "True"


async def test_pods_that_nobody_can_list_make_not_ready_with_the_kubelets_words(
    api: FakeApi, client: Client
) -> None:
    reporter = _reporter(client, _Runtime())
    stall = "PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s"
    reporter.watch_pods(lambda: stall)
    await reporter.look()
    node = api.read("v1/nodes", "node-1")
    assert node is not None
    (ready,) = (each for each in node["status"]["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["message"]) == ("False", stall)


async def test_images_that_cannot_be_listed_leave_the_node_ready(api: FakeApi, client: Client) -> None:
    class Hanging(_Runtime):
        async def list_images(self) -> tuple[RuntimeImage, ...]:
            raise RuntimeServiceError("ListImages got no answer")

    await _reporter(client, Hanging()).look()
    assert _ready(api) == "True"


def _overwrite(api: FakeApi) -> None:
    """As the node lifecycle controller does for a node that was silent for too long."""
    node = copy.deepcopy(api.read("v1/nodes", "node-1"))
    assert node is not None
    for condition in node["status"]["conditions"]:
        condition |= {"status": "Unknown", "reason": "NodeStatusUnknown"}
    api.put("v1/nodes", node)


async def _read_node(client: Client) -> Node:
    return await client.get(NODES, "node-1")


async def test_a_report_that_was_written_over_is_written_again(api: FakeApi, client: Client) -> None:
    reporter = _reporter(client, _Runtime())
    task = asyncio.create_task(reporter.run())
    await _until(lambda: reporter.is_ready)
    _overwrite(api)
    reporter.note_node(await _read_node(client))
    await _until(lambda: _ready(api) == "True")
    task.cancel()


async def test_after_a_recovery_the_node_is_read(api: FakeApi, client: Client) -> None:
    reporter = _reporter(client, _Runtime())
    task = asyncio.create_task(reporter.run())
    await _until(lambda: reporter.is_ready)
    _overwrite(api)
    reporter.note_recovery()
    await _until(lambda: _ready(api) == "True")
    task.cancel()


async def test_our_own_report_coming_back_writes_nothing(api: FakeApi, client: Client) -> None:
    runtime = _Runtime()
    reporter = _reporter(client, runtime)
    await reporter.look()
    older = await _read_node(client)
    runtime.network_ready = False
    await reporter.look()
    requests = len(api.requests)
    for node in (older, await _read_node(client)):
        reporter.note_node(node)
        await reporter.look()
    assert len(api.requests) == requests + 1, "only the test has asked"


async def test_a_deleted_node_is_registered_anew(api: FakeApi, client: Client) -> None:
    runtime = _Runtime()
    reporter = _reporter(client, runtime)
    await reporter.look()
    api.remove("v1/nodes", "node-1")
    runtime.network_ready = False  # something to report
    await reporter.look()
    await reporter.look()
    assert _ready(api) == "False"


async def test_goes_on_while_the_api_server_refuses(api: FakeApi, client: Client) -> None:
    api.fail_next(Reason.INTERNAL_ERROR, 500, times=2)
    reporter = _reporter(client, _Runtime())
    task = asyncio.create_task(reporter.run())
    async with asyncio.timeout(10):
        await reporter.wait_until_registered()
    task.cancel()


async def test_the_lease_is_made_and_renewed(api: FakeApi, client: Client) -> None:
    times = iter([NOW, NOW.replace(second=15), NOW.replace(second=25)])
    keeper = LeaseKeeper(KubeNodeApi(client), "node-1", lambda: next(times), lambda: "uid-1", lambda: None)
    await keeper.renew()
    lease = api.read("coordination.k8s.io/v1/leases", "node-1", "kube-node-lease")
    assert lease is not None
    assert lease["spec"] == {
        "holderIdentity": "node-1",
        "leaseDurationSeconds": 40,
        "renewTime": "2026-01-02T03:04:05.000000Z",
    }
    assert lease["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "uid-1"}
    ]
    requests = len(api.requests)
    await keeper.renew()
    assert len(api.requests) == requests + 1
    lease = api.read("coordination.k8s.io/v1/leases", "node-1", "kube-node-lease")
    assert lease is not None
    assert lease["spec"]["renewTime"] == "2026-01-02T03:04:15.000000Z"


async def test_the_lease_is_tried_again_soon_after_a_failure(api: FakeApi, client: Client) -> None:
    api.fail_next(Reason.INTERNAL_ERROR, 500, times=2)
    recovered = asyncio.Event()
    keeper = LeaseKeeper(KubeNodeApi(client), "node-1", _now, lambda: "", recovered.set)
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(10):
        await recovered.wait()
    assert api.read("coordination.k8s.io/v1/leases", "node-1", "kube-node-lease") is not None
    task.cancel()


async def test_the_nodes_address() -> None:
    assert await choose_node_ip("https://127.0.0.1:6443", "192.0.2.1") == "192.0.2.1"
    with pytest.raises(NoNodeAddress, match="not an IP address"):
        await choose_node_ip("https://127.0.0.1:6443", "node-1")
    assert await choose_node_ip("https://127.0.0.1:6443", "2001:db8::1,192.0.2.1") == "2001:db8::1"
    assert parse_node_ips("192.0.2.1, 2001:DB8::1") == ("192.0.2.1", "2001:db8::1")
    assert parse_node_ips("") == ()
    for wrong in ("192.0.2.1,192.0.2.2", "192.0.2.1,2001:db8::1,2001:db8::2"):
        with pytest.raises(NoNodeAddress, match="one of IPv4 and one of IPv6"):
            parse_node_ips(wrong)
    with pytest.raises(NoNodeAddress, match="looked up"):
        await choose_node_ip("https://name.invalid:6443")


async def test_a_server_on_loopback_does_not_make_loopback_the_address() -> None:
    found = await choose_node_ip("https://127.0.0.1:6443")
    assert socket.inet_aton(found)
