"""What the runtime tells by itself: hints of the right pod, again after it was killed, or a plain no."""

from __future__ import annotations

import asyncio

from agent.runtime.client import RuntimeClient
from agent.runtime.errors import RuntimeUnavailable, RuntimeUnimplemented
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID
from lab.bare_pods import BarePod, BareRuntime
from lab.images import SHELL_IMAGE
from lab.readiness import wait_for_cri
from lab.runtime_node import RuntimeNode

_SECONDS = 10.0
_SUBSCRIBED_SECONDS = 0.5  # the stream stands, or is refused


def _read_uid(runtime: BareRuntime, pod: BarePod) -> PodUID:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=pod.sandbox_id)
    return PodUID(runtime.runtime.PodSandboxStatus(request, timeout=10).status.metadata.uid)


async def _find_hint(client: RuntimeClient, uid: PodUID) -> bool:
    """True when a hint of the pod came; False from a runtime that has none."""
    try:
        async with asyncio.timeout(_SECONDS):
            async for hint in client.watch_container_events():
                if hint == uid:
                    return True
    except RuntimeUnimplemented:
        return False
    raise AssertionError("the events have ended")


async def _is_a_stop_hinted_at(client: RuntimeClient, runtime: BareRuntime) -> bool:
    pod = await asyncio.to_thread(runtime.run_pod, "stopped", SHELL_IMAGE)
    try:
        uid = await asyncio.to_thread(_read_uid, runtime, pod)
        finding = asyncio.create_task(_find_hint(client, uid))
        await asyncio.sleep(_SUBSCRIBED_SECONDS)
        await asyncio.to_thread(runtime.stop_container, pod, 0)
        return await finding
    finally:
        await asyncio.to_thread(runtime.remove_pod, pod)


async def test_an_exit_is_hinted_at_where_the_runtime_has_events(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime
) -> None:
    async with RuntimeClient(runtime_node.endpoint, node_name="n1") as client:
        old = (await client.read_version()).version.startswith("1.6")
        assert await _is_a_stop_hinted_at(client, bare_runtime) is not old


async def test_a_runtime_that_dies_ends_its_events_and_has_them_again(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime
) -> None:
    async with RuntimeClient(runtime_node.endpoint, node_name="n1") as client:
        old = (await client.read_version()).version.startswith("1.6")
        following = asyncio.create_task(_find_hint(client, PodUID("nobody")))
        await asyncio.sleep(_SUBSCRIBED_SECONDS)
        await asyncio.to_thread(runtime_node.kill_containerd)
        (ended,) = await asyncio.gather(following, return_exceptions=True)
        assert ended is False if old else isinstance(ended, RuntimeUnavailable)
        await asyncio.to_thread(runtime_node.start_containerd)
        await asyncio.to_thread(wait_for_cri, runtime_node.endpoint, (SHELL_IMAGE,), 30)
        assert await _is_a_stop_hinted_at(client, bare_runtime) is not old
