"""A lab's node on real containerd: our images run, answer and stop, and the runtime can be killed."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri_proto.runtime.v1 import api_pb2
from lab.bare_pods import BarePod, BareRuntime
from lab.images import SHELL_IMAGE, WEB_IMAGE, WEB_PORT
from lab.namespaces import call_in_netns
from lab.process_search import read_command_line
from lab.readiness import wait_for_cri
from lab.runtime_node import RuntimeNode


@pytest.fixture
def web_pod(bare_runtime: BareRuntime) -> Iterator[BarePod]:
    pod = bare_runtime.run_pod("web-1", WEB_IMAGE)
    yield pod
    bare_runtime.remove_pod(pod)


def read_page(node: RuntimeNode, address: str, path: str = "/") -> str:
    """Asks again while the server in the pod is starting."""

    def fetch() -> str:
        connection = http.client.HTTPConnection(address, WEB_PORT, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode().strip()
        finally:
            connection.close()

    deadline = time.monotonic() + 10
    while True:
        try:
            return call_in_netns(node.netns, fetch)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_a_web_pod_answers_with_its_hostname(runtime_node: RuntimeNode, web_pod: BarePod) -> None:
    assert web_pod.ip.startswith("10.244.1.")
    assert read_page(runtime_node, web_pod.ip) == "web-1"
    assert read_page(runtime_node, web_pod.ip, "/healthz") == "ok"


@pytest.mark.parametrize("image", [WEB_IMAGE, SHELL_IMAGE])
def test_sigterm_stops_a_container_at_once(bare_runtime: BareRuntime, image: str) -> None:
    pod = bare_runtime.run_pod("brief", image)

    started = time.monotonic()
    bare_runtime.stop_container(pod, grace_seconds=30)
    took = time.monotonic() - started
    status = bare_runtime.runtime.ContainerStatus(
        api_pb2.ContainerStatusRequest(container_id=pod.container_id), timeout=10
    ).status
    bare_runtime.remove_pod(pod)

    assert took < 5, "the grace period ran down: PID 1 ignored SIGTERM"
    assert status.state == api_pb2.CONTAINER_EXITED
    assert status.exit_code == 128 + 15


def test_bash_in_the_shell_image_makes_requests_by_name(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime, web_pod: BarePod
) -> None:
    read_page(runtime_node, web_pod.ip)
    shell = bare_runtime.run_pod("shell", SHELL_IMAGE)
    script = (
        f"echo '{web_pod.ip} web.example' > /etc/hosts; exec 3<>/dev/tcp/web.example/{WEB_PORT}; "
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    )
    code, output = bare_runtime.run_in_container(shell, ["/bin/bash", "-c", script])
    bare_runtime.remove_pod(shell)

    assert code == 0
    assert output.rstrip().endswith("web-1")


def test_ctr_on_the_node_talks_to_the_node_s_containerd(runtime_node: RuntimeNode, web_pod: BarePod) -> None:
    listed = runtime_node.run(["ctr", "containers", "ls", "-q"]).stdout.split()

    assert {web_pod.container_id, web_pod.sandbox_id} <= set(listed)


def test_containers_outlive_a_killed_containerd(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime, web_pod: BarePod
) -> None:
    before = runtime_node.containerd()
    assert before is not None

    runtime_node.kill_containerd()
    assert runtime_node.containerd() is None
    assert read_page(runtime_node, web_pod.ip) == "web-1"
    after = runtime_node.start_containerd()
    wait_for_cri(runtime_node.endpoint, (WEB_IMAGE,), 30)

    status = bare_runtime.runtime.ContainerStatus(
        api_pb2.ContainerStatusRequest(container_id=web_pod.container_id), timeout=10, wait_for_ready=True
    ).status
    assert after != before
    assert status.state == api_pb2.CONTAINER_RUNNING


def test_a_power_cut_ends_every_container_and_the_node_comes_back(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime, web_pod: BarePod
) -> None:
    runtime_node.kill_containers()
    assert runtime_node.containerd() is None

    runtime_node.start_containerd()
    wait_for_cri(runtime_node.endpoint, (WEB_IMAGE,), 30)
    sandbox = bare_runtime.runtime.PodSandboxStatus(
        api_pb2.PodSandboxStatusRequest(pod_sandbox_id=web_pod.sandbox_id), timeout=10, wait_for_ready=True
    ).status
    fresh = bare_runtime.run_pod("fresh", WEB_IMAGE)
    answer = read_page(runtime_node, fresh.ip)
    bare_runtime.remove_pod(fresh)

    assert sandbox.state == api_pb2.SANDBOX_NOTREADY
    assert answer == "fresh"


def test_containerd_lives_in_the_node_s_cgroup(runtime_node: RuntimeNode) -> None:
    process = runtime_node.containerd()
    assert process is not None
    cgroups = {line.split(":", 2)[2] for line in Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()}

    assert cgroups == {f"{runtime_node.cgroup_root}/system"}
    assert read_command_line(process.pid)[0] == "containerd"
