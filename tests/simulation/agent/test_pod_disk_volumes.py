"""Schedules with the real volume code on a real directory: what pods mount of the host stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeapi.pod import Pod
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume
from tests.simulation.agent.disk_volumes import PRECIOUS, DiskVolumes
from tests.simulation.agent.pod_schedules import Kind, Schedule, new_pod
from tests.simulation.agent.virtual_time import run_virtually

_SEEDS = 60


def build_kinds(host: Path) -> tuple[Kind, ...]:
    volumes = (
        Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),
        Volume(name="host", host_path=HostPathVolumeSource(path=str(host))),
    )

    def build(name: str) -> Pod:
        return new_pod(name, volumes=volumes)

    return tuple(Kind(name, "Ready", build) for name in ("one", "two", "three", "four", "five"))


@pytest.mark.parametrize("batch", range(4))
def test_no_schedule_touches_what_pods_mount_of_the_host(batch: int, tmp_path: Path) -> None:
    for seed in range(batch, _SEEDS, 4):
        directory = tmp_path / str(seed)
        schedule = Schedule(seed, menu=build_kinds(directory / "host"))
        world = schedule.world
        world.volumes = volumes = DiskVolumes(
            directory=directory, steps=world.steps, is_used=world.volumes.is_used
        )
        try:
            run_virtually(schedule.play())
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert volumes.list_left() == [], f"seed {seed}"
        assert volumes.read_precious() == PRECIOUS, f"seed {seed}"
