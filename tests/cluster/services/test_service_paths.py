"""Real packets from everywhere: to pods, cluster IPs and node ports, out of the cluster, to nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from tests.cluster.services.conftest import ASK, ECHO_PORT, OUTSIDE, SERVICE_PORT, Stage
from tests.cluster.traffic import Answer, Refused, ask_until_all_answered

ASKERS = ("a", "b", "c", "n1", "n2")
PODS = ("a", "b", "c")
AT_ONCE_SECONDS = 0.9  # a second is when a connection attempt is repeated

protocols = pytest.mark.parametrize("protocol", list(ASK))


def build_cluster_ip_ask(stage: Stage, asker: str, service: str, protocol: str) -> Callable[[], Answer]:
    netns, address = stage.netns[asker], stage.cluster_ip(service)
    return lambda: ASK[protocol](netns, address, SERVICE_PORT)


def ask_cluster_ip(stage: Stage, asker: str, service: str, protocol: str) -> Answer:
    return build_cluster_ip_ask(stage, asker, service, protocol)()


@protocols
@pytest.mark.parametrize("asker", PODS)
@pytest.mark.parametrize("server", ["a", "b"])
def test_a_pod_reaches_a_pod_and_is_seen_as_itself(
    stage: Stage, asker: str, server: str, protocol: str
) -> None:
    answer = ASK[protocol](stage.netns[asker], stage.ip(server), ECHO_PORT)

    assert answer == Answer(server, stage.ip(asker))


@protocols
@pytest.mark.parametrize("asker", PODS)
@pytest.mark.parametrize(("service", "server"), [("near", "a"), ("far", "b")])
def test_a_pod_reaches_a_service_and_is_seen_as_itself(
    stage: Stage, asker: str, service: str, server: str, protocol: str
) -> None:
    answer = ask_cluster_ip(stage, asker, service, protocol)

    assert answer.server == server
    if asker != server:
        assert answer.client == stage.ip(asker)


@protocols
@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize(("service", "server"), [("near", "a"), ("far", "b")])
def test_a_node_reaches_a_service_wherever_its_pod_is(
    stage: Stage, node: str, service: str, server: str, protocol: str
) -> None:
    assert ask_cluster_ip(stage, node, service, protocol).server == server


@protocols
@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize(("service", "server"), [("near", "a"), ("far", "b")])
def test_every_node_answers_on_the_node_port(
    stage: Stage, asker: str, node: str, service: str, server: str, protocol: str
) -> None:
    port = stage.node_port(service, protocol)

    assert ASK[protocol](stage.netns[asker], stage.ip(node), port).server == server


@protocols
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_machine_outside_the_cluster_reaches_the_node_port(stage: Stage, node: str, protocol: str) -> None:
    outside = stage.cluster.names.netns("server")
    port = stage.node_port("both", protocol)

    ask_until_all_answered(lambda: ASK[protocol](outside, stage.ip(node), port), {"a", "b"})


@protocols
@pytest.mark.parametrize("asker", ASKERS)
def test_requests_are_spread_over_all_endpoints(stage: Stage, asker: str, protocol: str) -> None:
    """Asked from `a` and `b`, one of the two is the asker itself: the hairpin."""
    ask_until_all_answered(build_cluster_ip_ask(stage, asker, "both", protocol), {"a", "b"})


@protocols
def test_what_leaves_the_cluster_comes_from_the_node(stage: Stage, protocol: str) -> None:
    outside = str(stage.cluster.addresses.server)

    answers = {asker: ASK[protocol](stage.netns[asker], outside, ECHO_PORT) for asker in PODS}

    assert answers == {
        "a": Answer(OUTSIDE, stage.ip("n1")),
        "b": Answer(OUTSIDE, stage.ip("n2")),
        "c": Answer(OUTSIDE, stage.ip("n1")),
    }


@protocols
def test_a_service_may_have_endpoints_outside_the_cluster(stage: Stage, protocol: str) -> None:
    assert ask_cluster_ip(stage, "c", "outside", protocol) == Answer(OUTSIDE, stage.ip("n1"))
    assert ask_cluster_ip(stage, "n2", "outside", protocol) == Answer(OUTSIDE, stage.ip("n2"))


@protocols
@pytest.mark.parametrize("asker", ASKERS)
def test_a_service_without_endpoints_refuses(stage: Stage, asker: str, protocol: str) -> None:
    with pytest.raises(Refused):
        ask_cluster_ip(stage, asker, "empty", protocol)
    with pytest.raises(Refused):
        ASK[protocol](stage.netns[asker], stage.ip("n1"), stage.node_port("empty", protocol))


@protocols
@pytest.mark.parametrize("asker", ASKERS)
def test_a_port_that_a_service_has_not_is_refused(
    stages: Mapping[str, Stage], asker: str, protocol: str
) -> None:
    """By nftables alone: in iptables mode such packets go their way, as they do with kube-proxy."""
    stage = stages["nftables"]

    with pytest.raises(Refused):
        ASK[protocol](stage.netns[asker], stage.cluster_ip("both"), SERVICE_PORT + 1)


def test_a_connection_is_refused_at_once(stage: Stage) -> None:
    started = time.monotonic()

    for asker in ASKERS:
        with pytest.raises(Refused):
            ask_cluster_ip(stage, asker, "empty", "TCP")

    assert time.monotonic() - started < AT_ONCE_SECONDS
