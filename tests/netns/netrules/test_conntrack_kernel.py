"""Stale UDP flows leave the kernel's connection tracker, and only those."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netrules import conntrack
from netrules.conntrack import StaleFlows
from netrules.conntrack_client import remove_stale_flows
from netrules.model import Family
from netrules.netlink_socket import NetlinkSocket
from tests.netns.netrules.scene import Lab, open_lab, run_in_namespace

SERVICE, OTHER = "10.96.0.2", "10.96.0.3"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab("nrc") as built:
        yield built


def _insert(lab: Lab, client: str, service: str, port: int, endpoint: str) -> None:
    source = str(1000 + port + 10 * (service == OTHER))  # no two flows may have the same answers
    original = ("-s", client, "-d", service, "--sport", source, "--dport", str(port))
    reply = ("-r", endpoint, "-q", client, "--reply-port-src", "5353", "--reply-port-dst", source)
    lab.run_command("node", "conntrack", "-I", "-p", "udp", *original, *reply, "-t", "60")


def _count(lab: Lab) -> int:
    return int(lab.run_command("node", "conntrack", "-C"))


def _fill(lab: Lab) -> None:
    for number in range(1, 6):
        _insert(lab, f"192.0.2.{number}", SERVICE, 53, f"10.244.1.{number}")
        _insert(lab, f"192.0.2.{number}", SERVICE, 54, "10.244.1.1")
        _insert(lab, f"192.0.2.{number}", OTHER, 53, "10.244.1.1")


def test_flows_to_endpoints_that_left_go_and_others_stay(lab: Lab) -> None:
    _fill(lab)
    gone = frozenset({("10.244.1.1", 5353), ("10.244.1.4", 5353)})
    flows = (StaleFlows(SERVICE, 53, to=gone),)
    before = _count(lab)
    assert lab.run_on_node(lambda: remove_stale_flows(flows, Family.IPV4)) == 2
    assert _count(lab) == before - 2
    assert lab.run_on_node(lambda: remove_stale_flows(flows, Family.IPV4)) == 0


def test_flows_that_went_elsewhere_go_when_endpoints_come(lab: Lab) -> None:
    _fill(lab)
    flows = (StaleFlows(SERVICE, 53, keep=frozenset({("10.244.1.2", 5353)})),)
    assert lab.run_on_node(lambda: remove_stale_flows(flows, Family.IPV4)) == 4


def test_the_kernel_itself_leaves_out_foreign_flows(lab: Lab) -> None:
    _fill(lab)

    def dumped() -> int:
        request = conntrack.encode_dump_request(StaleFlows(SERVICE, 53), Family.IPV4)
        with NetlinkSocket() as socket:
            return len(socket.dump(conntrack.GET, request))

    assert run_in_namespace(lab.namespace("node"), dumped) == 5
