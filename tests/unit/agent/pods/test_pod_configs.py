"""CRI configurations of sandboxes and containers, and the files and names that go with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.pods.actions import CreateContainer
from agent.pods.config.container_config import ContainerInputs, ContainerMount, build_container_config
from agent.pods.config.dns_config import (
    Resolver,
    compute_fqdn,
    compute_hostname,
    compute_resolver,
    list_omissions,
    parse_resolv_conf,
)
from agent.pods.config.hosts_file import build_hosts_file
from agent.pods.config.sandbox_config import PodEnvironment, build_sandbox_config
from agent.pods.pod_events import describe_names
from agent.pods.ports import LocalImage, SandboxID, Unavailable
from agent.pods.security.contexts import build_container_security, build_sandbox_security
from agent.pods.security.user_ids import IDRange
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


def test_a_name_of_its_own_goes_before_every_other() -> None:
    pod = builders.pod(spec={"hostname_override": "any.name.example", "subdomain": "sub"})
    assert build_sandbox_config(pod, 0, ENVIRONMENT).hostname == "any.name.example"
    assert "10.1.0.1\tany.name.example" in build_hosts_file(pod, ("10.1.0.1",), "", "c").splitlines()


def test_a_full_name_that_the_kernel_cant_hold_is_refused() -> None:
    pod = builders.pod("a" * 63, spec={"subdomain": "sub", "set_hostname_as_fqdn": True})
    with pytest.raises(Unavailable) as raised:
        build_sandbox_config(pod, 0, ENVIRONMENT)
    assert raised.value.reason == "FailedCreatePodSandBox"
    assert "(64 characters is the max, 93 characters requested)" in raised.value.message


def resolve(**config: Any) -> tuple[Resolver, tuple[str, ...]]:
    pod = builders.pod(spec={"dns_policy": "Default", "dns_config": PodDNSConfig(**config)})
    arguments = (pod, HOST, "10.96.0.10", "cluster.local")
    return compute_resolver(*arguments), tuple(list_omissions(*arguments))


def test_what_resolvers_dont_take_is_left_out_and_told() -> None:
    resolver, told = resolve(nameservers=("2.2.2.2", "3.3.3.3", "4.4.4.4"))
    assert resolver.servers == ("1.1.1.1", "2.2.2.2", "3.3.3.3")
    assert told == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line "
        "is: 1.1.1.1 2.2.2.2 3.3.3.3",
    )


@pytest.mark.parametrize(
    ("searches", "kept"),
    [
        (tuple(f"s{number}" for number in range(40)), 31),
        (("a" * 254, "b" * 253), 1),
        (tuple(f"{number:0>250}" for number in range(10)), 8),
    ],
)
def test_search_lines_have_limits(searches: tuple[str, ...], kept: int) -> None:
    resolver, told = resolve(searches=searches)
    assert len(resolver.searches) == 1 + kept  # the host's own comes first
    assert set(resolver.searches[1:]) <= set(searches)
    (sentence,) = told
    assert sentence == (
        "Search Line limits were exceeded, some search paths have been omitted, the applied search line "
        f"is: {' '.join(resolver.searches)}"
    )


def test_what_fits_isnt_told_of() -> None:
    assert resolve(searches=("a",))[1] == ()


def test_before_a_sandbox_its_names_are_told_of() -> None:
    assert list(describe_names(builders.pod(), ENVIRONMENT)) == []
    (event,) = describe_names(builders.pod(), replace(ENVIRONMENT, cluster_dns=""))
    assert (event.reason, event.warning) == ("MissingClusterDNS", True)
    servers = tuple(f"9.9.9.{number}" for number in range(4))
    pod = builders.pod(spec={"dns_config": PodDNSConfig(nameservers=servers)})
    assert [event.reason for event in describe_names(pod, ENVIRONMENT)] == ["DNSConfigForming"]


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


def test_a_privileged_container_has_no_seccomp_profile_and_its_sandbox_the_runtimes() -> None:
    profile = SecurityProfile(type="RuntimeDefault")
    context = SecurityContext(privileged=True, seccomp_profile=profile)
    assert security(context, LocalImage("x", 0, "")).seccomp.profile_type == cri.SecurityProfile.Unconfined
    sandbox = build_sandbox_security(builders.pod())
    assert sandbox.seccomp.profile_type == cri.SecurityProfile.RuntimeDefault


def test_an_ephemeral_container_may_be_privileged_too() -> None:
    debugger = builders.container("debug", security_context=SecurityContext(privileged=True))
    assert build_sandbox_security(builders.pod(spec={"ephemeral_containers": (debugger,)})).privileged


def test_a_local_profile_needs_a_name() -> None:
    context = SecurityContext(seccomp_profile=SecurityProfile(type="Localhost"))
    with pytest.raises(Unavailable, match="localhostProfile must be set if seccompProfile type is Localhost"):
        security(context, LocalImage("x", 0, ""))


def test_capabilities_are_spelled_as_every_runtime_takes_them() -> None:
    context = SecurityContext(capabilities=Capabilities(add=("CAP_SYS_TIME", "net_admin"), drop=("all",)))
    capabilities = security(context, LocalImage("x", 0, "")).capabilities
    assert list(capabilities.add_capabilities) == ["SYS_TIME", "NET_ADMIN"]
    assert list(capabilities.drop_capabilities) == ["ALL"]


def test_whose_root_must_not_run_is_named() -> None:
    with pytest.raises(Unavailable) as raised:
        security(SecurityContext(run_as_non_root=True), LocalImage("x", None, ""))
    assert raised.value.message == (
        "container has runAsNonRoot and image will run as root "
        '(pod: "web-1_default(uid-web-1)", container: web)'
    )


def test_the_policy_for_groups_is_passed_on() -> None:
    strict = security(None, LocalImage("x", 0, ""), supplemental_groups_policy="Strict")
    assert strict.supplemental_groups_policy == cri.Strict
    assert security(None, LocalImage("x", 0, "")).supplemental_groups_policy == cri.Merge


def test_users_of_its_own_hold_for_sandbox_container_and_mounts() -> None:
    users = IDRange(131072)
    inputs = replace(INPUTS, users=users)
    container = build_container_config(builders.pod(), builders.container("web"), ACTION, inputs, ENVIRONMENT)
    sandbox = build_sandbox_config(builders.pod(), 0, ENVIRONMENT, users)
    mapping = cri.IDMapping(host_id=131072, container_id=0, length=65536)
    for message in (sandbox.linux.security_context, container.linux.security_context):
        options = message.namespace_options.userns_options
        assert (options.mode, list(options.uids), list(options.gids)) == (cri.POD, [mapping], [mapping])
    (mount,) = container.mounts
    assert (list(mount.uidMappings), list(mount.gidMappings)) == ([mapping], [mapping])
    plain = build().linux.security_context.namespace_options
    assert not plain.HasField("userns_options")
    assert list(build().mounts[0].uidMappings) == []
