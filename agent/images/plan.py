"""Decides whether an image is used as it is, pulled, or waited for.

Pure: time arrives as an argument. Called by `source`. Follows the "Images" page of the Kubernetes
documentation; reasons and messages are the kubelet's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.images.reference import PullPolicy
from agent.runtime.values import RuntimeImage
from kubeapi.backoff import Backoff

ERR_IMAGE_PULL: Final = "ErrImagePull"
IMAGE_PULL_BACK_OFF: Final = "ImagePullBackOff"
ERR_IMAGE_NEVER_PULL: Final = "ErrImageNeverPull"
INVALID_IMAGE_NAME: Final = "InvalidImageName"
IMAGE_INSPECT_ERROR: Final = "ImageInspectError"

PULL_BACKOFF: Final = Backoff(initial_seconds=10.0, maximum_seconds=300.0, jitter=0.0)
_FORGET_AFTER_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class PullFailure:
    """The last failed pull of an image: how many in a row, when, and why."""

    count: int
    at: float
    message: str

    @property
    def retry_at(self) -> float:
        return self.at + PULL_BACKOFF.delay(self.count - 1, 0.0)


@dataclass(frozen=True, slots=True)
class UseLocal:
    """The runtime holds the image, and the policy asks for no more."""

    image: RuntimeImage


@dataclass(frozen=True, slots=True)
class Pull:
    """The image is to be pulled now."""


@dataclass(frozen=True, slots=True)
class ImageRefused:
    reason: str
    message: str


ImageAction = UseLocal | Pull | ImageRefused


def plan_image(
    image: str, policy: PullPolicy, present: RuntimeImage | None, failure: PullFailure | None, now: float
) -> ImageAction:
    """What to do for a container that needs the image."""
    if present is not None and policy is not PullPolicy.ALWAYS:
        return UseLocal(present)
    if policy is PullPolicy.NEVER:
        return ImageRefused(
            ERR_IMAGE_NEVER_PULL, f'Container image "{image}" is not present with pull policy of Never'
        )
    if failure is not None and now < failure.retry_at:
        return ImageRefused(
            IMAGE_PULL_BACK_OFF, f'Back-off pulling image "{image}": {ERR_IMAGE_PULL}: {failure.message}'
        )
    return Pull()


def plan_next_failure(previous: PullFailure | None, message: str, now: float) -> PullFailure:
    """The failure after one more: the count starts again once the last one is long ago."""
    forgotten = (
        previous is None or now - previous.at > previous.retry_at - previous.at + _FORGET_AFTER_SECONDS
    )
    return PullFailure(1 if previous is None or forgotten else previous.count + 1, now, message)


def build_invalid_name(image: str) -> ImageRefused:
    """The refusal of a name that no registry could have."""
    return ImageRefused(
        INVALID_IMAGE_NAME,
        f'Failed to apply default image tag "{image}": '
        f'couldn\'t parse image name "{image}": invalid reference format',
    )
