from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

from lab.containerd_config import (
    CAP_SYS_RESOURCE,
    ContainerdSettings,
    choose_snapshotter,
    has_bounding_capability,
    render_containerd_config,
)

CRI = "io.containerd.grpc.v1.cri"
SETTINGS = ContainerdSettings(
    root=Path("/d/containerd"),
    state=Path("/r/containerd"),
    socket=Path("/r/containerd.sock"),
    cni_conf_directory=Path("/d/cni/net.d"),
    cni_bin_directory=Path("/usr/lib/cni"),
    sandbox_image="berth.local/pause:1",
    restrict_oom_score_adj=True,
)


def test_every_path_is_the_node_s_own() -> None:
    config = tomllib.loads(render_containerd_config(SETTINGS))
    cri = config["plugins"][CRI]

    assert config["version"] == 2
    assert (config["root"], config["state"]) == ("/d/containerd", "/r/containerd")
    assert config["grpc"]["address"] == "/r/containerd.sock"
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": "/d/cni/net.d"}
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["containerd"]["runtimes"]["runc"]["options"]["Root"] == "/r/containerd/runc"


def test_another_runc_is_named_and_the_system_s_is_not() -> None:
    def options(settings: ContainerdSettings) -> object:
        config = tomllib.loads(render_containerd_config(settings))
        return config["plugins"][CRI]["containerd"]["runtimes"]["runc"]["options"].get("BinaryName")

    assert options(SETTINGS) is None
    assert options(replace(SETTINGS, runc=Path("/d/runc"))) == "/d/runc"


def test_nothing_is_pulled_for_a_sandbox() -> None:
    config = tomllib.loads(render_containerd_config(SETTINGS))

    assert config["plugins"][CRI]["sandbox_image"] == "berth.local/pause:1"


def test_oom_scores_are_restricted_only_where_they_must_be() -> None:
    free = tomllib.loads(render_containerd_config(replace(SETTINGS, restrict_oom_score_adj=False)))
    restricted = tomllib.loads(render_containerd_config(SETTINGS))

    assert free["plugins"][CRI]["restrict_oom_score_adj"] is False
    assert restricted["plugins"][CRI]["restrict_oom_score_adj"] is True


def test_a_path_with_quotes_survives() -> None:
    odd = Path('/d/"odd" \\ name')

    assert tomllib.loads(render_containerd_config(replace(SETTINGS, root=odd)))["root"] == str(odd)


def test_the_bounding_set_tells_whether_a_capability_can_be_had() -> None:
    full = "CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n"
    without = "CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n"

    assert has_bounding_capability(full, CAP_SYS_RESOURCE)
    assert not has_bounding_capability(without, CAP_SYS_RESOURCE)
    assert not has_bounding_capability("", CAP_SYS_RESOURCE)


def test_overlays_are_not_stacked() -> None:
    assert choose_snapshotter("ext4") == "overlayfs"
    assert choose_snapshotter("overlay") == "native"
