"""The agent's own files of a pod: /etc/hosts, termination messages, the log directory.

IO in threads, on the root directory and the logs; the volumes beside them are `agent.volumes`' work.
`PodFiles` is the port; made before a container, removed when the pod leaves the node.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.pods.config.hosts_file import build_hosts_file
from agent.pods.config.sandbox_config import PodEnvironment, build_log_directory
from agent.pods.ports import Unavailable
from agent.resources.pod_cgroups import CgroupBusy, PodCgroups
from agent.resources.pod_limits import PodLimits
from agent.resources.qos import compute_qos_class
from agent.volumes.blocking import BlockingWork, WorkHangs
from agent.volumes.file_tree import OtherMount, remove_tree
from agent.volumes.layout import build_pod_directory, build_sub_path_target
from agent.volumes.sub_path import bind_sub_path
from kubeapi.pod import Pod, PodUID

_CONFIG_ERROR: Final = "CreateContainerConfigError"
_HOST_FILE: Final = Path("/etc/hosts")
_HOSTS: Final = "etc-hosts"
_CONTAINERS: Final = "containers"
_CGROUP_ERROR: Final = "FailedCreatePodContainer"
_MESSAGE_MODE: Final = 0o666  # the container may run as any user
_SUB_PATH_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class ContainerFiles:
    hosts: Path
    termination: Path
    sub_paths: tuple[Path, ...]


class PodFiles(Protocol):
    async def prepare_pod(self, pod: Pod) -> None:
        """The log directory, which the runtime expects."""

    async def limit_pod(self, pod: Pod, limits: PodLimits) -> None:
        """The pod's own cgroup with these limits; raises Unavailable while they can't be. Idempotent."""

    async def prepare_container(
        self,
        pod: Pod,
        container: str,
        attempt: int,
        pod_ips: tuple[str, ...],
        sub_paths: tuple[tuple[Path, str], ...],
    ) -> ContainerFiles:
        """Everything one attempt mounts; `sub_paths` are volumes' paths with what of them is mounted."""

    async def remove_log(self, path: Path) -> None:
        """One attempt's log, or its termination message. Idempotent."""

    async def remove_pod(self, pod: Pod) -> None:
        """Files, logs and cgroups. Idempotent."""


class LocalPodFiles:
    def __init__(
        self, environment: PodEnvironment, cgroups: PodCgroups, work: BlockingWork | None = None
    ) -> None:
        self._environment = environment
        self._cgroups = cgroups
        self._work = work or BlockingWork()

    async def prepare_pod(self, pod: Pod) -> None:
        directory = build_log_directory(pod, self._environment)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)

    async def limit_pod(self, pod: Pod, limits: PodLimits) -> None:
        try:
            await self._cgroups.limit_pod_cgroup(pod.uid, compute_qos_class(pod.spec), limits)
        except CgroupBusy as error:
            raise Unavailable(_CGROUP_ERROR, str(error)) from error
        except OSError as error:
            message = f"the pod's cgroup can't be made: {error.filename}: {error.strerror}"
            raise Unavailable(_CGROUP_ERROR, message) from error

    async def prepare_container(
        self,
        pod: Pod,
        container: str,
        attempt: int,
        pod_ips: tuple[str, ...],
        sub_paths: tuple[tuple[Path, str], ...],
    ) -> ContainerFiles:
        bound = await asyncio.gather(
            *(
                self._bind_sub_path(pod, container, index, volume, sub_path)
                for index, (volume, sub_path) in enumerate(sub_paths)
            )
        )
        hosts, termination = await asyncio.to_thread(self._prepare, pod, container, attempt, pod_ips)
        return ContainerFiles(hosts, termination, tuple(bound))

    async def _bind_sub_path(self, pod: Pod, container: str, index: int, volume: Path, sub_path: str) -> Path:
        target = build_sub_path_target(self._environment.root_dir, pod.uid, container, index)
        what = f"looking up subPath {sub_path!r} of {volume}"
        try:
            return await self._work.run(
                target,
                what,
                lambda: bind_sub_path(volume, sub_path, target),
                deadline_seconds=_SUB_PATH_SECONDS,
            )
        except (WorkHangs, OSError) as error:
            raise Unavailable(
                _CONFIG_ERROR, f'failed to prepare subPath for container "{container}": {error}'
            ) from error

    def _prepare(self, pod: Pod, container: str, attempt: int, pod_ips: tuple[str, ...]) -> tuple[Path, Path]:
        directory = build_pod_directory(self._environment.root_dir, pod.uid)
        messages = directory / _CONTAINERS / container
        messages.mkdir(parents=True, exist_ok=True)
        (build_log_directory(pod, self._environment) / container).mkdir(parents=True, exist_ok=True)
        hosts = directory / _HOSTS
        termination = build_termination_path(self._environment, pod.uid, container, attempt)
        self._write_hosts(pod, pod_ips, hosts)
        termination.write_bytes(b"")
        termination.chmod(_MESSAGE_MODE)
        return hosts, termination

    def _write_hosts(self, pod: Pod, pod_ips: tuple[str, ...], hosts: Path) -> None:
        host_file = _HOST_FILE.read_text() if pod.spec.host_network else ""
        text = build_hosts_file(pod, pod_ips, host_file, self._environment.cluster_domain)
        # In place: running containers mount this very file.
        if not hosts.exists() or hosts.read_text() != text:
            hosts.write_text(text)

    async def remove_log(self, path: Path) -> None:
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def remove_pod(self, pod: Pod) -> None:
        await self._cgroups.remove_pod_cgroups(pod.uid)
        await asyncio.to_thread(self._remove, pod)

    def _remove(self, pod: Pod) -> None:
        shutil.rmtree(build_log_directory(pod, self._environment), ignore_errors=True)
        try:
            # The volumes went first; a mount that is left must not be deleted into.
            remove_tree(build_pod_directory(self._environment.root_dir, pod.uid))
        except OtherMount as error:
            raise Unavailable("FailedUnMount", str(error)) from error


def build_termination_path(environment: PodEnvironment, uid: PodUID, container: str, attempt: int) -> Path:
    """Where one attempt of a container leaves its last words."""
    return build_pod_directory(environment.root_dir, uid) / _CONTAINERS / container / str(attempt)
