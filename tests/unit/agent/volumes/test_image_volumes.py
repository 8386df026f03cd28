"""Image volumes: which runtimes have them, and what the others are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.pods.ports import HostVolume, LocalImage, Unavailable
from agent.runtime.values import RuntimeVersion
from agent.volumes.image_volumes import ImageVolumes, has_image_volumes
from kubeapi.pod import Container, Pod
from kubeapi.volume import ImageVolumeSource
from tests.builders import pod


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("containerd", "1.6.20~ds1", False),
        ("containerd", "v2.0.5", False),
        ("containerd", "2.1.9", True),
        ("containerd", "v2.2.0-rc.1", True),
        ("cri-o", "1.30.3", False),
        ("cri-o", "1.31.0", True),
        ("another", "0.1", True),
        ("containerd", "unknown", True),
    ],
)
def test_name_and_version_tell(name: str, version: str, expected: bool) -> None:
    assert has_image_volumes(RuntimeVersion(name, version, "v1")) == expected


class _Images:
    def __init__(self) -> None:
        self.asked: list[Container] = []

    async def ensure_image(self, pod: Pod, container: Container) -> LocalImage:
        self.asked.append(container)
        return LocalImage("sha256:abc", None, "")


async def _read_new() -> RuntimeVersion:
    return RuntimeVersion("containerd", "v2.1.0", "v1")


async def _read_old() -> RuntimeVersion:
    return RuntimeVersion("containerd", "1.7.24", "v1")


_SOURCE = ImageVolumeSource(reference="registry/data:1", pull_policy="IfNotPresent")


async def test_the_image_is_made_present_as_its_policy_says() -> None:
    images = _Images()
    found = await ImageVolumes(images, _read_new).ensure_volume(pod(), _SOURCE)
    assert found == HostVolume(Path("/"), read_only=True, image="sha256:abc")
    assert images.asked == [Container(image="registry/data:1", image_pull_policy="IfNotPresent")]


async def test_an_older_runtime_is_named_and_nothing_is_pulled() -> None:
    images = _Images()
    with pytest.raises(Unavailable, match=r"this node runs containerd 1\.7\.24"):
        await ImageVolumes(images, _read_old).ensure_volume(pod(), _SOURCE)
    assert images.asked == []
