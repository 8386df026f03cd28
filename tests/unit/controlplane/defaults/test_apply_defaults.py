"""Defaults of every kind: what goes in, what upstream would store."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.apiserver.defaults import apply_defaults, choose_image_pull_policy, compute_qos_class

EVICTION_TOLERATIONS = [
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
]
CONTAINER_DEFAULTS = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
}
SPEC_DEFAULTS = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
    "securityContext": {},
}
POD_DEFAULTS = {
    **SPEC_DEFAULTS,
    "enableServiceLinks": True,
    "tolerations": EVICTION_TOLERATIONS,
}
PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def pod(spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "web:1", **container}], **(spec or {})},
    }


def default_container(**container: Any) -> dict[str, Any]:
    spec = apply_defaults("Pod", pod(**container))["spec"]
    result: dict[str, Any] = spec["containers"][0]
    return result


def default_spec(**spec: Any) -> dict[str, Any]:
    result: dict[str, Any] = apply_defaults("Pod", pod(spec))["spec"]
    return result


def test_a_pod_in_full() -> None:
    assert apply_defaults("Pod", {"apiVersion": "v1", "kind": "Pod", **pod()}) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "web:1", **CONTAINER_DEFAULTS}], **POD_DEFAULTS},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


CONTAINER_CASES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("port", {"ports": [{"containerPort": 80}]}, "ports", [{"containerPort": 80, "protocol": "TCP"}]),
    ("a probe", {"livenessProbe": {"exec": {"command": ["x"]}}}, "livenessProbe",
     {"exec": {"command": ["x"]}, **PROBE_DEFAULTS}),
    ("an HTTP probe", {"readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5}}, "readinessProbe",
     {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, **PROBE_DEFAULTS, "periodSeconds": 5}),
    ("a gRPC probe", {"startupProbe": {"grpc": {"port": 9}, "timeoutSeconds": 0}}, "startupProbe",
     {"grpc": {"port": 9, "service": ""}, **PROBE_DEFAULTS}),
    ("a hook", {"lifecycle": {"preStop": {"httpGet": {"port": "x"}}}}, "lifecycle",
     {"preStop": {"httpGet": {"port": "x", "path": "/", "scheme": "HTTP"}}}),
    ("a field of the pod", {"env": [{"name": "A",
     "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
     "env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}]),
    ("a resource", {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]},
     "env", [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}]),
    ("requests follow limits", {"resources": {"limits": {"cpu": 1, "memory": "1Gi"},
     "requests": {"cpu": 0.5}}},
     "resources", {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
    ("quantities are canonical", {"resources": {"requests": {"cpu": "1000m", "memory": "1048576Ki"}}},
     "resources", {"requests": {"cpu": "1", "memory": "1Gi"}}),
    ("an explicit policy stays", {"imagePullPolicy": "Never"}, "imagePullPolicy", "Never"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "field", "wanted"),
    [row[1:] for row in CONTAINER_CASES],
    ids=[row[0] for row in CONTAINER_CASES],
)
def test_container(given: dict[str, Any], field: str, wanted: Any) -> None:
    assert default_container(**given)[field] == wanted


VOLUME_CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"emptyDir": {}}),
    ({"emptyDir": {"sizeLimit": "1024Mi"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
    ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
    ({"configMap": {"name": "m", "defaultMode": 256}}, {"configMap": {"name": "m", "defaultMode": 256}}),
    ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
    (
        {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "downwardAPI": {
                "defaultMode": 420,
                "items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels", "apiVersion": "v1"}}],
            }
        },
    ),
    (
        {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {
            "projected": {
                "defaultMode": 420,
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
            }
        },
    ),
]


@pytest.mark.parametrize(("given", "wanted"), VOLUME_CASES)
def test_volume(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert default_spec(volumes=[{"name": "v", **given}])["volumes"] == [{"name": "v", **wanted}]


def test_host_network_makes_container_ports_host_ports() -> None:
    document = pod({"hostNetwork": True}, ports=[{"containerPort": 80}])
    ports = apply_defaults("Pod", document)["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], EVICTION_TOLERATIONS),
        ([{"operator": "Exists"}], [{"operator": "Exists"}]),
        (
            [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 5}],
            [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 5},
                EVICTION_TOLERATIONS[1],
            ],
        ),
        (
            [{"operator": "Exists", "effect": "NoSchedule"}],
            [{"operator": "Exists", "effect": "NoSchedule"}, *EVICTION_TOLERATIONS],
        ),
    ],
)
def test_eviction_tolerations(given: list[Any], wanted: list[Any]) -> None:
    assert default_spec(tolerations=given)["tolerations"] == wanted


def test_the_two_service_account_fields_agree() -> None:
    spec = default_spec(serviceAccountName="robot")
    assert (spec["serviceAccount"], spec["serviceAccountName"]) == ("robot", "robot")


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("registry:5000/web", "Always"),
        ("registry:5000/web:1", "IfNotPresent"),
        ("web@sha256:00", "IfNotPresent"),
        ("web:latest@sha256:00", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_image_pull_policy(image: str, wanted: str) -> None:
    assert choose_image_pull_policy(image) == wanted


FULL = {"cpu": "1", "memory": "1Gi"}
QOS_CASES: list[tuple[str, list[dict[str, Any]], str]] = [
    ("nothing", [{}], "BestEffort"),
    ("zero counts as nothing", [{"requests": {"cpu": "0"}}], "BestEffort"),
    ("other resources don't count", [{"limits": {"example.com/gpu": "1"}}], "BestEffort"),
    ("limits alone", [{"limits": FULL}], "Guaranteed"),
    ("equal requests", [{"limits": FULL, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
    ("smaller requests", [{"limits": FULL, "requests": {"cpu": "500m"}}], "Burstable"),
    ("only one limit", [{"limits": {"cpu": "1"}}], "Burstable"),
    ("one container without", [{"limits": FULL}, {}], "Burstable"),
    ("requests alone", [{"requests": FULL}], "Burstable"),
]


@pytest.mark.parametrize(
    ("resources", "wanted"), [row[1:] for row in QOS_CASES], ids=[row[0] for row in QOS_CASES]
)
def test_quality_of_service(resources: list[dict[str, Any]], wanted: str) -> None:
    assert compute_qos_class({"containers": [{"resources": item} for item in resources]}) == wanted


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": spec}


SERVICE_BASE = {
    "type": "ClusterIP",
    "sessionAffinity": "None",
    "internalTrafficPolicy": "Cluster",
    "ipFamilyPolicy": "SingleStack",
    "ipFamilies": ["IPv4"],
}
SERVICE_CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ports", {"ports": [{"port": 80}]},
     {**SERVICE_BASE, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
    ("named target", {"ports": [{"port": 80, "targetPort": "http", "protocol": "UDP"}]},
     {**SERVICE_BASE, "ports": [{"port": 80, "protocol": "UDP", "targetPort": "http"}]}),
    ("node port", {"type": "NodePort"}, {**SERVICE_BASE, "type": "NodePort",
     "externalTrafficPolicy": "Cluster"}),
    ("load balancer", {"type": "LoadBalancer"},
     {**SERVICE_BASE, "type": "LoadBalancer", "externalTrafficPolicy": "Cluster",
      "allocateLoadBalancerNodePorts": True}),
    ("external name", {"type": "ExternalName", "externalName": "x.y"},
     {"type": "ExternalName", "externalName": "x.y", "sessionAffinity": "None"}),
    ("headless", {"clusterIP": "None", "selector": {"a": "b"}},
     {**SERVICE_BASE, "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}),
    ("headless without selector", {"clusterIP": "None"},
     {**SERVICE_BASE, "clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": "RequireDualStack",
      "ipFamilies": ["IPv4", "IPv6"]}),
    ("an address of the second family", {"clusterIP": "fd00::1"},
     {**SERVICE_BASE, "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"], "ipFamilies": ["IPv6"]}),
    ("client affinity", {"sessionAffinity": "ClientIP"},
     {**SERVICE_BASE, "sessionAffinity": "ClientIP",
      "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
    ("no affinity, no timeout", {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, SERVICE_BASE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted"), [row[1:] for row in SERVICE_CASES], ids=[row[0] for row in SERVICE_CASES]
)
def test_service(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    result = apply_defaults("Service", service(**given))
    assert result["spec"] == wanted
    assert result["status"] == {"loadBalancer": {}}


def test_deployment() -> None:
    document = {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}
    assert apply_defaults("Deployment", document)["spec"] == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "template": {
            "metadata": {},
            "spec": {"containers": [{"name": "c", **CONTAINER_DEFAULTS}], **SPEC_DEFAULTS},
        },
    }


def test_recreate_has_no_rolling_update() -> None:
    document = {"spec": {"strategy": {"type": "Recreate"}, "replicas": 0}}
    spec = apply_defaults("Deployment", document)["spec"]
    assert (spec["strategy"], spec["replicas"]) == ({"type": "Recreate"}, 0)


def test_replica_set() -> None:
    result = apply_defaults("ReplicaSet", {"metadata": {"name": "r"}})
    assert (result["spec"]["replicas"], result["status"]) == (1, {"replicas": 0})


OTHER_CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Secret", {"stringData": {"a": "b", "c": "d"}, "data": {"c": "eA=="}},
     {"metadata": {}, "type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}),
    ("Namespace", {"metadata": {"name": "n"}},
     {"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
      "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    ("Namespace", {"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
     {"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z",
                   "labels": {"kubernetes.io/metadata.name": "n"}},
      "spec": {}, "status": {"phase": "Terminating"}}),
    ("Node", {"spec": {"podCIDR": "10.0.0.0/24"}, "status": {"capacity": {"cpu": 2}}},
     {"metadata": {}, "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
      "status": {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}}),
    ("EndpointSlice", {"addressType": "IPv4", "ports": [{"port": 80}]},
     {"metadata": {}, "addressType": "IPv4", "endpoints": [],
      "ports": [{"port": 80, "name": "", "protocol": "TCP"}]}),
    ("Endpoints", {"subsets": [{"ports": [{"port": 80}]}]},
     {"metadata": {}, "subsets": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}),
    ("ConfigMap", {"data": {"a": "b"}}, {"metadata": {}, "data": {"a": "b"}}),
    ("Lease", {"spec": {"renewTime": "2026-01-01T00:00:00Z"}},
     {"metadata": {}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
    ("Widget", {"anything": {"goes": None}}, {"metadata": {}, "anything": {"goes": None}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "wanted"), OTHER_CASES)
def test_other_kinds(kind: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert apply_defaults(kind, given) == wanted


def test_nulls_unknown_fields_and_empty_collections_vanish() -> None:
    given = {
        "metadata": {"name": "m", "creationTimestamp": None, "labels": {}, "surprise": 1},
        "data": {"a": None},
        "binaryData": {},
    }
    assert apply_defaults("ConfigMap", given) == {"metadata": {"name": "m"}, "data": {"a": ""}}


def test_a_document_of_wrong_types_comes_back_as_it_is() -> None:
    document = {"metadata": {"name": "p"}, "spec": {"containers": "web"}}
    assert apply_defaults("Pod", document) == {"metadata": {"name": "p"}, "spec": {"containers": "web"}}


ALL_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Pod", pod({"hostNetwork": True, "volumes": [{"name": "v"}]}, ports=[{"containerPort": 1}])),
    ("Service", service(type="NodePort", ports=[{"port": 1}], sessionAffinity="ClientIP")),
    ("Deployment", {"spec": {"template": pod()}}),
    *[(kind, given) for kind, given, _ in OTHER_CASES],
]


@pytest.mark.parametrize(("kind", "given"), ALL_KINDS)
def test_defaults_are_idempotent_and_leave_the_document_alone(kind: str, given: dict[str, Any]) -> None:
    before = copy.deepcopy(given)
    once = apply_defaults(kind, given)
    assert apply_defaults(kind, once) == once
    assert given == before
