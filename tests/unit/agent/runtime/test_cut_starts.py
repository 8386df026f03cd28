"""The shim of a sandbox whose removal is refused for a task that nobody knows: found exactly, ended once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.pods.ports import SandboxID
from agent.runtime.cut_starts import end_shims, remove_sandbox
from agent.runtime.errors import RuntimeServiceError
from tests.fakes.fake_runtime import FakeRuntime

SANDBOX = SandboxID("f00dfeed" * 8)


@contextmanager
def process(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that calls itself `name`, with these arguments, and waits."""
    argv = [name, "-c", "read -r line", "shim", *arguments]
    with subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def test_only_the_shim_of_this_sandbox_is_ended() -> None:
    shim = "/usr/bin/containerd-shim-runc-v2"
    with (
        process(shim, "-namespace", "k8s.io", "-id", SANDBOX) as wanted,
        process(shim, "-namespace", "k8s.io", "-id", "another") as other,
        process("crictl", "logs", "-id", SANDBOX) as bystander,
    ):
        assert end_shims(SANDBOX) == (wanted.pid,)
        assert wanted.wait(timeout=10) == -9
        assert (other.poll(), bystander.poll()) == (None, None)
        assert end_shims(SANDBOX) == ()


@pytest.mark.parametrize("inherited", [False, True])
async def test_a_shim_that_outlives_an_inherited_sandbox_goes_too(inherited: bool) -> None:
    runtime = FakeRuntime(now=lambda: 0.0)
    with process("containerd-shim-runc-v2", "-id", SANDBOX) as shim:
        await remove_sandbox(runtime, SANDBOX, inherited=inherited)
        if inherited:
            assert shim.wait(timeout=10) == -9
        assert (shim.poll() is not None) is inherited


class RefusingRuntime(FakeRuntime):
    refusal = ""

    async def remove_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        raise RuntimeServiceError(self.refusal)


@pytest.mark.parametrize(
    ("refusal", "ends"),
    [
        ("RemovePodSandbox: failed to delete containerd container: cannot delete running task c1", True),
        ("RemovePodSandbox: the sandbox is not yet fully stopped", False),
    ],
)
async def test_the_shim_goes_after_that_refusal_alone_which_is_told_all_the_same(
    refusal: str, ends: bool
) -> None:
    runtime = RefusingRuntime(now=lambda: 0.0)
    runtime.refusal = refusal
    with process("containerd-shim-runc-v2", "-id", SANDBOX) as shim:
        with pytest.raises(RuntimeServiceError, match="RemovePodSandbox"):
            await remove_sandbox(runtime, SANDBOX)
        if ends:
            assert shim.wait(timeout=10) == -9
        assert (shim.poll() is not None) is ends
