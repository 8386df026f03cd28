"""What probes say of a container together, and what a restarted agent takes over."""

from __future__ import annotations

import pytest

from agent.pods.ports import ContainerID, ProbeKind, ProbeVerdict
from agent.probes.address import AddressRefused, HTTPRequest, build_http_request, resolve_port
from agent.probes.verdict import compute_stored_results, compute_verdict, list_probes
from kubeapi.meta import IntOrString
from kubeapi.pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStatus,
    HTTPGetAction,
    HTTPHeader,
    Probe,
    TCPSocketAction,
)
from tests.builders import container, pod

_ALL = tuple(ProbeKind)


@pytest.mark.parametrize(
    ("kinds", "results", "expected"),
    [
        ((), {}, ProbeVerdict(True, True, True)),
        (_ALL, {}, ProbeVerdict(False, False, True)),
        (_ALL, {ProbeKind.READINESS: True}, ProbeVerdict(False, False, True)),
        (_ALL, {ProbeKind.STARTUP: True, ProbeKind.READINESS: True}, ProbeVerdict(True, True, True)),
        (_ALL, {ProbeKind.STARTUP: False}, ProbeVerdict(False, False, False)),
        ((ProbeKind.LIVENESS,), {}, ProbeVerdict(True, True, True)),
        ((ProbeKind.LIVENESS,), {ProbeKind.LIVENESS: False}, ProbeVerdict(True, True, False)),
        ((ProbeKind.READINESS,), {ProbeKind.READINESS: False}, ProbeVerdict(True, False, True)),
    ],
)
def test_verdict(
    kinds: tuple[ProbeKind, ...], results: dict[ProbeKind, bool | None], expected: ProbeVerdict
) -> None:
    assert compute_verdict(kinds, results, {}) == expected


def test_the_gravest_message_is_shown() -> None:
    messages = {ProbeKind.READINESS: "r", ProbeKind.LIVENESS: "l"}
    assert compute_verdict(_ALL, {}, messages).message == "l"


def test_good_results_of_running_containers_are_taken_over() -> None:
    probed = container(
        readiness_probe=Probe(tcp_socket=TCPSocketAction(port=80)),
        startup_probe=Probe(tcp_socket=TCPSocketAction(port=80)),
    )
    running = ContainerState(running=ContainerStateRunning())
    status = ContainerStatus(
        name="web", container_id="containerd://c1", ready=True, started=True, state=running
    )
    subject = pod(spec={"containers": (probed,)}, status={"container_statuses": (status,)})
    identifier = ContainerID("c1")
    assert compute_stored_results([subject]) == {
        (identifier, ProbeKind.STARTUP): True,
        (identifier, ProbeKind.READINESS): True,
    }
    ended = ContainerStatus(name="web", container_id="containerd://c1", ready=True, started=True)
    assert (
        compute_stored_results([pod(spec={"containers": (probed,)}, status={"container_statuses": (ended,)})])
        == {}
    )


@pytest.mark.parametrize(("port", "expected"), [("http", 80), (8080, 8080), ("9090", 9090)])
def test_ports_have_names_or_numbers(port: IntOrString, expected: int) -> None:
    assert resolve_port(container(), port) == expected


@pytest.mark.parametrize("port", ["absent", 0, 70000])
def test_a_bad_port_is_refused(port: IntOrString) -> None:
    assert isinstance(resolve_port(container(), port), AddressRefused)


def test_a_request_from_an_action() -> None:
    action = HTTPGetAction(
        path="healthz?full=1", port="http", scheme="HTTPS", http_headers=(HTTPHeader(name="X", value="y"),)
    )
    request = build_http_request(container(), action, "fd00::1")
    assert request == HTTPRequest("https", "fd00::1", 80, "/healthz?full=1", (("X", "y"),))
    assert request.url == "https://[fd00::1]:80/healthz?full=1"
    elsewhere = build_http_request(container(), HTTPGetAction(port=1, host="example.com"), "10.0.0.1")
    assert isinstance(elsewhere, HTTPRequest)
    assert elsewhere.host == "example.com"


def test_a_zero_stands_for_the_default() -> None:
    given = Probe(
        timeout_seconds=0,
        period_seconds=0,
        success_threshold=0,
        failure_threshold=0,
        initial_delay_seconds=-1,
    )
    assert list_probes(container(liveness_probe=given)) == {ProbeKind.LIVENESS: Probe()}
