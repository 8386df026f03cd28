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

from agent.pods.hosts_file import build_hosts_file
from agent.pods.sandbox_config import PodEnvironment, build_log_directory
from agent.resources.pod_cgroups import PodCgroups
from agent.volumes.layout import build_pod_directory
from agent.volumes.sub_path import resolve_sub_path
from kubeapi.pod import Pod, PodUID

_HOST_FILE: Final = Path("/etc/hosts")
_HOSTS: Final = "etc-hosts"
_CONTAINERS: Final = "containers"
_MESSAGE_MODE: Final = 0o666  # the container may run as any user


@dataclass(frozen=True, slots=True)
class ContainerFiles:
    hosts: Path
    termination: Path
    sub_paths: tuple[Path, ...]


class PodFiles(Protocol):
    async def prepare_pod(self, pod: Pod) -> None:
        """The log directory, which the runtime expects."""

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
        """One attempt's log. Idempotent."""

    async def remove_pod(self, pod: Pod) -> None:
        """Files, logs and cgroups. Idempotent."""


class LocalPodFiles:
    def __init__(self, environment: PodEnvironment, cgroups: PodCgroups) -> None:
        self._environment = environment
        self._cgroups = cgroups

    async def prepare_pod(self, pod: Pod) -> None:
        directory = build_log_directory(pod, self._environment)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)

    async def prepare_container(
        self,
        pod: Pod,
        container: str,
        attempt: int,
        pod_ips: tuple[str, ...],
        sub_paths: tuple[tuple[Path, str], ...],
    ) -> ContainerFiles:
        return await asyncio.to_thread(self._prepare, pod, container, attempt, pod_ips, sub_paths)

    def _prepare(
        self,
        pod: Pod,
        container: str,
        attempt: int,
        pod_ips: tuple[str, ...],
        sub_paths: tuple[tuple[Path, str], ...],
    ) -> ContainerFiles:
        directory = build_pod_directory(self._environment.root_dir, pod.uid)
        messages = directory / _CONTAINERS / container
        messages.mkdir(parents=True, exist_ok=True)
        (build_log_directory(pod, self._environment) / container).mkdir(parents=True, exist_ok=True)
        hosts, termination = directory / _HOSTS, messages / str(attempt)
        self._write_hosts(pod, pod_ips, hosts)
        termination.write_bytes(b"")
        termination.chmod(_MESSAGE_MODE)
        resolved = tuple(resolve_sub_path(volume, sub_path) for volume, sub_path in sub_paths)
        return ContainerFiles(hosts, termination, resolved)

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
        directory = self._directory(pod.uid)
        if not directory.exists():
            return
        (directory / _HOSTS).unlink(missing_ok=True)
        if (directory / _CONTAINERS).exists():
            shutil.rmtree(directory / _CONTAINERS)
        directory.rmdir()  # not empty means that a volume is left, which must not be deleted into

    def _directory(self, uid: PodUID) -> Path:
        return build_pod_directory(self._environment.root_dir, uid)
