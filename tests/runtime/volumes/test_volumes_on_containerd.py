"""Every kind of volume and every option of its mounts, as a container on real containerd sees them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.volumes.mounts import is_mounted, mount_tmpfs, read_mounts_below
from kubeapi.core import Node, ObjectReference
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.pod import (
    EnvVar,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSecurityContext,
    PodUID,
    ResourceRequirements,
    SecurityContext,
    VolumeMount,
)
from kubeapi.storage import (
    LocalVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from kubeapi.volume import (
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    ImageVolumeSource,
    KeyToPath,
    NamedProjection,
    PersistentVolumeClaimVolumeSource,
    ProjectedVolumeSource,
    SecretVolumeSource,
    Volume,
    VolumeProjection,
)
from lab.images import SHELL_IMAGE
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

SETTINGS = ObjectKey("default", "settings")
KEYS = ObjectKey("default", "keys")
CLAIM = ObjectKey("default", "data")
MACHINE = Node(metadata=ObjectMeta(name="node-1", labels={"kubernetes.io/hostname": "node-1"}))


def _pod(
    *commands: str,
    volume: Volume,
    container: Mapping[str, Any] | None = None,
    security: PodSecurityContext | None = None,
    **mount: Any,
) -> Pod:
    """A pod that runs the commands with one volume at /v, and then waits."""
    mounts = (VolumeMount(name=volume.name, mount_path="/v", **mount),)
    return new_pod(
        "exec 2>&1",  # two streams would reach the log in any order
        *commands,
        "echo done",
        FOREVER,
        container={"volume_mounts": mounts, **(container or {})},
        volumes=(volume,),
        security_context=security,
    )


async def _run(host: PodHost, pod: Pod) -> list[str]:
    """What its commands print."""
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    await host.wait(lambda: host.read_log(pod).endswith("done"))
    return host.read_log(pod).splitlines()[:-1]


async def _refused(host: PodHost, pod: Pod, words: str, reason: str = "FailedMount") -> PodUID:
    """Waits for the Event that says so."""
    uid = host.create(pod)
    await host.wait(
        lambda: any(event.reason == reason and words in event.message for event in host.events.events)
    )
    return uid


async def _gone(host: PodHost, uid: PodUID) -> None:
    host.delete(uid, grace_seconds=1)
    await host.wait_until_gone(uid)
    assert read_mounts_below(host.root) == ()


# --- emptyDir -----------------------------------------------------------------------------------------------


async def test_an_empty_dir_in_memory_ends_at_the_pods_memory_limit(host: PodHost) -> None:
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource(medium="Memory", size_limit="1Gi"))
    limit = {"resources": ResourceRequirements(limits={"memory": "64Mi"})}
    lines = await _run(
        host, _pod("df -k /v | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2", volume=volume, container=limit)
    )
    assert lines == [str(64 * 1024)]


async def test_an_empty_dir_belongs_to_the_fs_group(host: PodHost) -> None:
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource())
    context = PodSecurityContext(fs_group=4242, run_as_user=1000)
    pod = _pod("touch /v/f", "stat -c '%a %g' /v /v/f", volume=volume, security=context)
    assert await _run(host, pod) == ["2777 4242", "644 4242"]


# --- hostPath -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "DirectoryOrCreate", "Directory"])
async def test_a_host_directory_outlives_its_pod(host: PodHost, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    if kind != "DirectoryOrCreate":
        path.mkdir()
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(path), type=kind))
    pod = _pod("echo x > /v/f", volume=volume)
    await _run(host, pod)
    await _gone(host, pod.uid)
    assert (path / "f").read_text() == "x\n"


@pytest.mark.parametrize("kind", ["FileOrCreate", "File"])
async def test_a_host_file_is_a_file(host: PodHost, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "File":
        path.touch()
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(path), type=kind))
    await _run(host, _pod("echo x > /v", volume=volume))
    assert path.read_text() == "x\n"


async def test_a_socket_and_a_device_are_what_they_are(host: PodHost, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(path), type="Socket"))
        assert await _run(host, _pod("stat -c %F /v", volume=volume)) == ["socket"]
    device = Volume(name="v", host_path=HostPathVolumeSource(path="/dev/null", type="CharDevice"))
    assert await _run(host, _pod("stat -c %F /v", volume=device)) == ["character special file"]


async def test_a_path_of_another_type_is_refused_in_the_kubelets_words(host: PodHost, tmp_path: Path) -> None:
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(tmp_path), type="BlockDevice"))
    words = f'volume "v" : hostPath type check failed: {tmp_path} is not a block device'
    await _refused(host, _pod(volume=volume), words)


# --- configMap, secret, projected ---------------------------------------------------------------------------


async def test_files_have_their_modes_and_the_fs_group_reads_them(host: PodHost) -> None:
    host.config.secrets[KEYS] = {"a": b"1", "b": b"2"}
    items = (KeyToPath(key="a", path="a"), KeyToPath(key="b", path="deep/b", mode=0o500))
    source = SecretVolumeSource(secret_name="keys", default_mode=0o400, items=items)
    show = (
        "stat -L -c '%a %g' /v/a /v/deep /v/deep/b; cat /v/a /v/deep/b; echo; touch /v/new || echo read-only"
    )
    assert await _run(host, _pod(show, volume=Volume(name="v", secret=source))) == [
        "400 0",
        "755 0",
        "500 0",
        "12",
        *_read_only("/v/new"),
    ]
    context = PodSecurityContext(fs_group=4242)
    lines = await _run(host, _pod(show, volume=Volume(name="v", secret=source), security=context))
    assert lines[:3] == ["440 4242", "2755 4242", "540 4242"]


def _read_only(path: str) -> list[str]:
    return [f"touch: {path}: Read-only file system", "read-only"]


async def test_optional_sources_may_be_missing_and_come_later(host: PodHost) -> None:
    projection = NamedProjection(name="settings", optional=True)
    source = ProjectedVolumeSource(sources=(VolumeProjection(config_map=projection),))
    pod = _pod(
        "until cat /v/key 2>/dev/null; do sleep 0.05; done; echo", volume=Volume(name="v", projected=source)
    )
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    host.config.config_maps[SETTINGS] = {"key": b"late"}
    host.lanes.note_config(uid)
    await host.wait(lambda: host.read_log(pod).startswith("late"))


async def test_a_trust_bundle_is_refused_with_a_sentence(host: PodHost) -> None:
    source = ProjectedVolumeSource(sources=(VolumeProjection(cluster_trust_bundle={"name": "x"}),))
    await _refused(
        host,
        _pod(volume=Volume(name="v", projected=source)),
        "clusterTrustBundle isn't supported by this agent",
    )


async def test_a_config_map_that_comes_ends_the_wait_at_once(host: PodHost) -> None:
    pod = _pod(volume=Volume(name="v", config_map=ConfigMapVolumeSource(name="settings")))
    uid = await _refused(host, pod, 'configmap "settings" not found')
    await asyncio.sleep(3)  # the back-off has grown by now
    host.config.config_maps[SETTINGS] = {"key": b"x"}
    host.lanes.note_config(uid)
    await host.wait(lambda: host.is_ready(uid), seconds=3)


# --- subPath ------------------------------------------------------------------------------------------------


async def test_a_sub_path_shows_a_part_of_the_volume(host: PodHost, tmp_path: Path) -> None:
    volume = Volume(
        name="v", host_path=HostPathVolumeSource(path=str(tmp_path / "data"), type="DirectoryOrCreate")
    )
    pod = _pod("echo x > /v/f; ls /v", volume=volume, sub_path="a/b")
    assert await _run(host, pod) == ["f"]
    assert (tmp_path / "data/a/b/f").read_text() == "x\n"
    (target,) = [mount.mount_point for mount in read_mounts_below(host.root)]
    assert target == host.root / "pods" / pod.uid / "volume-subpaths/main/0"
    await _gone(host, pod.uid)
    assert (tmp_path / "data/a/b/f").read_text() == "x\n"


async def test_a_single_key_is_mounted_as_a_file(host: PodHost) -> None:
    host.config.config_maps[SETTINGS] = {"key": b"text\n", "other": b""}
    volume = Volume(name="v", config_map=ConfigMapVolumeSource(name="settings"))
    pod = _pod("cat /v", volume=volume, sub_path="key")
    assert await _run(host, pod) == ["text"]
    await _gone(host, pod.uid)


async def test_a_sub_path_expression_is_expanded(host: PodHost, tmp_path: Path) -> None:
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(tmp_path)))
    env = {"env": (EnvVar(name="WHO", value="me"),)}
    await _run(host, _pod("touch /v/f", volume=volume, container=env, sub_path_expr="logs/$(WHO)"))
    assert (tmp_path / "logs/me/f").exists()
    unknown = _pod(volume=volume, sub_path_expr="$(NOBODY)")
    await _refused(host, unknown, "missing value for 'NOBODY'", reason="Failed")


async def test_a_sub_path_that_leads_out_is_refused(host: PodHost, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to("/etc")
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(tmp_path / "data")))
    await _refused(host, _pod(volume=volume, sub_path="link"), "leads out of its volume", reason="Failed")


# --- propagation and read-only ------------------------------------------------------------------------------


async def test_mounts_of_the_host_reach_a_container_that_asks_for_them(host: PodHost) -> None:
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource())
    pod = _pod(
        "mkdir /v/inner; until [ -e /v/inner/f ]; do sleep 0.05; done",
        volume=volume,
        mount_propagation="HostToContainer",
    )
    uid = host.create(pod)
    inner = host.root / "pods" / uid / "volumes/kubernetes.io~empty-dir/v/inner"
    await host.wait(inner.exists)
    mount_tmpfs(inner)
    (inner / "f").touch()
    await host.wait(lambda: host.read_log(pod).endswith("done"))
    await _gone(host, uid)


async def test_mounts_of_a_privileged_container_reach_the_host(host: PodHost) -> None:
    pod = _pod(
        "mkdir /v/inner; mount -t tmpfs inner /v/inner; touch /v/inner/f",
        volume=Volume(name="v", empty_dir=EmptyDirVolumeSource(medium="Memory")),
        container={"security_context": SecurityContext(privileged=True)},
        mount_propagation="Bidirectional",
    )
    await _run(host, pod)
    inner = host.root / "pods" / pod.uid / "volumes/kubernetes.io~empty-dir/v/inner"
    assert is_mounted(inner)
    assert (inner / "f").exists()
    await _gone(host, pod.uid)


async def test_mounts_of_any_other_container_may_not(host: PodHost) -> None:
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource())
    pod = _pod(volume=volume, mount_propagation="Bidirectional")
    await _refused(host, pod, "available only to privileged containers", reason="Failed")


async def test_without_propagation_each_side_keeps_its_mounts(host: PodHost) -> None:
    pod = _pod(
        "mkdir /v/inner; until [ -e /v/go ]; do sleep 0.05; done; ls /v/inner",
        volume=Volume(name="v", empty_dir=EmptyDirVolumeSource()),
    )
    uid = host.create(pod)
    path = host.root / "pods" / uid / "volumes/kubernetes.io~empty-dir/v"
    await host.wait((path / "inner").exists)
    mount_tmpfs(path / "inner")
    (path / "inner/f").touch()
    (path / "go").touch()
    await host.wait(lambda: host.read_log(pod).endswith("done"))
    assert host.read_log(pod) == "done"
    await _gone(host, uid)


async def test_recursive_read_only_is_asked_only_of_a_runtime_that_has_it(
    host: PodHost, tmp_path: Path
) -> None:
    volume = Volume(name="v", host_path=HostPathVolumeSource(path=str(tmp_path)))
    has = (await host.client.read_handler_features("")).recursive_read_only
    if has:
        lines = await _run(
            host, _pod("touch /v/f", volume=volume, read_only=True, recursive_read_only="Enabled")
        )
        assert lines == ["touch: /v/f: Read-only file system"]
    else:
        enabled = _pod(volume=volume, read_only=True, recursive_read_only="Enabled")
        await _refused(host, enabled, "not supported by the runtime", reason="Failed")
    pod = _pod("touch /v/f || echo refused", volume=volume, read_only=True, recursive_read_only="IfPossible")
    assert (await _run(host, pod))[-1] == "refused"
    wrong = _pod(volume=volume, recursive_read_only="IfPossible")
    await _refused(
        host, wrong, "requested recursive read-only mode, but it is not read-only", reason="Failed"
    )


# --- persistent volumes -------------------------------------------------------------------------------------


def _claim_pod(*commands: str, read_only: bool = False, security: PodSecurityContext | None = None) -> Pod:
    source = PersistentVolumeClaimVolumeSource(claim_name="data", read_only=read_only)
    return _pod(*commands, volume=Volume(name="v", persistent_volume_claim=source), security=security)


def _bind_claim(host: PodHost, phase: str = "Bound", node: str = "node-1", **source: Any) -> None:
    """The claim `data` and the volume pv-1 that it is bound to."""
    host.machine = MACHINE
    host.claims.claims[CLAIM] = PersistentVolumeClaim(
        metadata=ObjectMeta(name="data", namespace="default", uid="claim-uid"),
        spec=PersistentVolumeClaimSpec(volume_name="pv-1"),
        status=PersistentVolumeClaimStatus(phase=phase),
    )
    here = NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=(node,))
    terms = (NodeSelectorTerm(match_expressions=(here,)),)
    host.claims.volumes["pv-1"] = PersistentVolume(
        metadata=ObjectMeta(name="pv-1"),
        spec=PersistentVolumeSpec(
            claim_ref=ObjectReference(namespace="default", name="data", uid="claim-uid"),
            node_affinity=VolumeNodeAffinity(required=NodeSelector(node_selector_terms=terms)),
            **source,
        ),
    )


async def test_a_claim_on_a_local_volume_is_owned_by_the_fs_group(host: PodHost, tmp_path: Path) -> None:
    (tmp_path / "disk/below").mkdir(parents=True)
    (tmp_path / "disk/below/old").write_text("x")
    (tmp_path / "disk/link").symlink_to("/etc/passwd")
    before = os.stat("/etc/passwd")
    _bind_claim(host, local=LocalVolumeSource(path=str(tmp_path / "disk")))
    context = PodSecurityContext(fs_group=4242, run_as_user=1000)
    pod = _claim_pod("echo y >> /v/below/old; cat /v/below/old", security=context)
    assert await _run(host, pod) == ["xy"]
    assert (tmp_path / "disk/below").stat().st_gid == 4242
    assert os.stat("/etc/passwd").st_gid == before.st_gid
    mount = host.root / "pods" / pod.uid / "volumes/kubernetes.io~local-volume/v"
    assert is_mounted(mount)
    await _gone(host, pod.uid)
    assert (tmp_path / "disk/below/old").read_text() == "xy\n"


async def test_a_claim_on_a_host_path_volume_goes_on_without_the_api_server(
    host: PodHost, tmp_path: Path
) -> None:
    _bind_claim(host, host_path=HostPathVolumeSource(path=str(tmp_path / "data"), type="DirectoryOrCreate"))
    pod = _claim_pod("cat /v/f 2>/dev/null && { echo; echo again; sleep 100; }; echo -n x > /v/f; exit 1")
    uid = host.create(pod)
    await host.wait((tmp_path / "data/f").exists)
    host.claims.reachable = False
    await host.crash()
    host.start()
    await host.wait(lambda: (host.log_root / f"default_web_{uid}/main/1.log").exists())
    await host.wait(lambda: host.read_log(pod, attempt=1) == "x\nagain")
    await _gone(host, uid)
    assert (tmp_path / "data/f").read_text() == "x"


async def test_a_claim_may_be_read_only(host: PodHost, tmp_path: Path) -> None:
    _bind_claim(host, local=LocalVolumeSource(path=str(tmp_path)))
    lines = await _run(host, _claim_pod("touch /v/f || echo refused", read_only=True))
    assert lines[-1] == "refused"


async def test_a_pod_waits_until_its_claim_is_bound(host: PodHost, tmp_path: Path) -> None:
    _bind_claim(host, phase="Pending", local=LocalVolumeSource(path=str(tmp_path)))
    uid = await _refused(host, _claim_pod(), "error processing PVC default/data: PVC is not bound")
    _bind_claim(host, local=LocalVolumeSource(path=str(tmp_path)))
    await host.wait(lambda: host.is_ready(uid))


async def test_a_volume_of_another_node_is_refused(host: PodHost, tmp_path: Path) -> None:
    _bind_claim(host, node="node-2", local=LocalVolumeSource(path=str(tmp_path)))
    await _refused(host, _claim_pod(), 'MountVolume.NodeAffinity check failed for volume "pv-1"')


# --- images -------------------------------------------------------------------------------------------------


async def test_an_image_is_a_volume_where_the_runtime_has_them(host: PodHost) -> None:
    pod = _pod("ls /v/bin/sh", volume=Volume(name="v", image=ImageVolumeSource(reference=SHELL_IMAGE)))
    version = await host.client.read_version()
    if version.version.startswith("1."):
        await _refused(host, pod, "image volumes need containerd 2.1 or CRI-O 1.31")
    else:
        assert await _run(host, pod) == ["/v/bin/sh"]


# --- teardown -----------------------------------------------------------------------------------------------


async def test_a_directory_that_nobody_remembers_is_taken_down(host: PodHost) -> None:
    """The checkpoint is lost between two lives of the agent, and the runtime has nothing of the pod."""
    await host.crash()
    forgotten = host.root / "pods/forgotten-uid"
    fast = forgotten / "volumes/kubernetes.io~empty-dir/fast"
    fast.mkdir(parents=True)
    (forgotten / "containers/main").mkdir(parents=True)
    mount_tmpfs(fast)
    log = host.log_root / "default_old_forgotten-uid/main"
    log.mkdir(parents=True)
    host.start()
    await host.wait(lambda: not forgotten.exists())
    assert not log.parent.exists()
    assert read_mounts_below(host.root) == ()


async def test_a_busy_mount_delays_its_pod_alone_and_says_who(host: PodHost) -> None:
    pod = _pod(volume=Volume(name="v", empty_dir=EmptyDirVolumeSource(medium="Memory")))
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    path = host.root / "pods" / uid / "volumes/kubernetes.io~empty-dir/v"
    with (path / "held").open("w"):
        host.delete(uid, grace_seconds=1)
        me = f"it is in use by process {os.getpid()}"
        await host.wait(
            lambda: any(e.reason == "FailedUnMount" and me in e.message for e in host.events.events)
        )
        other = _pod(volume=Volume(name="v", empty_dir=EmptyDirVolumeSource(medium="Memory")))
        assert await _run(host, other) == []
    await host.wait_until_gone(uid)


async def test_crash_loops_leave_no_termination_messages_behind(host: PodHost) -> None:
    pod = new_pod("echo why > /dev/termination-log; exit 1")
    uid = host.create(pod)
    await host.wait(
        lambda: any(status.restart_count >= 2 for status in host.status(uid).container_statuses), seconds=60
    )
    messages = host.root / "pods" / uid / "containers/main"
    await host.wait(lambda: len(list(messages.iterdir())) <= 2)
