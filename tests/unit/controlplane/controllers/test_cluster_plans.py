"""Pod CIDRs, node lifecycle, namespaces and their defaults, garbage: good pair, one fact changed."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from controlplane.controllers.actions import (
    Announce,
    Create,
    Delete,
    FinalizeNamespace,
    MergePatch,
    Plan,
    StrategicPatch,
)
from controlplane.controllers.garbage.plan import Dependent, ObservedObject, OwnerState, plan_garbage
from controlplane.controllers.namespace.plan import ObservedNamespace, plan_namespace
from controlplane.controllers.namespace_defaults.plan import ObservedDefaults, plan_namespace_defaults
from controlplane.controllers.node_lifecycle.plan import ObservedNode, plan_node_lifecycle
from controlplane.controllers.pod_cidr.plan import ObservedCIDRs, choose_free_subnet, plan_pod_cidr
from kubeapi.core import ConfigMap, Node
from kubeapi.meta import Object
from kubeapi.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from tests.builders import (
    NOW,
    at,
    changed,
    condition,
    deployment,
    namespace,
    node,
    owner_reference,
    pod,
    replica_set,
    service,
    taint,
)

CLUSTER = ip_network("10.244.0.0/16")

# --- pod CIDRs ----------------------------------------------------------------------------------------------

BARE = node(spec={"pod_cidr": "", "pod_cidrs": ()})


def test_a_node_that_has_a_cidr_keeps_it() -> None:
    assert plan_pod_cidr(ObservedCIDRs(node(), ("10.244.1.0/24",)), CLUSTER, 24) == Plan(())


def test_a_new_node_gets_the_first_free_subnet_by_its_uid() -> None:
    plan = plan_pod_cidr(ObservedCIDRs(BARE, ("10.244.0.0/24", "10.244.2.0/24")), CLUSTER, 24)
    spec = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}
    assert plan == Plan((MergePatch(NODES, BARE.key, {"metadata": {"uid": "uid-node-1"}, "spec": spec}),))


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ((), "10.244.0.0/24"),
        (("10.244.0.0/23",), "10.244.2.0/24"),
        (("10.244.0.128/25",), "10.244.1.0/24"),
        (("192.168.0.0/24", "fd00::/64", "rubbish"), "10.244.0.0/24"),
        (("10.0.0.0/8",), None),
        (("10.244.0.0/24", "10.244.0.0/24", "10.244.1.7/32"), "10.244.2.0/24"),
    ],
)
def test_a_free_subnet_overlaps_nothing(taken: tuple[str, ...], chosen: str | None) -> None:
    found = choose_free_subnet(CLUSTER, 24, taken)
    assert (str(found) if found else None) == chosen


def test_a_full_range_is_said() -> None:
    (announce,) = plan_pod_cidr(ObservedCIDRs(BARE, ("10.244.0.0/16",)), CLUSTER, 24).actions
    assert isinstance(announce, Announce)
    assert announce.note.reason == "CIDRNotAvailable"


# --- node lifecycle -----------------------------------------------------------------------------------------


def look(each: Node, silent_seconds: float = 5.0, **observed: Any) -> Plan:
    heard_at = NOW - timedelta(seconds=silent_seconds)
    return plan_node_lifecycle(ObservedNode(each, heard_at, **observed), 40.0, NOW)


def with_ready(status: str, **spec: Any) -> Node:
    return node(status={"conditions": (condition("Ready", status),)}, spec=spec)


def keys_of(plan: Plan) -> list[tuple[str, str]]:
    (patch,) = plan.actions
    assert isinstance(patch, MergePatch)
    return [(each["key"], each["effect"]) for each in patch.body["spec"]["taints"]]


def test_a_ready_node_is_looked_at_again_when_its_grace_ends() -> None:
    plan = look(node())
    assert plan.actions == ()
    assert plan.look_again_seconds == pytest.approx(35.1)


def test_a_silent_node_becomes_unknown_unless_it_speaks_meanwhile() -> None:
    (patch,) = look(node(), 41).actions
    assert isinstance(patch, StrategicPatch)
    assert patch.subresource == "status"
    assert patch.body["metadata"] == {"resourceVersion": "1"}
    conditions = patch.body["status"]["conditions"]
    assert [each["type"] for each in conditions] == ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
    assert {(each["status"], each["reason"], each["message"]) for each in conditions} == {
        ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    }


def test_an_unknown_node_is_unreachable_and_its_pods_not_ready() -> None:
    types = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
    unknown = node(status={"conditions": tuple(condition(each, "Unknown") for each in types)})
    taints, pod_patch = look(unknown, 41, pods=(pod(), pod("web-2", status={"conditions": ()}))).actions
    assert keys_of(Plan((taints,))) == [
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]
    assert isinstance(pod_patch, StrategicPatch)
    assert pod_patch.key == pod().key
    (ready,) = pod_patch.body["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "NodeNotReady")


def test_a_node_that_is_not_ready_is_tainted_so_and_foreign_taints_stay() -> None:
    assert keys_of(look(with_ready("False", taints=(taint(),)))) == [
        ("dedicated", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoExecute"),
    ]


def test_a_ready_node_loses_our_taints_only() -> None:
    ours = taint("node.kubernetes.io/not-ready", "", "NoSchedule")
    assert keys_of(look(with_ready("True", taints=(taint(), ours)))) == [("dedicated", "NoSchedule")]


def test_pressure_and_cordon_are_taints_too() -> None:
    pressed = node(
        status={"conditions": (condition("Ready"), condition("DiskPressure"))}, spec={"unschedulable": True}
    )
    assert keys_of(look(pressed)) == [
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]


def test_taints_that_are_there_keep_their_time() -> None:
    have = changed(taint("node.kubernetes.io/not-ready", "", "NoSchedule"), time_added=at(-99))
    (patch,) = look(with_ready("False", taints=(have,))).actions
    assert isinstance(patch, MergePatch)
    assert [each["timeAdded"] for each in patch.body["spec"]["taints"]] == [at(-99), at(0)]


# --- namespaces ---------------------------------------------------------------------------------------------

DYING = namespace("tmp", metadata={"deletion_timestamp": at(-1)}, status={"phase": "Terminating"})


def empty_out(**contents: tuple[Object, ...]) -> Plan:
    resources: dict[str, Resource[Any]] = {
        "pods": PODS,
        "services": SERVICES,
        "replica_sets": REPLICA_SETS,
        "deployments": DEPLOYMENTS,
    }
    by_path = {resources[name].path(): objects for name, objects in contents.items()}
    return plan_namespace(ObservedNamespace(DYING, by_path))


def test_a_namespace_that_stays_is_left_alone() -> None:
    assert plan_namespace(ObservedNamespace(namespace("tmp"), {PODS.path(): (pod(),)})) == Plan(())


def test_makers_go_before_what_they_make() -> None:
    plan = empty_out(pods=(pod(),), replica_sets=(replica_set(),), deployments=(deployment(),))
    assert plan == Plan((Delete(DEPLOYMENTS, deployment().key, "uid-deployment-web"),), 5.0)


def test_pods_are_gone_before_the_rest_goes() -> None:
    dying = pod(metadata={"deletion_timestamp": at(-1)})
    assert empty_out(pods=(dying,), services=(service(),)) == Plan((), 5.0)
    assert empty_out(services=(service(),)) == Plan(
        (Delete(SERVICES, service().key, "uid-service-web"),), 5.0
    )


def test_an_empty_namespace_is_finalized() -> None:
    assert empty_out() == Plan((FinalizeNamespace("tmp", "uid-tmp"),))


def test_every_namespace_has_a_service_account_and_the_root_ca() -> None:
    account, config_map = plan_namespace_defaults(ObservedDefaults(namespace(), False, None), "PEM").actions
    assert isinstance(account, Create)
    assert (account.resource, account.key.name) == (SERVICE_ACCOUNTS, "default")
    assert isinstance(config_map, Create)
    assert (config_map.key.name, config_map.body["data"]) == ("kube-root-ca.crt", {"ca.crt": "PEM"})


def test_defaults_that_are_there_need_nothing_and_a_changed_ca_is_put_right() -> None:
    right = ConfigMap(data={"ca.crt": "PEM"})
    assert plan_namespace_defaults(ObservedDefaults(namespace(), True, right), "PEM") == Plan(())
    wrong = ConfigMap(data={"ca.crt": "OLD", "x": "y"})
    (patch,) = plan_namespace_defaults(ObservedDefaults(namespace(), True, wrong), "PEM").actions
    assert isinstance(patch, MergePatch)
    assert (patch.resource, patch.body) == (CONFIG_MAPS, {"data": {"x": None, "ca.crt": "PEM"}})


def test_a_namespace_that_goes_gets_nothing_more() -> None:
    assert plan_namespace_defaults(ObservedDefaults(DYING, False, None), "PEM") == Plan(())


# --- garbage ------------------------------------------------------------------------------------------------

OWNER = replica_set()
OWNED = pod(metadata={"owner_references": (owner_reference(OWNER),)})
TWICE_OWNED = pod(
    metadata={"owner_references": (owner_reference(OWNER), owner_reference(service(), controller=False))}
)


def collect(object_: Object, *owners: OwnerState, dependents: tuple[Dependent, ...] = ()) -> Plan:
    return plan_garbage(ObservedObject(PODS, object_, owners, dependents))


def test_an_object_whose_owner_is_there_stays() -> None:
    assert collect(OWNED, OwnerState.PRESENT) == Plan(())


def test_an_object_whose_owner_is_gone_goes_unless_it_changed() -> None:
    assert collect(OWNED, OwnerState.ABSENT) == Plan(
        (Delete(PODS, OWNED.key, "uid-web-1", "Background", "1"),)
    )


def test_a_second_owner_keeps_it_and_the_lost_reference_goes() -> None:
    (patch,) = collect(TWICE_OWNED, OwnerState.ABSENT, OwnerState.PRESENT).actions
    assert isinstance(patch, MergePatch)
    assert [each["uid"] for each in patch.body["metadata"]["ownerReferences"]] == ["uid-service-web"]


def test_a_waiting_owner_takes_its_dependents_along_in_the_foreground() -> None:
    dependent = Dependent(PODS, pod("grandchild"))
    plan = collect(OWNED, OwnerState.DELETING_FOREGROUND, dependents=(dependent,))
    assert plan == Plan((Delete(PODS, OWNED.key, "uid-web-1", "Foreground", "1"),))


def dying_owner(finalizer: str) -> Object:
    meta = changed(OWNER.metadata, deletion_timestamp=at(-1), finalizers=(finalizer, "mine/too"))
    return changed(OWNER, metadata=meta)


def test_a_foreground_deletion_waits_for_blocking_dependents() -> None:
    owner = dying_owner("foregroundDeletion")
    assert collect(owner, dependents=(Dependent(PODS, OWNED),)) == Plan(())
    lenient = pod(metadata={"owner_references": (owner_reference(OWNER, block=False),)})
    (patch,) = collect(owner, dependents=(Dependent(PODS, lenient),)).actions
    assert isinstance(patch, MergePatch)
    assert patch.body["metadata"]["finalizers"] == ["mine/too"]


def test_an_orphaning_deletion_frees_its_dependents_first() -> None:
    owner = dying_owner("orphan")
    (free,) = collect(owner, dependents=(Dependent(PODS, OWNED),)).actions
    assert isinstance(free, MergePatch)
    assert (free.key, free.body["metadata"]["ownerReferences"]) == (OWNED.key, [])
    (finish,) = collect(owner).actions
    assert isinstance(finish, MergePatch)
    assert finish.body["metadata"]["finalizers"] == ["mine/too"]
