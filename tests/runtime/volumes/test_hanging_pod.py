"""A pod on a file system that never answers, on real containerd: it says so, and the others don't notice."""

from __future__ import annotations

import time

import pytest

from kubeapi.pod import VolumeMount
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume
from lab.hanging_mount import hanging_mount
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

NAMED_SECONDS = 30.0


async def test_a_stuck_pod_stays_alone_says_why_and_can_be_deleted(
    host: PodHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with hanging_mount(tmp_path_factory.mktemp("dead")) as dead:
        data = Volume(name="data", host_path=HostPathVolumeSource(path=str(dead.path), type="Directory"))
        memory = Volume(name="fast", empty_dir=EmptyDirVolumeSource(medium="Memory"))
        mounts = (VolumeMount(name="data", mount_path="/data"), VolumeMount(name="fast", mount_path="/fast"))
        stuck = host.create(
            new_pod(FOREVER, name="stuck", volumes=(data, memory), container={"volume_mounts": mounts})
        )
        begun = time.monotonic()
        other = host.create(new_pod(FOREVER, name="other", volumes=(memory,)))
        await host.wait(lambda: host.is_ready(other), seconds=5)

        place = f"{dead.path} lies on {dead.path} (fuse"
        await host.wait(
            lambda: any(
                event.reason == "FailedMount" and place in event.message for event in host.events.events
            ),
            seconds=NAMED_SECONDS,
        )
        assert time.monotonic() - begun < NAMED_SECONDS
        assert not host.is_ready(stuck)

        # Nothing of that volume is on this machine's own disk: its pod needn't wait for the server.
        host.delete(stuck, grace_seconds=1)
        await host.wait_until_gone(stuck)
        assert await host.find_leftovers(stuck) == []
