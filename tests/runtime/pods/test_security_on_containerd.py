"""Security contexts on real containerd, as the processes in the containers see themselves.

What containerd 1.6 doesn't have is tried on the newer one that `./dev runtimes` unpacks.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.runtime.client import RuntimeClient
from agent.volumes.mounts import mount_tmpfs, unmount
from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    Capabilities,
    Container,
    Pod,
    PodSecurityContext,
    SecurityContext,
    SecurityProfile,
    Sysctl,
    VolumeMount,
)
from kubeapi.volume import ConfigMapVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource, Volume
from lab.bare_pods import write_bridge_conf
from lab.errors import LabError
from lab.images import SHELL_IMAGE
from lab.runtime_node import RuntimeNode, running_runtime_node
from lab.runtimes import default_runtime, find_runtime
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

NEWER = "containerd-2"
LOOK = (
    'echo "uid $(id -u)"; echo "gid $(id -g)"; echo "groups $(id -G)"',
    "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status",
    'echo "masks $(grep -c "^[a-z]* /proc/" /proc/mounts)"',
    'touch /written 2>/dev/null && echo "root written" || echo "root kept"',
    "mkdir /tmp/made 2>/dev/null && echo 'mkdir made' || echo 'mkdir refused'",
    "(echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null && echo 'sys open' || echo 'sys closed'",
)
NET_BIND_SERVICE = 1 << 10
NET_RAW = 1 << 13


def looking(name: str, *more: str, **fields: Any) -> Container:
    command = ("sh", "-c", "\n".join((*LOOK, *more, "echo end", FOREVER)))
    return Container(name=name, image=SHELL_IMAGE, command=command, **fields)


def parse_facts(text: str) -> Mapping[str, str]:
    """The lines by their first word, without the colon that /proc has."""
    pairs = (line.partition("\t" if "\t" in line else " ") for line in text.splitlines())
    return {name.rstrip(":"): value.strip() for name, _, value in pairs}


async def read_facts(host: PodHost, pod: Pod, *containers: str) -> tuple[Mapping[str, str], ...]:
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    await host.wait(lambda: all("end" in host.read_log(pod, name) for name in containers))
    return tuple(parse_facts(host.read_log(pod, name)) for name in containers)


def mask(facts: Mapping[str, str], name: str) -> int:
    return int(facts[name], 16)


async def test_each_process_is_as_its_security_context_says(host: PodHost) -> None:
    profiles = host.root / "seccomp" / "profiles"
    profiles.mkdir(parents=True)
    refusal = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refusal]}
    (profiles / "no-mkdir.json").write_text(json.dumps(profile))
    confined = SecurityContext(
        run_as_user=1000,
        run_as_group=2000,
        run_as_non_root=True,
        capabilities=Capabilities(add=("CAP_NET_BIND_SERVICE",), drop=("ALL",)),
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
    )
    local = SecurityProfile(type="Localhost", localhost_profile="profiles/no-mkdir.json")
    no_raw = Capabilities(drop=("NET_RAW",))
    pod = new_pod(
        containers=(
            looking("confined", security_context=confined),
            looking("shared"),
            looking(
                "local",
                security_context=SecurityContext(run_as_user=0, seccomp_profile=local, capabilities=no_raw),
            ),
            looking("privileged", security_context=SecurityContext(run_as_user=0, privileged=True)),
        ),
        security_context=PodSecurityContext(
            run_as_user=500,
            run_as_group=600,
            fs_group=3000,
            supplemental_groups=(4000,),
            seccomp_profile=SecurityProfile(type="RuntimeDefault"),
            sysctls=(Sysctl(name="net/ipv4/tcp_fin_timeout", value="17"),),
        ),
    )
    names = ("confined", "shared", "local", "privileged")
    confined_facts, shared, local_facts, privileged = await read_facts(host, pod, *names)
    assert (confined_facts["uid"], confined_facts["gid"]) == ("1000", "2000")
    assert set(confined_facts["groups"].split()) == {"2000", "3000", "4000"}
    assert mask(confined_facts, "CapBnd") == NET_BIND_SERVICE
    assert (confined_facts["NoNewPrivs"], confined_facts["Seccomp"]) == ("1", "2")
    assert (confined_facts["root"], int(confined_facts["masks"]) > 5) == ("kept", True)
    assert (shared["uid"], shared["gid"]) == ("500", "600")
    assert (shared["NoNewPrivs"], shared["Seccomp"]) == ("0", "2")
    assert mask(shared, "CapBnd") & NET_RAW
    assert (local_facts["mkdir"], local_facts["Seccomp"], local_facts["root"]) == ("refused", "2", "written")
    assert not mask(local_facts, "CapEff") & NET_RAW
    assert (privileged["Seccomp"], privileged["mkdir"], privileged["masks"]) == ("0", "made", "0")
    assert bin(mask(privileged, "CapEff")).count("1") > bin(mask(shared, "CapBnd")).count("1")
    assert (privileged["sys"], local_facts["sys"]) == ("open", "closed")


async def test_namespaces_are_shared_as_asked(host: PodHost) -> None:
    namespaces = "for ns in pid ipc net uts user; do echo $ns $(readlink /proc/self/ns/$ns); done"
    command = (namespaces, "echo timeout $(cat /proc/sys/net/ipv4/tcp_fin_timeout)", "echo end")
    host_pod = new_pod(*command, FOREVER, host_network=True, host_pid=True, host_ipc=True)
    host_uid = host.create(host_pod)
    shared_pod = new_pod(
        "echo first $(tr '\\0' ' ' < /proc/1/cmdline)",
        *command,
        FOREVER,
        share_process_namespace=True,
        security_context=PodSecurityContext(sysctls=(Sysctl(name="net.ipv4.tcp_fin_timeout", value="17"),)),
    )
    shared_uid = host.create(shared_pod)
    await host.wait(lambda: host.is_ready(host_uid) and host.is_ready(shared_uid))
    await host.wait(lambda: all("end" in host.read_log(pod) for pod in (host_pod, shared_pod)))
    of_host, of_shared = (parse_facts(host.read_log(pod)) for pod in (host_pod, shared_pod))
    for name in ("pid", "ipc"):
        assert of_host[name] == os.readlink(f"/proc/self/ns/{name}")
        assert of_shared[name] != of_host[name]
    assert of_host["net"] == f"net:[{host.node.netns.stat().st_ino}]"
    assert of_shared["net"] != of_host["net"]
    assert (of_host["user"], of_shared["user"]) == (os.readlink("/proc/self/ns/user"),) * 2
    assert of_shared["timeout"] == "17"
    assert of_shared["first"].startswith("/pause")


async def test_who_must_not_be_root_is_told_why_it_doesnt_run(host: PodHost) -> None:
    as_root = SecurityContext(run_as_user=0)
    pod = new_pod(
        containers=(
            Container(name="image", image=SHELL_IMAGE),
            Container(name="own", image=SHELL_IMAGE, security_context=as_root),
        ),
        security_context=PodSecurityContext(run_as_non_root=True),
    )
    uid = host.create(pod)

    def waiting() -> dict[str, tuple[str, str]]:
        states = {each.name: each.state.waiting for each in host.status(uid).container_statuses}
        return {name: (state.reason, state.message) for name, state in states.items() if state is not None}

    await host.wait(lambda: {reason for reason, _ in waiting().values()} == {"CreateContainerConfigError"})
    where = f'(pod: "web_default({uid})", container:'
    assert waiting()["image"][1] == f"container has runAsNonRoot and image will run as root {where} image)"
    assert waiting()["own"][1] == f"container's runAsUser breaks non-root policy {where} own)"


async def test_a_runtime_class_without_its_handler_says_so(host: PodHost) -> None:
    good, bad = (new_pod(FOREVER, name=name, runtime_class_name=name) for name in ("runc", "absent"))
    good_uid, _ = host.create(good), host.create(bad)
    await host.wait(lambda: host.is_ready(good_uid))
    await host.wait(lambda: any(each.reason == "FailedCreatePodSandBox" for each in host.events.events))
    event = next(each for each in host.events.events if each.reason == "FailedCreatePodSandBox")
    assert event.message.startswith("Failed to create pod sandbox: ")
    assert '"absent"' in event.message


async def test_what_a_runtime_cant_do_isnt_left_out_quietly(host: PodHost) -> None:
    features = await host.client.read_features()
    if features.of("").user_namespaces:
        pytest.skip(f"{default_runtime()} has user namespaces")
    host.create(new_pod(FOREVER, host_users=False))
    await host.wait(lambda: any("no user namespaces" in each.message for each in host.events.events))


# --- what only newer runtimes have --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newer_node(request: pytest.FixtureRequest) -> Iterator[RuntimeNode]:
    if default_runtime() == NEWER:
        yield request.getfixturevalue("runtime_node")
        return
    try:
        programs = find_runtime(NEWER)
    except LabError as error:
        pytest.skip(str(error))
    with running_runtime_node(f"rn-{os.getpid()}", programs=programs) as node:
        write_bridge_conf(node)
        yield node


@pytest_asyncio.fixture
async def newer(newer_node: RuntimeNode, tmp_path: Path) -> AsyncIterator[PodHost]:
    async with RuntimeClient(newer_node.endpoint, node_name="node-1") as client:
        host = PodHost(newer_node, client, tmp_path)
        host.start()
        yield host
        for uid in tuple(host.api.pods):
            host.delete(uid, grace_seconds=1)
            await host.wait_until_gone(uid)
        await host.crash()


async def test_a_pod_with_users_of_its_own_keeps_them_over_restarts(newer: PodHost) -> None:
    script = (
        "echo map $(cat /proc/self/uid_map); echo gidmap $(cat /proc/self/gid_map)",
        "touch /data/file; echo owner $(stat -c %u /data/file)",
        "echo volumes $(stat -c %u /memory /conf/color) $(cat /conf/color)",
        "echo hosts $(stat -c %u /etc/hosts); echo said > /dev/termination-log",
        "echo masks $(grep -c '^[a-z]* /proc/' /proc/mounts); trap 'exit 0' TERM; echo end",
        "while [ ! -e /data/stop ]; do sleep 0.05; done; rm /data/stop; exit 1",
    )
    newer.config.config_maps[ObjectKey("default", "conf")] = {"color": b"blue"}
    volumes = (
        Volume(name="data", empty_dir=EmptyDirVolumeSource()),
        Volume(name="memory", empty_dir=EmptyDirVolumeSource(medium="Memory")),
        Volume(name="conf", config_map=ConfigMapVolumeSource(name="conf")),
    )
    container = {
        "volume_mounts": tuple(VolumeMount(name=each.name, mount_path=f"/{each.name}") for each in volumes),
        "security_context": SecurityContext(proc_mount="Unmasked"),
    }
    pods = [
        new_pod(*script, name=name, host_users=False, volumes=volumes, container=container)
        for name in ("one", "two")
    ]
    uids = [newer.create(pod) for pod in pods]
    await newer.wait(lambda: all(map(newer.is_ready, uids)))
    await newer.wait(lambda: all("end" in newer.read_log(pod) for pod in pods))
    facts = [parse_facts(newer.read_log(pod)) for pod in pods]
    assert sorted(each["map"] for each in facts) == ["0 131072 65536", "0 65536 65536"]
    for fact in facts:
        assert fact["gidmap"] == fact["map"]
        assert (fact["owner"], fact["hosts"], fact["masks"]) == ("0", "0", "0")
        assert fact["volumes"] == "0 0 blue"
    data = newer.root / "pods" / uids[0] / "volumes" / "kubernetes.io~empty-dir" / "data"
    assert (data / "file").stat().st_uid == 0  # the mount maps it, nobody owns it in the host's eyes but root
    (status,) = newer.status(uids[0]).container_statuses
    assert status.user is not None
    assert status.user.linux is not None
    assert (status.user.linux.uid, status.user.linux.gid) == (0, 0)
    await newer.crash()
    newer.start()
    (data / "stop").touch()
    await newer.wait(lambda: newer.status(uids[0]).container_statuses[0].restart_count == 1)
    await newer.wait(lambda: newer.is_ready(uids[0]))
    await newer.wait(lambda: "end" in newer.read_log(pods[0], attempt=1))
    assert parse_facts(newer.read_log(pods[0], attempt=1))["map"] == facts[0]["map"]
    terminated = newer.status(uids[0]).container_statuses[0].last_state.terminated
    assert terminated is not None
    assert terminated.message.strip() == "said"


async def test_groups_of_the_image_count_unless_the_policy_is_strict(newer: PodHost) -> None:
    pods = [
        new_pod(
            "echo groups $(id -G); echo end",
            FOREVER,
            name=policy.lower(),
            security_context=PodSecurityContext(
                run_as_user=65534, supplemental_groups=(4000,), supplemental_groups_policy=policy
            ),
        )
        for policy in ("Merge", "Strict")
    ]
    uids = [newer.create(pod) for pod in pods]
    await newer.wait(lambda: all(map(newer.is_ready, uids)))
    await newer.wait(lambda: all("end" in newer.read_log(pod) for pod in pods))
    merged, strict = (set(parse_facts(newer.read_log(pod))["groups"].split()) for pod in pods)
    assert merged == {"65534", "4000", "7000"}
    assert strict == {"65534", "4000"}
    (status,) = newer.status(uids[1]).container_statuses
    assert status.user is not None
    assert status.user.linux is not None
    assert set(status.user.linux.supplemental_groups) - {65534} == {4000}


async def test_read_only_holds_for_mounts_below(newer: PodHost, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    below = shown / "below"
    below.mkdir(parents=True)
    mount_tmpfs(below)
    try:
        mounts = tuple(
            VolumeMount(name="shown", mount_path=f"/{mode}", read_only=True, recursive_read_only=mode)
            for mode in ("Disabled", "Enabled")
        )
        script = "; ".join(
            f"touch /{mode}/below/file 2>/dev/null && echo {mode} written || echo {mode} kept"
            for mode in ("Disabled", "Enabled")
        )
        volume = Volume(name="shown", host_path=HostPathVolumeSource(path=str(shown)))
        pod = new_pod(script, "echo end", FOREVER, container={"volume_mounts": mounts}, volumes=(volume,))
        uid = newer.create(pod)
        await newer.wait(lambda: newer.is_ready(uid))
        await newer.wait(lambda: "end" in newer.read_log(pod))
        facts = parse_facts(newer.read_log(pod))
        assert (facts["Disabled"], facts["Enabled"]) == ("written", "kept")
        newer.delete(uid, grace_seconds=1)
        await newer.wait_until_gone(uid)
    finally:
        unmount(below)
