"""Image volumes: images that the runtime mounts into containers by itself.

IO: pulls through the image part, asks the runtime's version. Called by `source`. CRI has no flag that says
whether a runtime knows `Mount.image`, and one that doesn't would mount nothing without a word; so it is
decided by name and version. Follows the "image" section of the Volumes page.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from agent.pods.ports import HostVolume, ImageSource, Unavailable
from agent.runtime.values import RuntimeVersion
from kubeapi.pod import Container, Pod
from kubeapi.volume import ImageVolumeSource

_SINCE: Final[Mapping[str, tuple[int, int]]] = {"containerd": (2, 1), "cri-o": (1, 31)}
_NUMBERS: Final = re.compile(r"v?(\d+)\.(\d+)")


class ImageVolumes:
    def __init__(self, images: ImageSource, read_version: Callable[[], Awaitable[RuntimeVersion]]) -> None:
        self._images = images
        self._read_version = read_version

    async def ensure_volume(self, pod: Pod, source: ImageVolumeSource) -> HostVolume:
        """The volume, its image pulled if the policy says so; raises Unavailable, RuntimeServiceError."""
        version = await self._read_version()
        if not has_image_volumes(version):
            raise Unavailable(
                "FailedMount",
                "image volumes need containerd 2.1 or CRI-O 1.31, and this node runs "
                f"{version.name} {version.version}; choose another node or another kind of volume",
            )
        wanted = Container(image=source.reference, image_pull_policy=source.pull_policy)
        image = await self._images.ensure_image(pod, wanted)
        return HostVolume(Path("/"), read_only=True, image=image.ref)


def has_image_volumes(version: RuntimeVersion) -> bool:
    """Whether the runtime mounts images; one that isn't known here may say so itself."""
    since = _SINCE.get(version.name.lower())
    found = _NUMBERS.match(version.version)
    return since is None or found is None or (int(found[1]), int(found[2])) >= since
