"""The configuration of a lab node's containerd.

Pure. Rendered for configuration version 2: containerd 1.6 and 1.7 read it as it is, 2.x migrates it while
loading. Called by `lab.runtime_node`, which writes it and starts containerd.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What a lab node never uses. It starts faster without, and makes nothing outside its own directories.
DISABLED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",  # makes /opt/containerd
    "io.containerd.internal.v1.restart",
    "io.containerd.monitor.container.v1.restart",  # the same in 2.x
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.nri.v1.nri",  # listens on /var/run/nri/nri.sock
)
CAP_SYS_RESOURCE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdSettings:
    root: Path
    state: Path
    socket: Path
    cni_conf_directory: Path
    cni_bin_directory: Path
    sandbox_image: str
    restrict_oom_score_adj: bool
    snapshotter: str = "overlayfs"
    runc: Path | None = None  # None: as found in containerd's PATH


def render_containerd_config(settings: ContainerdSettings) -> str:
    """The TOML text."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    runc = f"{cri}.containerd.runtimes.runc"
    tables: tuple[tuple[str, Mapping[str, object]], ...] = (
        (
            "",
            {
                "version": 2,
                "root": settings.root,
                "state": settings.state,
                "disabled_plugins": list(DISABLED_PLUGINS),
            },
        ),
        ("grpc", {"address": settings.socket}),
        (
            cri,
            {
                "sandbox_image": settings.sandbox_image,
                "restrict_oom_score_adj": settings.restrict_oom_score_adj,
                # Else pod namespaces are mounted under /var/run/netns, which all nodes share.
                "netns_mounts_under_state_dir": True,
                "disable_apparmor": True,  # loading its profile would outlive the lab
                "stream_server_address": "127.0.0.1",
            },
        ),
        (f"{cri}.containerd", {"snapshotter": settings.snapshotter, "default_runtime_name": "runc"}),
        (runc, {"runtime_type": "io.containerd.runc.v2"}),
        (f"{runc}.options", _build_runc_options(settings)),
        (f"{cri}.cni", {"bin_dir": settings.cni_bin_directory, "conf_dir": settings.cni_conf_directory}),
    )
    return "\n".join(_render_table(name, values) for name, values in tables)


def _build_runc_options(settings: ContainerdSettings) -> Mapping[str, object]:
    options = {"SystemdCgroup": False, "Root": settings.state / "runc"}
    return options if settings.runc is None else options | {"BinaryName": settings.runc}


def has_bounding_capability(proc_status: str, capability: int) -> bool:
    """Whether the bounding set in the text of /proc/<pid>/status holds the capability with this number."""
    for line in proc_status.splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def choose_snapshotter(filesystem: str) -> str:
    """overlayfs, unless the root itself is on one (a lab inside a container): they don't stack."""
    return "native" if filesystem == "overlay" else "overlayfs"


def _render_table(name: str, values: Mapping[str, object]) -> str:
    lines = [f"[{name}]"] if name else []
    return "\n".join(lines + [f"{key} = {_render_value(value)}" for key, value in values.items()]) + "\n"


def _render_value(value: object) -> str:
    return json.dumps(
        str(value) if isinstance(value, Path) else value
    )  # TOML reads JSON's scalars and arrays
