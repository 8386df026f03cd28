"""The images of this node's containers: `agent.pods.ports.ImageSource`.

IO: ImageStatus and PullImage through CRI. Called by the pod lanes. An image that is present costs one
ImageStatus; one that isn't is pulled once, however many containers wait for it, with a bound for each
registry, so that a slow registry delays nobody else. What is to be done is decided in `plan`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol, assert_never

from agent.images.plan import (
    ERR_IMAGE_PULL,
    IMAGE_INSPECT_ERROR,
    IMAGE_PULL_BACK_OFF,
    ImageRefused,
    Pull,
    PullFailure,
    UseLocal,
    build_invalid_name,
    plan_image,
    plan_next_failure,
)
from agent.images.reference import ImageReference, PullPolicy, choose_pull_policy, parse_image_reference
from agent.pods.ports import LocalImage, PullFacts, Unavailable
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.values import RuntimeImage
from kubeapi.pod import Container, Pod

_log = logging.getLogger(__name__)

_PULLS: Final = 16
_PULLS_PER_REGISTRY: Final = 4
_SLOT_SECONDS: Final = 10.0  # for this long a pull keeps others waiting, not more: it may hang for an hour


class ImageRuntime(Protocol):
    """The part of CRI's ImageService that this needs; raises RuntimeServiceError."""

    async def read_image_status(self, image: str) -> RuntimeImage | None: ...

    async def pull_image(self, image: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Pulled:
    image: RuntimeImage
    seconds: float


class CRIImages:
    """`clock` is monotonic, in seconds; back-off is kept in memory for each image."""

    def __init__(self, runtime: ImageRuntime, clock: Callable[[], float]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._failures: dict[str, PullFailure] = {}
        self._pulls: dict[str, asyncio.Task[_Pulled]] = {}
        self._handlers: list[Callable[[Pod, Container], None]] = []
        self._slots = asyncio.Semaphore(_PULLS)
        self._registry_slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_PULLS_PER_REGISTRY)
        )

    async def ensure_image(self, pod: Pod, container: Container) -> LocalImage:
        """The image, pulled if the policy says so; raises Unavailable. Never blocks another pod's pull."""
        reference = parse_image_reference(container.image)
        if reference is None:
            raise _unavailable(build_invalid_name(container.image))
        try:
            policy = choose_pull_policy(container.image_pull_policy, reference)
        except ValueError as error:
            raise Unavailable(
                ERR_IMAGE_PULL, f"imagePullPolicy: {error}; use Always, IfNotPresent or Never"
            ) from error
        return await self._ensure(pod, container, reference, policy)

    def subscribe_pulls(self, handler: Callable[[Pod, Container], None]) -> None:
        """Called when a container has begun to wait for a pull of its image."""
        self._handlers.append(handler)

    def pulling(self) -> tuple[str, ...]:
        """The images being pulled now, for whoever explains a wait."""
        return tuple(self._pulls)

    async def aclose(self) -> None:
        """Gives up on the pulls in flight; the runtime goes on with what it has begun."""
        tasks = tuple(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ensure(
        self, pod: Pod, container: Container, reference: ImageReference, policy: PullPolicy
    ) -> LocalImage:
        image = container.image
        present = None if policy is PullPolicy.ALWAYS else await self._read(reference)
        action = plan_image(image, policy, present, self._failures.get(reference.text), self._clock())
        match action:
            case UseLocal():
                return _to_local(action.image)
            case ImageRefused():
                failure = self._failures.get(reference.text)
                waits = failure is not None and action.reason == IMAGE_PULL_BACK_OFF
                seconds = failure.retry_at - self._clock() if waits and failure is not None else None
                raise Unavailable(action.reason, action.message, seconds)
            case Pull():
                return await self._join_pull(pod, container, reference)
            case _:
                assert_never(action)

    async def _read(self, reference: ImageReference) -> RuntimeImage | None:
        try:
            return await self._runtime.read_image_status(reference.text)
        except RuntimeServiceError as error:
            raise Unavailable(
                IMAGE_INSPECT_ERROR, f'Failed to inspect image "{reference.text}": {error}'
            ) from error

    async def _join_pull(self, pod: Pod, container: Container, reference: ImageReference) -> LocalImage:
        """Waits for the one pull of the image; a waiter that is cancelled leaves the pull to the others."""
        for handler in self._handlers:
            handler(pod, container)
        begun = self._clock()
        task = self._pulls.get(reference.text)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._pull(reference), name=f"pull {reference.text}"
            )
            self._pulls[reference.text] = task
            task.add_done_callback(lambda done: self._finish(reference, done))
            _log.info("pulling an image", extra={"image": reference.text, "pod": str(pod.key)})
        try:
            pulled = await asyncio.shield(task)
        except RuntimeServiceError as error:
            raise Unavailable(ERR_IMAGE_PULL, str(error)) from error
        facts = PullFacts(pulled.seconds, self._clock() - begun, pulled.image.size_bytes)
        return replace(_to_local(pulled.image), pulled=True, pull=facts)

    async def _pull(self, reference: ImageReference) -> _Pulled:
        async with self._hold_slots(reference):
            begun = self._clock()
            pulled = await self._runtime.pull_image(reference.text)
            image = await self._runtime.read_image_status(pulled)
        if image is None:
            raise RuntimeServiceError(
                f"the runtime pulled {reference.text} but doesn't hold it; is its disk full?"
            )
        return _Pulled(image, self._clock() - begun)

    @asynccontextmanager
    async def _hold_slots(self, reference: ImageReference) -> AsyncIterator[None]:
        """One of the pulls that run at a time, for a while: a pull that hangs gives its place to others."""
        registry = self._registry_slots[reference.registry]
        await registry.acquire()
        try:
            await self._slots.acquire()
        except BaseException:
            registry.release()
            raise
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._slots.release()
                registry.release()

        timer = asyncio.get_running_loop().call_later(_SLOT_SECONDS, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    def _finish(self, reference: ImageReference, task: asyncio.Task[_Pulled]) -> None:
        self._pulls.pop(reference.text, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._failures.pop(reference.text, None)
            return
        previous = self._failures.get(reference.text)
        self._failures[reference.text] = plan_next_failure(previous, str(error), self._clock())
        _log.warning("pulling an image failed", extra={"image": reference.text}, exc_info=error)


def _to_local(image: RuntimeImage) -> LocalImage:
    return LocalImage(image.id, image.user_id, image.user_name)


def _unavailable(refused: ImageRefused) -> Unavailable:
    return Unavailable(refused.reason, refused.message)
