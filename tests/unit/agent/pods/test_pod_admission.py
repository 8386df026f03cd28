"""What the node takes and refuses, with the kubelet's reasons."""

from __future__ import annotations

from typing import Any

import pytest

from agent.pods.admission import admit_new_pod, admit_pod
from agent.pods.goal import SOURCE_ANNOTATION
from agent.resources.requests import compute_pod_request
from agent.runtime.values import HandlerFeatures
from kubeapi.core import Node, Taint
from kubeapi.pod import (
    Affinity,
    ContainerPort,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodOS,
    PodSecurityContext,
    ResourceRequirements,
    SecurityContext,
    SecurityProfile,
    Sysctl,
    Toleration,
)
from tests import builders


def refusal(
    spec: dict[str, Any] | None = None, node: Node | None = None, others: int = 0, **limits: int
) -> str:
    """The reason, or empty."""
    present = [builders.pod(f"other-{number}") for number in range(others)]
    pod = builders.pod(spec=spec or {})
    found = admit_pod(pod, node or builders.node(), present, limits.get("max_pods", 110))
    return found.reason if found else ""


def needing(**requests: str) -> dict[str, Any]:
    return {"containers": (builders.container(resources=ResourceRequirements(requests=requests)),)}


def affinity(operator: str, *values: str, key: str = "kubernetes.io/os") -> dict[str, Any]:
    term = NodeSelectorTerm(
        match_expressions=(NodeSelectorRequirement(key=key, operator=operator, values=values),)
    )
    selector = NodeSelector(node_selector_terms=(term,))
    node_affinity = NodeAffinity(required_during_scheduling_ignored_during_execution=selector)
    return {"affinity": Affinity(node_affinity=node_affinity)}


def test_a_good_pod_is_taken() -> None:
    assert refusal() == ""


def test_a_node_that_is_not_known_yet_refuses_nothing_of_its_own() -> None:
    assert admit_pod(builders.pod(spec=needing(cpu="99")), None, (), 110) is None


def test_the_pod_limit_is_kept() -> None:
    assert refusal(others=1, max_pods=2) == ""
    assert refusal(others=2, max_pods=2) == "OutOfpods"


@pytest.mark.parametrize(
    ("requests", "reason"),
    [({"cpu": "3"}, ""), ({"cpu": "5"}, "OutOfcpu"), ({"memory": "9Gi"}, "OutOfmemory")],
)
def test_resources_must_be_there(requests: dict[str, str], reason: str) -> None:
    assert refusal(needing(**requests)) == reason


def test_what_others_hold_counts_and_is_told() -> None:
    others = [builders.pod("big", spec=needing(cpu="3"))]
    found = admit_pod(builders.pod(spec=needing(cpu="2")), builders.node(), others, 110)
    assert found is not None
    expected = "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
    assert found.message == expected


def test_init_containers_and_sidecars_are_counted_as_they_run() -> None:
    def sized(name: str, cpu: str, policy: str | None = None) -> Any:
        return builders.container(
            name, restart_policy=policy, resources=ResourceRequirements(requests={"cpu": cpu})
        )

    spec = {
        "init_containers": (sized("a", "1"), sized("side", "500m", "Always"), sized("b", "3")),
        "containers": (sized("web", "2"),),
    }
    assert compute_pod_request(builders.pod(spec=spec), "cpu") == 3500


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"node_selector": {"kubernetes.io/os": "linux"}}, ""),
        ({"node_selector": {"disk": "ssd"}}, "NodeAffinity"),
        (affinity("In", "linux", "other"), ""),
        (affinity("In", "windows"), "NodeAffinity"),
        (affinity("NotIn", "linux"), "NodeAffinity"),
        (affinity("Exists"), ""),
        (affinity("DoesNotExist"), "NodeAffinity"),
        (affinity("Gt", "3", key="cores"), "NodeAffinity"),
        (affinity("Unheard"), "NodeAffinity"),
        ({"os": PodOS(name="linux")}, ""),
        ({"os": PodOS(name="windows")}, "PodOSNotSupported"),
    ],
)
def test_the_node_must_fit(spec: dict[str, Any], reason: str) -> None:
    assert refusal(spec) == reason


def test_numbers_are_compared_as_numbers() -> None:
    node = builders.node(metadata={"labels": {"cores": "10"}})
    assert refusal(affinity("Gt", "9", key="cores"), node) == ""
    assert refusal(affinity("Lt", "9", key="cores"), node) == "NodeAffinity"


def test_a_no_execute_taint_must_be_tolerated() -> None:
    node = builders.node(spec={"taints": (builders.taint(effect="NoExecute"),)})
    assert refusal(node=node) == "TaintToleration"
    assert refusal({"tolerations": (Toleration(operator="Exists"),)}, node) == ""
    assert refusal({"tolerations": (Toleration(key="dedicated", value="db"),)}, node) == ""
    assert refusal({"tolerations": (Toleration(key="dedicated", value="x"),)}, node) == "TaintToleration"
    assert refusal(node=builders.node(spec={"taints": (builders.taint(effect="NoSchedule"),)})) == ""


def test_a_host_port_belongs_to_one_pod() -> None:
    def with_port(number: int, ip: str = "", protocol: str = "TCP") -> dict[str, Any]:
        port = ContainerPort(container_port=80, host_port=number, host_ip=ip, protocol=protocol)
        return {"containers": (builders.container(ports=(port,)),)}

    other = [builders.pod("other", spec=with_port(8080, "10.0.0.1"))]

    def reason(spec: dict[str, Any]) -> str:
        found = admit_pod(builders.pod(spec=spec), builders.node(), other, 110)
        return found.reason if found else ""

    assert reason(with_port(8080)) == "NodePorts"
    assert reason(with_port(8080, "10.0.0.1")) == "NodePorts"
    assert reason(with_port(8080, "10.0.0.2")) == ""
    assert reason(with_port(8080, protocol="UDP")) == ""
    assert reason(with_port(8081)) == ""


@pytest.mark.parametrize(
    ("name", "host_network", "reason"),
    [
        ("net.ipv4.tcp_syncookies", False, ""),
        ("net/ipv4/tcp_syncookies", False, ""),
        ("net.ipv4.tcp_syncookies", True, "SysctlForbidden"),
        ("kernel.msgmax", False, "SysctlForbidden"),
    ],
)
def test_only_safe_sysctls_are_allowed(name: str, host_network: bool, reason: str) -> None:
    context = PodSecurityContext(sysctls=(Sysctl(name=name, value="1"),))
    assert refusal({"security_context": context, "host_network": host_network}) == reason


@pytest.mark.parametrize(
    ("host_users", "reason"), [(None, ""), (True, ""), (False, "UserNamespacesNotSupported")]
)
def test_a_pod_never_gets_the_hosts_users_when_it_asked_for_its_own(
    host_users: bool | None, reason: str
) -> None:
    assert refusal({"host_users": host_users}) == reason


# --- as the kubelet words and orders it ---------------------------------------------------------------------


def test_the_os_label_of_the_selector_must_be_this_ones() -> None:
    labelled = builders.node(metadata={"labels": {"kubernetes.io/os": "linux"}})
    assert refusal({"node_selector": {"kubernetes.io/os": "linux"}}, labelled) == ""
    selector = {"kubernetes.io/os": "windows"}
    assert refusal({"node_selector": selector}) == "PodOSSelectorNodeLabelDoesNotMatch"


def test_a_pod_for_another_node_is_refused() -> None:
    assert refusal({"node_name": "node-2"}) == "NodeName"


def test_untolerated_taints_are_worded_as_upstream() -> None:
    node = builders.node(spec={"taints": (Taint(key="gone", effect="NoExecute"),)})
    found = admit_pod(builders.pod(), node, (), 110)
    assert found is not None
    expected = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    assert found.message == expected


def test_static_pods_are_not_asked_for_tolerations() -> None:
    node = builders.node(spec={"taints": (Taint(key="gone", effect="NoExecute"),)})
    static = builders.pod(metadata={"annotations": {SOURCE_ANNOTATION: "file"}})
    assert admit_pod(static, node, (), 110) is None


def test_resources_that_only_others_know_are_not_asked_for() -> None:
    assert refusal(needing(**{"example.com/gpu": "1"})) == ""


@pytest.mark.parametrize("resource", ["hugepages-2Mi", "attachable-volumes-x.kubernetes.io/limit"])
def test_resources_of_kubernetes_itself_must_be_there(resource: str) -> None:
    assert refusal(needing(**{resource: "1"})) == f"OutOf{resource}"


def test_extended_resources_of_the_node_are_counted() -> None:
    node = builders.node(status={"allocatable": {"cpu": "4", "memory": "8Gi", "example.com/gpu": "1"}})
    assert refusal(needing(**{"example.com/gpu": "1"}), node) == ""
    assert refusal(needing(**{"example.com/gpu": "2"}), node) == "OutOfexample.com/gpu"


def test_the_pods_own_resources_and_its_overhead_count() -> None:
    own = ResourceRequirements(requests={"cpu": "5"})
    assert refusal({"resources": own}) == "OutOfcpu"
    assert refusal({**needing(cpu="3"), "overhead": {"cpu": "2"}}) == "OutOfcpu"
    assert refusal({**needing(cpu="3"), "overhead": {"cpu": "1"}}) == ""


def test_resources_come_before_affinity_and_that_before_ports_and_taints() -> None:
    spec = {**needing(cpu="99"), "node_selector": {"disk": "ssd"}}
    assert refusal(spec) == "OutOfcpu"
    tainted = builders.node(spec={"taints": (Taint(key="gone", effect="NoExecute"),)})
    assert refusal({"node_selector": {"disk": "ssd"}}, tainted) == "NodeAffinity"


def test_a_plain_init_container_keeps_no_host_port() -> None:
    port = (ContainerPort(container_port=80, host_port=80),)
    init = builders.container("init", ports=port)
    sidecar = builders.container("proxy", ports=port, restart_policy="Always")
    other = builders.pod("other", spec={"containers": (builders.container(ports=port),)})
    for containers, expected in (((init,), None), ((sidecar,), "NodePorts")):
        found = admit_pod(builders.pod(spec={"init_containers": containers}), builders.node(), (other,), 110)
        assert (found.reason if found else None) == expected


@pytest.mark.parametrize(("kind", "reason"), [("RuntimeDefault", "AppArmor"), ("Unconfined", "")])
def test_a_profile_needs_a_kernel_that_enforces_it(kind: str, reason: str) -> None:
    context = SecurityContext(app_armor_profile=SecurityProfile(type=kind))
    pod = builders.pod(spec={"containers": (builders.container(security_context=context),)})
    found = admit_new_pod(pod, builders.node(), (), 110, app_armor=False).refusal
    assert (found.reason if found else "") == reason
    assert admit_new_pod(pod, builders.node(), (), 110).refusal is None


def test_a_policy_for_groups_that_the_node_doesnt_have_is_refused() -> None:
    assert refusal({"security_context": PodSecurityContext(supplemental_groups_policy="Merge")}) == ""
    strict = PodSecurityContext(supplemental_groups_policy="Strict")
    assert refusal({"security_context": strict}) == "SupplementalGroupsPolicyNotSupported"


ABLE = HandlerFeatures(user_namespaces=True, supplemental_groups_policy=True)


@pytest.mark.parametrize(
    ("spec", "features", "reason"),
    [
        ({"host_users": False}, ABLE, ""),
        ({"host_users": False}, None, ""),  # not known yet: asked again before the sandbox
        ({"host_users": False}, HandlerFeatures(), "UserNamespacesNotSupported"),
        ({"host_users": False, "host_network": True}, ABLE, "UserNamespacesNotSupported"),
        ({"host_users": True, "host_network": True}, ABLE, ""),
        ({"security_context": PodSecurityContext(supplemental_groups_policy="Strict")}, ABLE, ""),
        (
            {"security_context": PodSecurityContext(supplemental_groups_policy="Other")},
            ABLE,
            "SupplementalGroupsPolicyNotSupported",
        ),
    ],
)
def test_what_the_pod_asks_of_its_handler_must_be_there(
    spec: dict[str, Any], features: HandlerFeatures | None, reason: str
) -> None:
    found = admit_pod(builders.pod(spec=spec), builders.node(), (), 110, features)
    assert (found.reason if found else "") == reason


def test_an_annotation_asks_for_a_profile_too() -> None:
    name = "container.apparmor.security.beta.kubernetes.io/web"
    pod = builders.pod(metadata={"annotations": {name: "runtime/default"}})
    found = admit_new_pod(pod, builders.node(), (), 110, app_armor=False).refusal
    assert found is not None
    assert found.message == "Cannot enforce AppArmor: AppArmor is not enabled on the host"
