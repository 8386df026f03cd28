"""The real code of volumes, on a directory, in a simulated world.

IO: real files, done at once in the loop's own thread, as virtual time can't wait for another. Used by the
schedules that look at what is left on the disk. Every piece of blocking work is a step that may fail or hang.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agent.pods.ports import HostVolume
from agent.volumes.blocking import BlockingWork
from agent.volumes.files import TokenRef
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import IssuedToken, ServiceAccountTokens
from kubeapi.pod import Pod, PodUID
from tests.simulation.agent.pod_fakes import FakeConfig, FakeVolumes, Steps

ResultT = TypeVar("ResultT")

PRECIOUS = {"a": "one", "nested/b": "two"}


class StepwiseWork(BlockingWork):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    async def run(
        self, key: Hashable, what: str, call: Callable[[], ResultT], *, deadline_seconds: float
    ) -> ResultT:
        trouble = await self._steps.begin("VolumeWork")
        result = call()
        await self._steps.end("VolumeWork", trouble)
        return result


class _NoTokens:
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None


@dataclass(slots=True, kw_only=True)
class DiskVolumes(FakeVolumes):
    """Under `directory`: the agent's root, and a directory of the host's that pods mount."""

    directory: Path
    disk: PodVolumes = field(init=False)

    def __post_init__(self) -> None:
        for name, text in PRECIOUS.items():
            path = self.host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.forget()

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def host(self) -> Path:
        return self.directory / "host"

    def forget(self) -> None:
        tokens = ServiceAccountTokens(_NoTokens(), lambda: 0.0)
        self.disk = PodVolumes(self.root, FakeConfig(), tokens, StepwiseWork(self.steps), dict)

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        self.prepared.add(pod.uid)
        volumes = await self.disk.prepare_volumes(pod)
        for volume in pod.spec.volumes:
            if volume.empty_dir is not None:
                self._use(volumes[volume.name].path)
        return volumes

    def _use(self, directory: Path) -> None:
        """What a container does with its own directory: files, and a way out that removal must not take."""
        (directory / "file").write_text("mine")
        if not (link := directory / "way-out").is_symlink():
            link.symlink_to(self.host)

    async def refresh_volumes(self, pod: Pod) -> None:
        await self.disk.refresh_volumes(pod)

    async def remove_volumes(self, uid: PodUID) -> None:
        if self.is_used(uid):
            self.violations.append(f"the volumes of {uid} were removed under its processes")
        await self.disk.remove_volumes(uid)
        self.prepared.discard(uid)

    def list_left(self) -> list[str]:
        """Files of pods that are still there."""
        return [str(path) for path in self.root.rglob("*") if not path.is_dir()]

    def read_precious(self) -> dict[str, str]:
        files = (path for path in self.host.rglob("*") if path.is_file())
        return {str(path.relative_to(self.host)): path.read_text() for path in files}
