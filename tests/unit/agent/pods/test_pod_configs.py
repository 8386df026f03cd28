"""CRI configurations of sandboxes and containers, and the files and names that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.pods.actions import CreateContainer
from agent.pods.container_config import ContainerInputs, ContainerMount, build_container_config
from agent.pods.dns_config import (
    Resolver,
    compute_fqdn,
    compute_hostname,
    compute_resolver,
    parse_resolv_conf,
)
from agent.pods.hosts_file import build_hosts_file
from agent.pods.ports import LocalImage, SandboxID, Unavailable
from agent.pods.sandbox_config import PodEnvironment, build_sandbox_config
from agent.pods.security import build_container_security, build_sandbox_security
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import (
    Capabilities,
    Container,
    HostAlias,
    Lifecycle,
    Pod,
    PodDNSConfig,
    PodDNSConfigOption,
    PodSecurityContext,
    ResourceRequirements,
    SecurityContext,
    SecurityProfile,
    Sysctl,
)
from tests import builders

HOST = Resolver(("1.1.1.1",), ("corp.example",), ("rotate",))
ENVIRONMENT = PodEnvironment(
    node_name="node-1",
    root_dir=Path("/var/lib/berth"),
    pod_logs_dir=Path("/var/log/pods"),
    cgroup_root="/lab",
    cluster_dns="10.96.0.10",
    cluster_domain="cluster.local",
    host_resolver=HOST,
    memory_capacity_bytes=8 << 30,
)
ACTION = CreateContainer("web", SandboxID("s0"), attempt=3, restart_count=2, backoff_seconds=20.0)
INPUTS = ContainerInputs(
    LocalImage("sha256:abc", None, "www"),
    {"NAME": "value", "TOKEN": "s3cret"},
    (ContainerMount("/data", Path("/host/data"), read_only=True, propagation="HostToContainer"),),
    Path("/root/pods/u/containers/web/3"),
)


def build(container: Container | None = None, pod: Pod | None = None) -> cri.ContainerConfig:
    return build_container_config(
        pod or builders.pod(), container or builders.container("web"), ACTION, INPUTS, ENVIRONMENT
    )


def security(
    container: SecurityContext | None, image: LocalImage, **pod: Any
) -> cri.LinuxContainerSecurityContext:
    spec = {"security_context": PodSecurityContext(**pod)} if pod else {}
    return build_container_security(
        builders.pod(spec=spec), builders.container("web", security_context=container), image, "/seccomp"
    )


# --- sandbox ------------------------------------------------------------------------------------------------


def test_a_sandbox_carries_name_labels_logs_and_cgroup() -> None:
    config = build_sandbox_config(builders.pod(), 2, ENVIRONMENT)
    meta = config.metadata
    assert (meta.name, meta.namespace, meta.uid, meta.attempt) == ("web-1", "default", "uid-web-1", 2)
    assert dict(config.labels) == {
        "app": "web",
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "uid-web-1",
        "berth.dev/node": "node-1",
    }
    assert config.log_directory == "/var/log/pods/default_web-1_uid-web-1"
    assert config.linux.cgroup_parent == "/lab/kubepods/burstable/poduid-web-1"
    assert config.hostname == "web-1"
    assert list(config.port_mappings) == []


def test_host_namespaces_are_asked_for() -> None:
    spec = {"host_network": True, "host_pid": True, "host_ipc": True}
    config = build_sandbox_config(builders.pod(spec=spec), 0, ENVIRONMENT)
    options = config.linux.security_context.namespace_options
    assert (options.network, options.pid, options.ipc) == (cri.NODE, cri.NODE, cri.NODE)
    assert config.hostname == ""
    shared = build_sandbox_config(builders.pod(spec={"share_process_namespace": True}), 0, ENVIRONMENT)
    assert shared.linux.security_context.namespace_options.pid == cri.POD


def test_sysctls_and_the_full_name_are_passed_on() -> None:
    context = PodSecurityContext(sysctls=(Sysctl(name="net.ipv4.tcp_syncookies", value="0"),))
    spec = {"security_context": context, "subdomain": "sub", "set_hostname_as_fqdn": True}
    config = build_sandbox_config(builders.pod(spec=spec), 0, ENVIRONMENT)
    assert dict(config.linux.sysctls) == {"net.ipv4.tcp_syncookies": "0"}
    assert config.hostname == "web-1.sub.default.svc.cluster.local"


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            Resolver(
                ("10.96.0.10",),
                ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"),
                ("ndots:5",),
            ),
        ),
        ({"dns_policy": "Default"}, HOST),
        ({"host_network": True}, HOST),
        (
            {
                "dns_policy": "None",
                "dns_config": PodDNSConfig(
                    nameservers=("9.9.9.9",), searches=("x",), options=(PodDNSConfigOption(name="edns0"),)
                ),
            },
            Resolver(("9.9.9.9",), ("x",), ("edns0",)),
        ),
        (
            {
                "dns_policy": "Default",
                "dns_config": PodDNSConfig(options=(PodDNSConfigOption(name="ndots", value="2"),)),
            },
            Resolver(("1.1.1.1",), ("corp.example",), ("rotate", "ndots:2")),
        ),
    ],
)
def test_the_resolver_follows_the_policy(spec: dict[str, Any], expected: Resolver) -> None:
    assert compute_resolver(builders.pod(spec=spec), HOST, "10.96.0.10", "cluster.local") == expected


def test_cluster_first_with_host_net_asks_the_cluster() -> None:
    pod = builders.pod(spec={"host_network": True, "dns_policy": "ClusterFirstWithHostNet"})
    assert compute_resolver(pod, HOST, "10.96.0.10", "cluster.local").servers == ("10.96.0.10",)


def test_resolv_conf_is_read_as_its_manual_says() -> None:
    text = (
        "# c\nnameserver 1.1.1.1\nnameserver 2.2.2.2 # x\nsearch a\nsearch b c\noptions ndots:2 rotate\nbad\n"
    )
    assert parse_resolv_conf(text) == Resolver(("1.1.1.1", "2.2.2.2"), ("b", "c"), ("ndots:2", "rotate"))


def test_a_host_name_is_at_most_63_characters_and_ends_well() -> None:
    assert compute_hostname(builders.pod("a" * 62 + "-b")) == "a" * 62
    assert compute_hostname(builders.pod(spec={"hostname": "own"})) == "own"
    assert compute_fqdn(builders.pod(), "cluster.local") == ""


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    pod = builders.pod(
        spec={"subdomain": "sub", "host_aliases": (HostAlias(ip="1.2.3.4", hostnames=("a", "b")),)}
    )
    lines = build_hosts_file(pod, ("10.1.0.1",), "", "cluster.local").splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "10.1.0.1\tweb-1.sub.default.svc.cluster.local\tweb-1" in lines
    assert lines[-1] == "1.2.3.4\ta\tb"


def test_on_the_host_network_the_hosts_file_is_the_hosts() -> None:
    pod = builders.pod(spec={"host_network": True})
    assert build_hosts_file(pod, ("192.168.0.1",), "127.0.0.1 host\n", "cluster.local") == "127.0.0.1 host\n"


# --- container ----------------------------------------------------------------------------------------------


def test_a_container_carries_what_a_restarted_agent_reads_back() -> None:
    config = build()
    assert (config.metadata.name, config.metadata.attempt) == ("web", 3)
    assert config.labels["io.kubernetes.container.name"] == "web"
    annotations = config.annotations
    assert annotations["io.kubernetes.container.restartCount"] == "2"
    assert annotations["berth.dev/crash-backoff-seconds"] == "20"
    assert annotations["io.kubernetes.pod.terminationGracePeriod"] == "30"
    assert annotations["berth.dev/termination-message-file"] == "/root/pods/u/containers/web/3"
    assert config.log_path == "web/2.log"
    assert (config.image.image, config.image.user_specified_image) == ("sha256:abc", "berth.local/web:1")


def test_commands_are_expanded_and_variables_given() -> None:
    config = build(builders.container("web", command=("$(NAME)", "$(NO)"), args=("$$(NAME)",)))
    assert list(config.command) == ["value", "$(NO)"]
    assert list(config.args) == ["$(NAME)"]
    assert {pair.key: pair.value for pair in config.envs} == {"NAME": b"value", "TOKEN": b"s3cret"}


def test_mounts_keep_mode_and_propagation() -> None:
    (mount,) = build().mounts
    assert (mount.container_path, mount.host_path, mount.readonly) == ("/data", "/host/data", True)
    assert mount.propagation == cri.PROPAGATION_HOST_TO_CONTAINER


def test_resources_become_the_kernels_numbers() -> None:
    resources = ResourceRequirements(
        requests={"cpu": "250m", "memory": "1Gi"}, limits={"cpu": "500m", "memory": "2Gi"}
    )
    container = builders.container("web", resources=resources)
    linux = build(container, builders.pod(spec={"containers": (container,)})).linux.resources
    assert (linux.cpu_shares, linux.cpu_quota, linux.cpu_period) == (256, 50_000, 100_000)
    assert linux.memory_limit_in_bytes == 2 << 30
    assert linux.oom_score_adj == 875


def test_without_limits_nothing_is_limited() -> None:
    container = builders.container("web", resources=ResourceRequirements())
    linux = build(container, builders.pod(spec={"containers": (container,)})).linux.resources
    assert (linux.cpu_shares, linux.cpu_quota, linux.memory_limit_in_bytes) == (2, 0, 0)
    assert linux.oom_score_adj == 1000


def test_a_stop_signal_is_passed_on_where_cri_knows_it() -> None:
    assert (
        build(builders.container("web", lifecycle=Lifecycle(stop_signal="SIGUSR1"))).stop_signal
        == cri.SIGUSR1
    )
    assert (
        build(builders.container("web", lifecycle=Lifecycle(stop_signal="?"))).stop_signal
        == cri.RUNTIME_DEFAULT
    )


def test_inputs_never_show_a_secret() -> None:
    assert "s3cret" not in repr(INPUTS)


# --- security -----------------------------------------------------------------------------------------------


def test_the_user_is_the_containers_the_pods_or_the_images() -> None:
    numbered, named = LocalImage("x", 100, ""), LocalImage("x", None, "www")
    assert security(SecurityContext(run_as_user=5), numbered, run_as_user=6).run_as_user.value == 5
    assert security(None, numbered, run_as_user=6).run_as_user.value == 6
    assert security(None, numbered).run_as_user.value == 100
    by_name = security(None, named)
    assert (by_name.run_as_username, by_name.HasField("run_as_user")) == ("www", False)


@pytest.mark.parametrize(
    ("context", "image", "message"),
    [
        (SecurityContext(run_as_non_root=True), LocalImage("x", 0, ""), "image will run as root"),
        (
            SecurityContext(run_as_non_root=True, run_as_user=0),
            LocalImage("x", 5, ""),
            "breaks non-root policy",
        ),
        (SecurityContext(run_as_non_root=True), LocalImage("x", None, "www"), "non-numeric user (www)"),
    ],
)
def test_root_is_refused_where_it_must_not_be(
    context: SecurityContext, image: LocalImage, message: str
) -> None:
    with pytest.raises(Unavailable) as raised:
        security(context, image)
    assert raised.value.reason == "CreateContainerConfigError"
    assert message in raised.value.message


def test_a_number_that_is_not_root_is_fine() -> None:
    assert security(SecurityContext(run_as_non_root=True), LocalImage("x", 5, "")).run_as_user.value == 5


def test_privileges_are_given_and_taken() -> None:
    context = SecurityContext(
        capabilities=Capabilities(add=("NET_ADMIN",), drop=("ALL",)),
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
    )
    message = security(context, LocalImage("x", 0, ""), supplemental_groups=(1, 2), fs_group=2)
    assert list(message.capabilities.add_capabilities) == ["NET_ADMIN"]
    assert list(message.capabilities.drop_capabilities) == ["ALL"]
    assert message.no_new_privs
    assert message.readonly_rootfs
    assert list(message.supplemental_groups) == [1, 2]
    assert "/proc/kcore" in message.masked_paths


def test_a_privileged_container_sees_everything_and_makes_its_sandbox_privileged() -> None:
    context = SecurityContext(privileged=True)
    message = security(context, LocalImage("x", 0, ""))
    assert message.privileged
    assert list(message.masked_paths) == []
    pod = builders.pod(spec={"containers": (builders.container(security_context=context),)})
    assert build_sandbox_security(pod).privileged


@pytest.mark.parametrize(
    ("profile", "kind", "reference"),
    [
        (None, cri.SecurityProfile.Unconfined, ""),
        (SecurityProfile(type="RuntimeDefault"), cri.SecurityProfile.RuntimeDefault, ""),
        (
            SecurityProfile(type="Localhost", localhost_profile="a.json"),
            cri.SecurityProfile.Localhost,
            "/seccomp/a.json",
        ),
    ],
)
def test_seccomp_profiles(profile: SecurityProfile | None, kind: int, reference: str) -> None:
    seccomp = security(SecurityContext(seccomp_profile=profile), LocalImage("x", 0, "")).seccomp
    assert (seccomp.profile_type, seccomp.localhost_ref) == (kind, reference)
