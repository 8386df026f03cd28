"""Image references, default policies, and when an image is pulled."""

from __future__ import annotations

import pytest

from agent.images.plan import (
    ImageAction,
    ImageRefused,
    Pull,
    PullFailure,
    UseLocal,
    build_invalid_name,
    plan_image,
    plan_next_failure,
)
from agent.images.reference import ImageReference, PullPolicy, choose_pull_policy, parse_image_reference
from agent.runtime.values import RuntimeImage

_LOCAL = RuntimeImage("sha256:1", ("web:1",), (), 10, None, "")
_DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "text", "registry"),
    [
        ("busybox", "busybox:latest", "docker.io"),
        ("library/busybox:1.36", "library/busybox:1.36", "docker.io"),
        ("berth.local/web:1", "berth.local/web:1", "berth.local"),
        ("localhost/web", "localhost/web:latest", "localhost"),
        ("127.0.0.1:5101/lab/bb:1", "127.0.0.1:5101/lab/bb:1", "127.0.0.1:5101"),
        (f"quay.io/a/b@{_DIGEST}", f"quay.io/a/b@{_DIGEST}", "quay.io"),
        (f"quay.io/a/b:2@{_DIGEST}", f"quay.io/a/b:2@{_DIGEST}", "quay.io"),
        ("[::1]:5000/a__b/c-d.e", "[::1]:5000/a__b/c-d.e:latest", "[::1]:5000"),
    ],
)
def test_references(image: str, text: str, registry: str) -> None:
    reference = parse_image_reference(image)
    assert reference is not None
    assert (reference.text, reference.registry) == (text, registry)


@pytest.mark.parametrize(
    "image", ["", "web/Upper", "a b", "web:", "web:1:2", "web@sha256:12", "-a", "a" * 256, "b" * 64]
)
def test_no_references(image: str) -> None:
    # The last one is 64 letters of hexadecimal: an image's id is no name.
    assert parse_image_reference(image) is None


@pytest.mark.parametrize(
    ("policy", "reference", "expected"),
    [
        ("", ImageReference("web", "latest", ""), PullPolicy.ALWAYS),
        ("", ImageReference("web", "1", ""), PullPolicy.IF_NOT_PRESENT),
        ("", ImageReference("web", "latest", _DIGEST), PullPolicy.IF_NOT_PRESENT),
        ("Never", ImageReference("web", "latest", ""), PullPolicy.NEVER),
    ],
)
def test_default_policy(policy: str, reference: ImageReference, expected: PullPolicy) -> None:
    assert choose_pull_policy(policy, reference) is expected


_FAILED = PullFailure(2, at=100.0, message="no such host")
_BACK_OFF = ImageRefused("ImagePullBackOff", 'Back-off pulling image "web:1": ErrImagePull: no such host')
_NEVER = ImageRefused("ErrImageNeverPull", 'Container image "web:1" is not present with pull policy of Never')


@pytest.mark.parametrize(
    ("policy", "present", "failure", "now", "expected"),
    [
        (PullPolicy.IF_NOT_PRESENT, _LOCAL, None, 0.0, UseLocal(_LOCAL)),
        (PullPolicy.IF_NOT_PRESENT, None, None, 0.0, Pull()),
        (PullPolicy.ALWAYS, _LOCAL, None, 0.0, Pull()),
        (PullPolicy.NEVER, _LOCAL, None, 0.0, UseLocal(_LOCAL)),
        (PullPolicy.NEVER, None, None, 0.0, _NEVER),
        (PullPolicy.IF_NOT_PRESENT, None, _FAILED, 119.9, _BACK_OFF),
        (PullPolicy.IF_NOT_PRESENT, None, _FAILED, 120.0, Pull()),
        (PullPolicy.IF_NOT_PRESENT, _LOCAL, _FAILED, 119.9, UseLocal(_LOCAL)),
    ],
)
def test_plan(
    policy: PullPolicy,
    present: RuntimeImage | None,
    failure: PullFailure | None,
    now: float,
    expected: ImageAction,
) -> None:
    assert plan_image("web:1", policy, present, failure, now) == expected


def test_back_off_doubles_from_ten_seconds_to_five_minutes() -> None:
    failure, waits = None, []
    now = 0.0
    for _ in range(8):
        failure = plan_next_failure(failure, "no", now)
        waits.append(failure.retry_at - now)
        now = failure.retry_at
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_failure_long_ago_is_forgotten() -> None:
    assert plan_next_failure(PullFailure(7, 0.0, "old"), "new", 901.0) == PullFailure(1, 901.0, "new")


def test_a_bad_name_is_told_as_the_kubelet_tells_it() -> None:
    refused = build_invalid_name("Upper")
    assert refused.reason == "InvalidImageName"
    assert refused.message.endswith('couldn\'t parse image name "Upper": invalid reference format')
