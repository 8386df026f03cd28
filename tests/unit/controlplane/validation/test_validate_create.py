"""Bad objects and the causes they get: path, reason and the decisive words, one broken rule a row."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.validation import validate_create

REQUIRED: Final = "FieldValueRequired"
INVALID: Final = "FieldValueInvalid"
DUPLICATE: Final = "FieldValueDuplicate"
UNSUPPORTED: Final = "FieldValueNotSupported"
FORBIDDEN: Final = "FieldValueForbidden"
NOT_FOUND: Final = "FieldValueNotFound"
TOO_LONG: Final = "FieldValueTooLong"
TYPE: Final = "FieldValueTypeInvalid"

META: Final = {"name": "web", "namespace": "default"}
CONTAINER: Final = {"name": "c", "image": "web:1"}
TEMPLATE: Final = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR: Final = {"matchLabels": {"app": "web"}}

GOOD: Final[dict[str, dict[str, Any]]] = {
    "Pod": {"metadata": META, "spec": {"containers": [CONTAINER]}},
    "Service": {"metadata": META, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    "Deployment": {"metadata": META, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "ReplicaSet": {"metadata": META, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "ConfigMap": {"metadata": META, "data": {"a": "b"}, "binaryData": {"c": "eA=="}},
    "Secret": {"metadata": META, "stringData": {"a": "b"}},
    "ServiceAccount": {"metadata": META},
    "Namespace": {"metadata": {"name": "web"}},
    "Node": {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "EndpointSlice": {
        "metadata": META,
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    },
    "Endpoints": {
        "metadata": META,
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}],
    },
    "Lease": {"metadata": META, "spec": {"leaseDurationSeconds": 40}},
    "Event": {"metadata": META, "involvedObject": {"kind": "Pod", "namespace": "default"}},
    "Binding": {"target": {"kind": "Node", "name": "n1"}},
    "Scale": {"spec": {"replicas": 3}},
}


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value set; path segments are keys and list indices; None removes."""
    result = copy.deepcopy(document)
    *way, last = path.split("/")
    holder: Any = result
    for part in way:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return result


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_object_has_no_causes(kind: str) -> None:
    assert validate_create(kind, apply_defaults(kind, GOOD[kind])) == ()


C = "spec/containers/0/"
P = "spec.containers[0]."
VOLUME = [{"name": "v", "emptyDir": {}}]
D = "spec/template/spec/"

CASES: list[tuple[str, str, Any, str, str, str]] = [
    # metadata
    ("Pod", "metadata/name", "", "metadata.name", REQUIRED, "name or generateName is required"),
    ("Pod", "metadata/name", "Web", "metadata.name", INVALID, 'Invalid value: "Web": a lowercase RFC 1123'),
    ("Service", "metadata/name", "1web", "metadata.name", INVALID, "a DNS-1035 label"),
    ("Namespace", "metadata/name", "a.b", "metadata.name", INVALID, "a lowercase RFC 1123 label"),
    ("Pod", "metadata/generateName", "Web-", "metadata.generateName", INVALID, "RFC 1123"),
    ("Pod", "metadata/namespace", None, "metadata.namespace", REQUIRED, "Required value"),
    ("Pod", "metadata/namespace", "A", "metadata.namespace", INVALID, "RFC 1123 label"),
    ("Node", "metadata/namespace", "a", "metadata.namespace", FORBIDDEN, "not allowed on this type"),
    ("Pod", "metadata/labels", {"a/b/c": "d"}, "metadata.labels", INVALID, '"a/b/c"'),
    ("Pod", "metadata/labels", {"a": "b c"}, "metadata.labels", INVALID, '"b c": a valid label'),
    ("Pod", "metadata/annotations", {"": "x"}, "metadata.annotations", INVALID, "non-empty"),
    ("Pod", "metadata/annotations", {"a": "x" * 262145}, "metadata.annotations", TOO_LONG, "262144 bytes"),
    ("Pod", "metadata/finalizers", ["mine"], "metadata.finalizers[0]", INVALID, "fully qualified"),
    ("Pod", "metadata/ownerReferences", [{"apiVersion": "v1", "kind": "Pod", "name": "a"}],
     "metadata.ownerReferences[0].uid", INVALID, "uid must not be empty"),
    ("Pod", "metadata/ownerReferences",
     [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True} for name in "ab"],
     "metadata.ownerReferences", INVALID, "references for a and b"),
    # containers
    ("Pod", "spec/containers", [], "spec.containers", REQUIRED, "Required value"),
    ("Pod", C + "name", None, P + "name", REQUIRED, "Required value"),
    ("Pod", C + "name", "a_b", P + "name", INVALID, "RFC 1123 label"),
    ("Pod", "spec/initContainers", [CONTAINER], "spec.containers[0].name", DUPLICATE, '"c"'),
    ("Pod", C + "image", None, P + "image", REQUIRED, "Required value"),
    ("Pod", C + "image", " x", P + "image", INVALID, "leading or trailing whitespace"),
    ("Pod", C + "imagePullPolicy", "Sometimes", P + "imagePullPolicy", UNSUPPORTED,
     'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"'),
    ("Pod", C + "terminationMessagePolicy", "x", P + "terminationMessagePolicy", UNSUPPORTED, '"File"'),
    ("Pod", C + "ports", [{}], P + "ports[0].containerPort", REQUIRED, "Required value"),
    ("Pod", C + "ports", [{"containerPort": 70000}], P + "ports[0].containerPort", INVALID,
     "must be between 1 and 65535, inclusive"),
    ("Pod", C + "ports", [{"containerPort": 1, "hostPort": -1}], P + "ports[0].hostPort", INVALID, "65535"),
    ("Pod", C + "ports", [{"containerPort": 1, "protocol": "ICMP"}], P + "ports[0].protocol", UNSUPPORTED,
     '"SCTP", "TCP", "UDP"'),
    ("Pod", C + "ports", [{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}],
     P + "ports[1].name", DUPLICATE, '"x"'),
    ("Pod", C + "ports", [{"containerPort": 1, "name": "X!"}], P + "ports[0].name", INVALID, "alpha-numeric"),
    ("Pod", C + "ports", [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}],
     P + "ports[1].hostPort", DUPLICATE, "TCP//9"),
    ("Pod", C + "env", [{"name": ""}], P + "env[0].name", REQUIRED, "Required value"),
    ("Pod", C + "env", [{"name": "a=b"}], P + "env[0].name", INVALID, "printable ASCII"),
    ("Pod", C + "env", [{"name": "A", "valueFrom": {}}], P + "env[0].valueFrom", INVALID,
     "must specify one of"),
    ("Pod", C + "env", [{"name": "A", "value": "x",
     "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
     P + "env[0].valueFrom", INVALID, "may not be specified when `value` is not empty"),
    ("Pod", C + "env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}],
     P + "env[0].valueFrom.fieldRef.fieldPath", UNSUPPORTED, '"status.podIP"'),
    ("Pod", C + "env", [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}],
     P + "env[0].valueFrom.resourceFieldRef.resource", UNSUPPORTED, '"limits.cpu"'),
    ("Pod", C + "env", [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m"}}}],
     P + "env[0].valueFrom.configMapKeyRef.key", REQUIRED, "Required value"),
    ("Pod", C + "envFrom", [{}], P + "envFrom[0]", INVALID, "`configMapRef` or `secretRef`"),
    ("Pod", C + "envFrom", [{"secretRef": {}}], P + "envFrom[0].secretRef.name", REQUIRED, "Required"),
    ("Pod", C + "volumeMounts", [{"name": "v", "mountPath": "/x"}], P + "volumeMounts[0].name", NOT_FOUND,
     'Not found: "v"'),
    ("Pod", C + "livenessProbe", {}, P + "livenessProbe", REQUIRED, "must specify a handler type"),
    ("Pod", C + "livenessProbe", {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}},
     P + "livenessProbe.tcpSocket", FORBIDDEN, "may not specify more than 1 handler type"),
    ("Pod", C + "livenessProbe", {"exec": {}}, P + "livenessProbe.exec.command", REQUIRED, "Required"),
    ("Pod", C + "livenessProbe", {"tcpSocket": {"port": 0}}, P + "livenessProbe.tcpSocket.port", INVALID,
     "65535"),
    ("Pod", C + "livenessProbe", {"httpGet": {"port": "Web!"}}, P + "livenessProbe.httpGet.port", INVALID,
     "alpha-numeric"),
    ("Pod", C + "livenessProbe", {"httpGet": {"port": 1, "scheme": "FTP"}},
     P + "livenessProbe.httpGet.scheme",
     UNSUPPORTED, '"HTTP", "HTTPS"'),
    ("Pod", C + "livenessProbe", {"tcpSocket": {"port": 1}, "periodSeconds": -1},
     P + "livenessProbe.periodSeconds", INVALID, "greater than or equal to 0"),
    ("Pod", C + "livenessProbe", {"tcpSocket": {"port": 1}, "successThreshold": 2},
     P + "livenessProbe.successThreshold", INVALID, "must be 1"),
    ("Pod", C + "readinessProbe", {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 1},
     P + "readinessProbe.terminationGracePeriodSeconds", INVALID, "must not be set for readinessProbes"),
    ("Pod", C + "lifecycle", {"preStop": {}}, P + "lifecycle.preStop", REQUIRED, "handler type"),
    ("Pod", "spec/initContainers", [{"name": "i", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}],
     "spec.initContainers[0].livenessProbe", FORBIDDEN, "restartPolicy=Always"),
    ("Pod", C + "resources", {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, P + "resources.requests",
     INVALID,
     'Invalid value: "2": must be less than or equal to cpu limit of 1'),
    ("Pod", C + "resources", {"requests": {"cpu": "-1"}}, P + "resources.requests[cpu]", INVALID,
     "must be greater than or equal to 0"),
    ("Pod", C + "resources", {"requests": {"gpu": "1"}}, P + "resources.requests[gpu]", INVALID,
     "must be a standard resource for containers"),
    ("Pod", C + "resources", {"requests": {"example.com/gpu": "1"}}, P + "resources.limits", REQUIRED,
     "Limit must be set for non overcommitable resources"),
    ("Pod", C + "resources", {"limits": {"example.com/gpu": "500m"}}, P + "resources.limits[example.com/gpu]",
     INVALID, "must be an integer"),
    ("Pod", C + "securityContext", {"runAsUser": -1}, P + "securityContext.runAsUser", INVALID, "2147483647"),
    ("Pod", C + "securityContext", {"privileged": True, "allowPrivilegeEscalation": False},
     P + "securityContext", INVALID,
     "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    # volumes
    ("Pod", "spec/volumes", [*VOLUME, *VOLUME], "spec.volumes[1].name", DUPLICATE, '"v"'),
    ("Pod", "spec/volumes", [{"emptyDir": {}}], "spec.volumes[0].name", REQUIRED, "Required"),
    ("Pod", "spec/volumes", [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}],
     "spec.volumes[0].hostPath", FORBIDDEN, "may not specify more than 1 volume type"),
    ("Pod", "spec/volumes", [{"name": "v", "hostPath": {"path": "/a/../b"}}], "spec.volumes[0].hostPath.path",
     INVALID, "must not contain '..'"),
    ("Pod", "spec/volumes", [{"name": "v", "hostPath": {"path": "/a", "type": "x"}}],
     "spec.volumes[0].hostPath.type", UNSUPPORTED, '"Directory"'),
    ("Pod", "spec/volumes", [{"name": "v", "secret": {}}], "spec.volumes[0].secret.secretName", REQUIRED, ""),
    ("Pod", "spec/volumes", [{"name": "v", "configMap": {}}], "spec.volumes[0].configMap.name", REQUIRED, ""),
    ("Pod", "spec/volumes", [{"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}],
     "spec.volumes[0].secret.defaultMode", INVALID, "between 0 and 0777 (octal)"),
    ("Pod", "spec/volumes", [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k",
     "path": "/x"}]}}],
     "spec.volumes[0].secret.items[0].path", INVALID, "must be a relative path"),
    ("Pod", "spec/volumes", [{"name": "v",
     "projected": {"sources": [{"serviceAccountToken": {"path": ""}}]}}],
     "spec.volumes[0].projected.sources[0].serviceAccountToken.path", REQUIRED, ""),
    ("Pod", "spec/volumes", [{"name": "v", "downwardAPI": {"items": [{"path": "x"}]}}],
     "spec.volumes[0].downwardAPI.items[0]", REQUIRED, "one of fieldRef and resourceFieldRef"),
    # the pod
    ("Pod", "spec/restartPolicy", "x", "spec.restartPolicy", UNSUPPORTED, '"Always", "Never", "OnFailure"'),
    ("Pod", "spec/dnsPolicy", "x", "spec.dnsPolicy", UNSUPPORTED, '"ClusterFirst"'),
    ("Pod", "spec/dnsPolicy", "None", "spec.dnsConfig.nameservers", REQUIRED, "at least one DNS nameserver"),
    ("Pod", "spec/terminationGracePeriodSeconds", -1, "spec.terminationGracePeriodSeconds", INVALID,
     "equal to 0"),
    ("Pod", "spec/activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", INVALID,
     "between 1 and 2147483647"),
    ("Pod", "spec/nodeName", "A", "spec.nodeName", INVALID, "subdomain"),
    ("Pod", "spec/hostname", "a.b", "spec.hostname", INVALID, "label"),
    ("Pod", "spec/nodeSelector", {"a": "b c"}, "spec.nodeSelector", INVALID, "a valid label"),
    ("Pod", "spec/imagePullSecrets", [{}], "spec.imagePullSecrets[0].name", REQUIRED, ""),
    ("Pod", "spec/hostAliases", [{"ip": "x"}], "spec.hostAliases[0].ip", INVALID,
     "must be a valid IP address"),
    ("Pod", "spec/tolerations", [{"operator": "Equal"}], "spec.tolerations[0].operator", INVALID,
     "operator must be Exists when `key` is empty"),
    ("Pod", "spec/tolerations", [{"key": "a", "operator": "Exists", "value": "b"}],
     "spec.tolerations[0].operator",
     INVALID, "value must be empty when `operator` is 'Exists'"),
    ("Pod", "spec/tolerations", [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}],
     "spec.tolerations[0].effect", INVALID, "effect must be 'NoExecute'"),
    ("Pod", "spec/tolerations", [{"key": "a", "effect": "x"}], "spec.tolerations[0].effect", UNSUPPORTED, ""),
    ("Pod", "spec/affinity",
     {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
     "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms", REQUIRED,
     "must have at least one node selector term"),
    ("Pod", "spec/affinity",
     {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}},
     "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey", REQUIRED,
     "can not be empty"),
    ("Pod", "spec/affinity",
     {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}]}},
     "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight", INVALID,
     "1-100"),
    ("Pod", "spec/topologySpreadConstraints",
     [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}],
     "spec.topologySpreadConstraints[0].maxSkew", INVALID, "greater than zero"),
    ("Pod", "spec/topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "x"}],
     "spec.topologySpreadConstraints[0].whenUnsatisfiable", UNSUPPORTED, '"DoNotSchedule"'),
    ("Pod", "spec/ephemeralContainers", [{"name": "e", "image": "x"}], "spec.ephemeralContainers", FORBIDDEN,
     "cannot be set on create"),
    # services
    ("Service", "spec/ports", [], "spec.ports", REQUIRED, ""),
    ("Service", "spec/ports", [{"port": 0}], "spec.ports[0].port", INVALID, "65535"),
    ("Service", "spec/ports", [{"port": 80}, {"port": 81, "name": "b"}], "spec.ports[0].name", REQUIRED, ""),
    ("Service", "spec/ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}], "spec.ports[1].name",
     DUPLICATE, '"a"'),
    ("Service", "spec/ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}], "spec.ports[1]",
     DUPLICATE,
     '"port": 80'),
    ("Service", "spec/ports", [{"port": 80, "protocol": "x"}], "spec.ports[0].protocol", UNSUPPORTED, ""),
    ("Service", "spec/ports", [{"port": 80, "targetPort": "x_y"}], "spec.ports[0].targetPort", INVALID, ""),
    ("Service", "spec/ports", [{"port": 80, "nodePort": 30000}], "spec.ports[0].nodePort", FORBIDDEN,
     "may not be used when `type` is 'ClusterIP'"),
    ("Service", "spec/type", "x", "spec.type", UNSUPPORTED,
     '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ("Service", "spec/type", "ExternalName", "spec.externalName", REQUIRED, ""),
    ("Service", "spec/clusterIP", "x", "spec.clusterIPs[0]", INVALID, "must be a valid IP address"),
    ("Service", "spec/sessionAffinity", "x", "spec.sessionAffinity", UNSUPPORTED, '"ClientIP", "None"'),
    ("Service", "spec/externalIPs", ["127.0.0.1"], "spec.externalIPs[0]", INVALID, "loopback"),
    ("Service", "spec/externalTrafficPolicy", "Local", "spec.externalTrafficPolicy", INVALID,
     "may only be set for externally-accessible services"),
    ("Service", "spec/internalTrafficPolicy", "x", "spec.internalTrafficPolicy", UNSUPPORTED,
     '"Cluster", "Local"'),
    ("Service", "spec/selector", {"a": "b c"}, "spec.selector", INVALID, "a valid label"),
    # workloads
    ("Deployment", "spec/selector", None, "spec.selector", REQUIRED, ""),
    ("Deployment", "spec/selector", {}, "spec.selector", INVALID, "empty selector is invalid for deployment"),
    ("Deployment", "spec/selector/matchLabels", {"app": "other"}, "spec.template.metadata.labels", INVALID,
     'Invalid value: {"app": "web"}: `selector` does not match template `labels`'),
    ("Deployment", "spec/selector", {"matchExpressions": [{"key": "app", "operator": "In"}]},
     "spec.selector.matchExpressions[0].values", REQUIRED, "'In' or 'NotIn'"),
    ("Deployment", "spec/replicas", -1, "spec.replicas", INVALID, "must be greater than or equal to 0"),
    ("Deployment", "spec/strategy", {"type": "x"}, "spec.strategy.type", UNSUPPORTED, '"Recreate"'),
    ("Deployment", "spec/strategy", {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
     "spec.strategy.rollingUpdate", FORBIDDEN, "'Recreate'"),
    ("Deployment", "spec/strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
     "spec.strategy.rollingUpdate.maxUnavailable", INVALID, "may not be 0 when `maxSurge` is 0"),
    ("Deployment", "spec/strategy", {"rollingUpdate": {"maxSurge": "many"}},
     "spec.strategy.rollingUpdate.maxSurge", INVALID, "must be an integer or percentage"),
    ("Deployment", "spec/progressDeadlineSeconds", 0, "spec.progressDeadlineSeconds", INVALID,
     "must be greater than minReadySeconds"),
    ("Deployment", D + "restartPolicy", "Never", "spec.template.spec.restartPolicy", UNSUPPORTED, '"Always"'),
    ("Deployment", D + "containers", [], "spec.template.spec.containers", REQUIRED, ""),
    ("Deployment", "spec/template/metadata/labels", {"app": "web", "x": "y z"}, "spec.template.labels",
     INVALID, ""),
    ("ReplicaSet", "spec/selector/matchLabels", {"app": "x"}, "spec.template.metadata.labels", INVALID,
     "selector"),
    ("Scale", "spec/replicas", -1, "spec.replicas", INVALID, "equal to 0"),
    # the rest
    ("ConfigMap", "data", {"a b": ""}, "data[a b]", INVALID, "a valid config key"),
    ("ConfigMap", "data", {"c": ""}, "data[c]", INVALID, "duplicate of key present in binaryData"),
    ("ConfigMap", "data", {"a": "x" * 1048577}, "", TOO_LONG, "1048576 bytes"),
    ("Secret", "type", "kubernetes.io/tls", "data[tls.crt]", REQUIRED, ""),
    ("Secret", "type", "kubernetes.io/service-account-token",
     "metadata.annotations[kubernetes.io/service-account.name]", REQUIRED, ""),
    ("Node", "spec/taints", [{"key": "a", "effect": "x"}], "spec.taints[0].effect", UNSUPPORTED,
     '"NoSchedule", "PreferNoSchedule", "NoExecute"'),
    ("Node", "spec/taints", [{"key": "a"}], "spec.taints[0].effect", REQUIRED, ""),
    ("Node", "spec/taints", [{"key": "a", "effect": "NoSchedule"}] * 2, "spec.taints[1]", DUPLICATE, ""),
    ("Node", "spec/podCIDR", "x", "spec.podCIDRs[0]", INVALID, "must be a valid CIDR value"),
    ("EndpointSlice", "addressType", "x", "addressType", UNSUPPORTED, '"FQDN", "IPv4", "IPv6"'),
    ("EndpointSlice", "endpoints/0/addresses", ["::1"], "endpoints[0].addresses[0]", INVALID, "valid IPv4"),
    ("EndpointSlice", "endpoints/0/addresses", [], "endpoints[0].addresses", REQUIRED, "at least 1 address"),
    ("EndpointSlice", "ports", [{"port": 0}], "ports[0].port", INVALID, "65535"),
    ("Endpoints", "subsets/0/addresses", [], "subsets[0]", REQUIRED, "`addresses` or `notReadyAddresses`"),
    ("Endpoints", "subsets/0/addresses/0/ip", "x", "subsets[0].addresses[0].ip", INVALID, "valid IP address"),
    ("Endpoints", "subsets/0/ports/0/port", 0, "subsets[0].ports[0].port", INVALID, "65535"),
    ("Lease", "spec/leaseDurationSeconds", 0, "spec.leaseDurationSeconds", INVALID, "must be greater than 0"),
    ("Event", "involvedObject/namespace", "other", "involvedObject.namespace", INVALID, "does not match"),
    ("Binding", "target/name", "", "target.name", REQUIRED, ""),
    # wrong types
    ("Pod", "spec", "x", "spec", TYPE, 'Invalid value: "x": must be of type object, not string'),
    ("Pod", "spec/containers", "web", "spec.containers", TYPE, "must be of type array, not string"),
    ("Pod", "spec/containers", ["web"], "spec.containers[0]", TYPE, "must be of type object, not string"),
    ("Pod", C + "name", 3, P + "name", TYPE, "must be of type string, not integer"),
    ("Pod", C + "tty", "yes", P + "tty", TYPE, "must be of type boolean, not string"),
    ("Pod", C + "args", [1], P + "args[0]", TYPE, "must be of type string, not integer"),
    ("Pod", "metadata/labels", {"a": 1}, "metadata.labels[a]", TYPE, "must be of type string, not integer"),
    ("Pod", "metadata", [], "metadata", TYPE, "must be of type object, not array"),
    ("Deployment", "spec/replicas", "3", "spec.replicas", TYPE, "must be of type integer, not string"),
    ("Deployment", "spec/replicas", 1.5, "spec.replicas", TYPE, "must be of type integer, not number"),
    ("Deployment", "spec/replicas", True, "spec.replicas", TYPE, "must be of type integer, not boolean"),
    ("Pod", C + "resources", {"limits": {"cpu": "lots"}}, P + "resources.limits[cpu]", INVALID,
     "quantities must match the regular expression"),
    ("Service", "spec/ports", [{"port": 80, "targetPort": 1.5}], "spec.ports[0].targetPort", TYPE,
     "must be of type integer or string, not number"),
    ("Secret", "data", {"a": "%"}, "data[a]", INVALID, "must be base64"),
    ("Lease", "spec/renewTime", "yesterday", "spec.renewTime", INVALID, "RFC 3339"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value", "field", "reason", "says"),
    CASES,
    ids=[f"{row[0]} {row[1]} {row[4]} {number}" for number, row in enumerate(CASES)],
)
def test_a_broken_rule(kind: str, path: str, value: Any, field: str, reason: str, says: str) -> None:
    document = apply_defaults(kind, with_value(GOOD[kind], path, value))
    causes = validate_create(kind, document)
    assert [
        cause for cause in causes if cause.field == field and cause.reason == reason and says in cause.message
    ], causes


def test_mount_rules() -> None:
    document = with_value(GOOD["Pod"], "spec/volumes", VOLUME)
    document["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "v", "mountPath": "/x"},
        {"name": "v", "mountPath": "/x", "subPath": "../y", "mountPropagation": "Bidirectional"},
    ]
    assert {(cause.field, cause.reason) for cause in validate_create("Pod", document)} == {
        (P + "volumeMounts[1].mountPath", INVALID),
        (P + "volumeMounts[1].subPath", INVALID),
        (P + "volumeMounts[1].mountPropagation", FORBIDDEN),
    }


def test_host_network_ports_must_match() -> None:
    document = with_value(GOOD["Pod"], "spec/hostNetwork", True)
    document["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 81}]
    assert [(cause.field, cause.reason) for cause in validate_create("Pod", document)] == [
        (P + "ports[0].containerPort", INVALID)
    ]


def test_one_rule_broken_gives_one_cause() -> None:
    document = apply_defaults("Deployment", with_value(GOOD["Deployment"], "spec/replicas", -1))
    assert [str(cause) for cause in validate_create("Deployment", document)] == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    ]


def test_headless_and_external_name_services_need_no_ports() -> None:
    for spec in ({"clusterIP": "None"}, {"type": "ExternalName", "externalName": "example.com"}):
        document = apply_defaults("Service", {"metadata": META, "spec": spec})
        assert validate_create("Service", document) == ()


def test_two_protocols_may_share_a_port() -> None:
    ports = [{"port": 53, "name": "a", "protocol": "UDP"}, {"port": 53, "name": "b", "protocol": "TCP"}]
    assert validate_create("Service", with_value(GOOD["Service"], "spec/ports", ports)) == ()


def test_sidecars_may_be_probed() -> None:
    sidecar = {
        "name": "s",
        "image": "x",
        "restartPolicy": "Always",
        "livenessProbe": {"tcpSocket": {"port": 1}},
    }
    document = apply_defaults("Pod", with_value(GOOD["Pod"], "spec/initContainers", [sidecar]))
    assert validate_create("Pod", document) == ()


def test_a_secrets_value_is_never_shown() -> None:
    document = with_value(GOOD["Secret"], "type", "kubernetes.io/dockerconfigjson")
    document["stringData"] = {".dockerconfigjson": "hunter2"}
    (cause,) = validate_create("Secret", apply_defaults("Secret", document))
    assert cause.field == "data[.dockerconfigjson]"
    assert "hunter2" not in cause.message
