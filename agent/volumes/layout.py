"""Where a pod's volumes lie below the agent's root directory.

Pure. The directories are named as the kubelet names them (`kubernetes.io~<kind>`), which people who look at a
node expect. Called by everything in this package; `agent.pods` keeps its own files beside `volumes` in the
pod's directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kubeapi.pod import PodUID

EMPTY_DIR: Final = "kubernetes.io~empty-dir"
CONFIG_MAP: Final = "kubernetes.io~configmap"
SECRET: Final = "kubernetes.io~secret"
DOWNWARD_API: Final = "kubernetes.io~downward-api"
PROJECTED: Final = "kubernetes.io~projected"
LOCAL: Final = "kubernetes.io~local-volume"
HOST_PATH: Final = "kubernetes.io~host-path"


def build_pods_directory(root: Path) -> Path:
    return root / "pods"


def build_pod_directory(root: Path, uid: PodUID) -> Path:
    return build_pods_directory(root) / _checked(uid)


def build_volumes_directory(root: Path, uid: PodUID) -> Path:
    return build_pod_directory(root, uid) / "volumes"


def build_sub_paths_directory(root: Path, uid: PodUID) -> Path:
    return build_pod_directory(root, uid) / "volume-subpaths"


def build_sub_path_target(root: Path, uid: PodUID, container: str, index: int) -> Path:
    """Where the container's sub-path of that number is bound."""
    return build_sub_paths_directory(root, uid) / _checked(container) / str(index)


def build_volume_path(root: Path, uid: PodUID, kind: str, name: str) -> Path:
    return build_volumes_directory(root, uid) / kind / _checked(name)


def _checked(component: str) -> str:
    """A uid or a name becomes one path component or none at all: it may come from a static pod's file."""
    if component in ("", ".", "..") or "/" in component or "\0" in component:
        raise ValueError(f"{component!r} can't name a directory; use a DNS label")
    return component
