"""Images through CRI on real containerd: present, absent, and from a registry that isn't there."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.images.source import CRIImages
from agent.pods.ports import LocalImage, Unavailable
from agent.runtime.client import RuntimeClient
from kubeapi.pod import Container
from lab.images import SHELL_IMAGE
from lab.runtime_node import RuntimeNode
from tests.builders import container, pod


def _ensure(node: RuntimeNode, subject: Container) -> LocalImage:
    async def run() -> LocalImage:
        async with asyncio.timeout(60), RuntimeClient(node.endpoint, node_name=node.name) as runtime:
            return await CRIImages(runtime, time.monotonic).ensure_image(pod(), subject)

    return asyncio.run(run())


@pytest.mark.parametrize("policy", ["IfNotPresent", "Never"])
def test_a_present_image_is_used(runtime_node: RuntimeNode, policy: str) -> None:
    image = _ensure(runtime_node, container(image=SHELL_IMAGE, image_pull_policy=policy))
    assert image.ref.startswith("sha256:")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ErrImagePull"), ("Always", "ErrImagePull")],
)
def test_an_absent_image_has_its_reason(runtime_node: RuntimeNode, policy: str, reason: str) -> None:
    with pytest.raises(Unavailable) as caught:
        _ensure(runtime_node, container(image="127.0.0.1:1/absent/image:1", image_pull_policy=policy))
    assert caught.value.reason == reason
    assert "127.0.0.1:1/absent/image:1" in caught.value.message
