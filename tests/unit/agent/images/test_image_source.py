"""Images of containers: present, pulled once, refused with reasons, nobody delayed."""

from __future__ import annotations

import asyncio

import pytest

from agent.images.source import CRIImages
from agent.pods.ports import LocalImage, Unavailable
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.values import RuntimeImage
from kubeapi.pod import Container
from tests.builders import container, pod


class _Runtime:
    """A registry and a store in memory; pulls of names in `held` wait until they are let go."""

    def __init__(self) -> None:
        self.images: dict[str, RuntimeImage] = {}
        self.pulls: list[str] = []
        self.reads = 0
        self.trouble: str = ""
        self.held: dict[str, asyncio.Event] = {}
        self.pulling = asyncio.Event()

    async def read_image_status(self, image: str) -> RuntimeImage | None:
        self.reads += 1
        return self.images.get(image)

    async def pull_image(self, image: str) -> str:
        self.pulls.append(image)
        self.pulling.set()
        if image in self.held:
            await self.held[image].wait()
        if self.trouble:
            raise RuntimeServiceError(self.trouble)
        self.images[image] = self.images["id"] = RuntimeImage("id", (image,), (), 1, 1000, "")
        return "id"


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _container(image: str = "berth.local/web:1", policy: str = "IfNotPresent") -> Container:
    return container(image=image, image_pull_policy=policy)


async def test_a_present_image_costs_one_look() -> None:
    runtime = _Runtime()
    runtime.images["berth.local/web:1"] = RuntimeImage("sha256:1", (), (), 1, None, "nobody")
    images = CRIImages(runtime, _Clock())
    assert await images.ensure_image(pod(), _container()) == LocalImage("sha256:1", None, "nobody")
    assert (runtime.reads, runtime.pulls) == (1, [])


async def test_a_missing_image_is_pulled() -> None:
    runtime = _Runtime()
    images = CRIImages(runtime, _Clock())
    assert await images.ensure_image(pod(), _container()) == LocalImage("id", 1000, "", pulled=True)
    assert runtime.pulls == ["berth.local/web:1"]


async def test_always_pulls_again_and_never_refuses() -> None:
    runtime = _Runtime()
    images = CRIImages(runtime, _Clock())
    for _ in range(2):
        await images.ensure_image(pod(), _container(policy="Always"))
    assert len(runtime.pulls) == 2
    with pytest.raises(Unavailable) as caught:
        await images.ensure_image(pod(), _container("berth.local/other:1", "Never"))
    assert caught.value.reason == "ErrImageNeverPull"


async def test_containers_that_want_one_image_share_one_pull() -> None:
    runtime = _Runtime()
    runtime.held["berth.local/web:1"] = asyncio.Event()
    images = CRIImages(runtime, _Clock())
    waiters = [asyncio.create_task(images.ensure_image(pod(), _container())) for _ in range(3)]
    await runtime.pulling.wait()
    assert images.pulling() == ("berth.local/web:1",)
    waiters[0].cancel()
    runtime.held["berth.local/web:1"].set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [LocalImage("id", 1000, "", pulled=True)] * 2
    assert runtime.pulls == ["berth.local/web:1"]
    assert images.pulling() == ()


async def test_a_slow_registry_delays_no_other() -> None:
    runtime = _Runtime()
    slow = [f"slow.example/a{index}:1" for index in range(20)]
    runtime.held.update((name, asyncio.Event()) for name in slow)
    images = CRIImages(runtime, _Clock())
    waiters = [asyncio.create_task(images.ensure_image(pod(), _container(name))) for name in slow]
    await runtime.pulling.wait()
    async with asyncio.timeout(10):
        await images.ensure_image(pod(), _container("fast.example/b:1"))
    assert len([name for name in runtime.pulls if name.startswith("slow")]) < len(slow)
    await images.aclose()
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_a_failed_pull_backs_off_and_recovers() -> None:
    runtime, clock = _Runtime(), _Clock()
    runtime.trouble = "no such host"
    images = CRIImages(runtime, clock)

    async def reason() -> str:
        with pytest.raises(Unavailable, match="no such host") as caught:
            await images.ensure_image(pod(), _container())
        return caught.value.reason

    assert [await reason(), await reason()] == ["ErrImagePull", "ImagePullBackOff"]
    clock.now = 10.0
    assert [await reason(), await reason()] == ["ErrImagePull", "ImagePullBackOff"]
    assert len(runtime.pulls) == 2
    clock.now, runtime.trouble = 30.0, ""
    assert (await images.ensure_image(pod(), _container())).ref == "id"
    # The good pull has ended the series: the next failure is a first one.
    runtime.images.clear()
    runtime.trouble = "no such host"
    await reason()
    clock.now = 40.0
    assert await reason() == "ErrImagePull"


async def test_a_bad_name_or_policy_reaches_no_runtime() -> None:
    runtime = _Runtime()
    images = CRIImages(runtime, _Clock())
    with pytest.raises(Unavailable) as caught:
        await images.ensure_image(pod(), _container("Not A Name"))
    assert caught.value.reason == "InvalidImageName"
    with pytest.raises(Unavailable, match="Sometimes"):
        await images.ensure_image(pod(), _container(policy="Sometimes"))
    assert (runtime.reads, runtime.pulls) == (0, [])


async def test_a_runtime_that_does_not_answer_is_named() -> None:
    class Away(_Runtime):
        async def read_image_status(self, image: str) -> RuntimeImage | None:
            raise RuntimeServiceError("the runtime is away")

    with pytest.raises(Unavailable, match="the runtime is away") as caught:
        await CRIImages(Away(), _Clock()).ensure_image(pod(), _container())
    assert caught.value.reason == "ImageInspectError"
