"""gRPC statuses as our errors, CRI messages as our values, the socket that isn't there."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from agent.runtime.client import RuntimeClient
from agent.runtime.decode import (
    decode_container,
    decode_container_status,
    decode_sandbox,
    decode_sandbox_status,
)
from agent.runtime.errors import (
    RuntimeDeadlineExceeded,
    RuntimeNameReserved,
    RuntimeNotFound,
    RuntimeReadyOnRetry,
    RuntimeServiceError,
    RuntimeUnavailable,
    RuntimeUnimplemented,
    build_error,
)
from agent.runtime.values import ContainerState
from cri_proto.runtime.v1 import api_pb2 as cri

_CRIO_BUSY = (
    "Kubelet may be retrying requests that are timing out in CRI-O due to system load: context deadline "
    "exceeded: error reserving pod name k8s_web_default_u_0 for id abc: name is reserved"
)
_CRIO_READY = (
    "the requested pod sandbox k8s_web_default_u_0 is now ready and will be provided to the kubelet on next "
    "retry: error reserving pod name k8s_web_default_u_0 for id abc: name is reserved"
)
_RESERVED = 'failed to reserve sandbox name "web_default_u_0": name "web_default_u_0" is reserved for "abc"'


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", RuntimeUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", RuntimeDeadlineExceeded),
        (grpc.StatusCode.CANCELLED, "", RuntimeDeadlineExceeded),
        (grpc.StatusCode.NOT_FOUND, "no such container", RuntimeNotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "x", RuntimeNameReserved),
        (grpc.StatusCode.UNIMPLEMENTED, "x", RuntimeUnimplemented),
        (grpc.StatusCode.UNKNOWN, _RESERVED, RuntimeNameReserved),
        (grpc.StatusCode.UNKNOWN, _CRIO_BUSY, RuntimeNameReserved),
        (grpc.StatusCode.DEADLINE_EXCEEDED, _CRIO_BUSY, RuntimeNameReserved),
        (grpc.StatusCode.UNKNOWN, _CRIO_READY, RuntimeReadyOnRetry),
        (grpc.StatusCode.UNKNOWN, "rpc: context deadline exceeded", RuntimeDeadlineExceeded),
        (grpc.StatusCode.UNKNOWN, "exec: no such file", RuntimeServiceError),
        (grpc.StatusCode.INTERNAL, "boom", RuntimeServiceError),
    ],
)
def test_each_status_has_its_error(code: grpc.StatusCode, details: str, expected: type[Exception]) -> None:
    assert type(build_error("RunPodSandbox", "unix:///x", code, details)) is expected


def test_only_what_gets_a_name_can_find_it_reserved() -> None:
    error = build_error("StartContainer", "e", grpc.StatusCode.UNKNOWN, "a port is reserved")
    assert type(error) is RuntimeServiceError


def test_a_missing_object_is_only_taken_for_one_where_it_is_being_removed() -> None:
    unknown = grpc.StatusCode.UNKNOWN
    assert type(build_error("RemoveContainer", "e", unknown, 'container "x": not found')) is RuntimeNotFound
    assert type(build_error("CreateContainer", "e", unknown, "image not found")) is RuntimeServiceError


@pytest.mark.parametrize(
    ("error", "unknown"),
    [(RuntimeUnavailable, True), (RuntimeDeadlineExceeded, True), (RuntimeNameReserved, False)],
)
def test_an_error_says_whether_the_outcome_is_known(error: type[RuntimeServiceError], unknown: bool) -> None:
    assert error("x").outcome_unknown is unknown


async def test_a_missing_socket_gets_a_sentence(tmp_path: Path) -> None:
    endpoint = f"unix://{tmp_path}/containerd.sock"
    async with RuntimeClient(endpoint, node_name="n1") as client:
        with pytest.raises(RuntimeUnavailable) as raised:
            await client.check_answers()
    assert str(raised.value) == (
        f"no container runtime at {endpoint}: {tmp_path}/containerd.sock doesn't exist; start containerd, "
        "or name its socket with --container-runtime-endpoint"
    )


async def test_a_socket_that_nobody_answers_gets_one_too(tmp_path: Path) -> None:
    path = tmp_path / "containerd.sock"
    path.touch()
    async with RuntimeClient(f"unix://{path}", node_name="n1") as client:
        with pytest.raises(RuntimeUnavailable, match=r"doesn't speak CRI v1 .*; check that it is running"):
            await client.check_answers(seconds=1)


def test_sandboxes_are_decoded_whole() -> None:
    sandbox = decode_sandbox(
        cri.PodSandbox(
            id="s",
            metadata=cri.PodSandboxMetadata(name="web", uid="u", namespace="default", attempt=3),
            state=cri.SANDBOX_NOTREADY,
            created_at=1_500_000_000,
            labels={"a": "b"},
        )
    )
    assert (sandbox.id, sandbox.pod_uid, sandbox.attempt, sandbox.ready) == ("s", "u", 3, False)
    assert (sandbox.created_at, dict(sandbox.labels)) == (1.5, {"a": "b"})


def test_addresses_of_both_families_are_decoded() -> None:
    network = cri.PodSandboxNetworkStatus(ip="10.0.0.1", additional_ips=[cri.PodIP(ip="fd00::1")])
    status = cri.PodSandboxStatus(id="s", state=cri.SANDBOX_READY, network=network)
    assert decode_sandbox_status(status).ips == ("10.0.0.1", "fd00::1")
    assert decode_sandbox_status(cri.PodSandboxStatus(id="s")).ips == ()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (cri.CONTAINER_CREATED, ContainerState.CREATED),
        (cri.CONTAINER_RUNNING, ContainerState.RUNNING),
        (cri.CONTAINER_EXITED, ContainerState.EXITED),
        (cri.CONTAINER_UNKNOWN, ContainerState.UNKNOWN),
    ],
)
def test_container_states(state: cri.ContainerState, expected: ContainerState) -> None:
    assert decode_container(cri.Container(id="c", state=state)).state is expected


def test_times_that_never_were_are_none() -> None:
    status = decode_container_status(cri.ContainerStatus(id="c", started_at=2_000_000_000))
    assert (status.started_at, status.finished_at) == (2.0, None)
