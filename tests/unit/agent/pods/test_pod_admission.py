"""What the node takes and refuses, with the kubelet's reasons."""

from __future__ import annotations

from typing import Any

import pytest

from agent.pods.admission import admit_pod, compute_request
from kubeapi.core import Node
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
    assert compute_request(builders.pod(spec=spec), "cpu") == 3500


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
