"""What may change of an object, and what may not."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.validation import validate_update

META: Final = {"name": "web", "namespace": "default", "uid": "u1"}
OLD: Final[dict[str, dict[str, Any]]] = {
    "Pod": {
        "metadata": META,
        "spec": {
            "containers": [{"name": "c", "image": "web:1"}],
            "initContainers": [{"name": "i", "image": "init:1"}],
            "activeDeadlineSeconds": 100,
            "schedulingGates": [{"name": "example.com/gate"}],
        },
    },
    "Service": {"metadata": META, "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}},
    "Deployment": {
        "metadata": META,
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "x"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            },
        },
    },
    "ConfigMap": {"metadata": META, "data": {"a": "b"}, "immutable": True},
    "Secret": {"metadata": META, "data": {"a": "eA=="}},
    "Node": {"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.0.0.0/24", "providerID": "x://1"}},
    "EndpointSlice": {"metadata": META, "addressType": "IPv4"},
}

ALLOWED: list[tuple[str, str, Any]] = [
    ("Pod", "spec/containers/0/image", "web:2"),
    ("Pod", "spec/initContainers/0/image", "init:2"),
    ("Pod", "spec/activeDeadlineSeconds", 50),
    ("Pod", "spec/tolerations", [{"key": "more", "operator": "Exists"}]),
    ("Pod", "spec/schedulingGates", []),
    ("Pod", "metadata/labels", {"new": "label"}),
    ("Pod", "status", {"phase": "Running"}),
    ("Service", "spec/ports/0/targetPort", 8080),
    ("Service", "spec/type", "NodePort"),
    ("Deployment", "spec/replicas", 5),
    ("Deployment", "spec/template/spec/containers/0/image", "web:2"),
    ("ConfigMap", "metadata/labels", {"a": "b"}),
    ("Secret", "data", {"a": "eQ=="}),
    ("Node", "spec/unschedulable", True),
]

REFUSED: list[tuple[str, str, Any, str, str, str]] = [
    ("Pod", "metadata/uid", "u2", "metadata.uid", "FieldValueInvalid", "field is immutable"),
    ("Pod", "metadata/namespace", "other", "metadata.namespace", "FieldValueInvalid", "field is immutable"),
    ("Pod", "spec/nodeName", "n1", "spec", "FieldValueForbidden",
     "pod updates may not change fields other than"),
    ("Pod", "spec/containers/0/command", ["x"], "spec", "FieldValueForbidden", "changed: spec.containers"),
    ("Pod", "spec/containers", [{"name": "c", "image": "a"}, {"name": "d", "image": "b"}], "spec.containers",
     "FieldValueForbidden", "pod updates may not add or remove containers"),
    ("Pod", "spec/activeDeadlineSeconds", 200, "spec.activeDeadlineSeconds", "FieldValueInvalid",
     "must be less than or equal to previous value of 100"),
    ("Pod", "spec/activeDeadlineSeconds", None, "spec.activeDeadlineSeconds", "FieldValueInvalid",
     "nil value"),
    ("Pod", "spec/terminationGracePeriodSeconds", 5, "spec", "FieldValueForbidden",
     "changed: spec.terminationGracePeriodSeconds"),
    ("Pod", "spec/schedulingGates", [{"name": "example.com/other"}], "spec.schedulingGates[0]",
     "FieldValueForbidden", "only deletion is allowed"),
    ("Service", "spec/clusterIP", "10.96.0.8", "spec.clusterIPs[0]", "FieldValueInvalid",
     'Invalid value: ["10.96.0.8"]: may not change once set'),
    ("Deployment", "spec/selector", {"matchLabels": {"tier": "x"}}, "spec.selector", "FieldValueInvalid",
     "field is immutable"),
    ("ConfigMap", "data", {"a": "c"}, "data", "FieldValueForbidden", "immutable when `immutable` is set"),
    ("ConfigMap", "immutable", None, "immutable", "FieldValueForbidden", "immutable when `immutable` is set"),
    ("Secret", "type", "kubernetes.io/x", "type", "FieldValueInvalid", "field is immutable"),
    ("Node", "spec/podCIDR", "10.0.1.0/24", "spec.podCIDRs", "FieldValueForbidden", 'from "" to valid'),
    ("Node", "spec/providerID", "x://2", "spec.providerID", "FieldValueForbidden", "providerID"),
    ("EndpointSlice", "addressType", "IPv6", "addressType", "FieldValueInvalid", "field is immutable"),
]  # fmt: skip


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
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


def validate(kind: str, path: str, value: Any) -> Any:
    old = apply_defaults(kind, OLD[kind])
    new = apply_defaults(kind, changed(OLD[kind], path, value))
    return validate_update(kind, new, old)


@pytest.mark.parametrize("kind", OLD)
def test_no_change_is_allowed(kind: str) -> None:
    old = apply_defaults(kind, OLD[kind])
    assert validate_update(kind, old, old) == ()


@pytest.mark.parametrize(("kind", "path", "value"), ALLOWED)
def test_allowed_change(kind: str, path: str, value: Any) -> None:
    assert validate(kind, path, value) == ()


@pytest.mark.parametrize(("kind", "path", "value", "field", "reason", "says"), REFUSED)
def test_refused_change(kind: str, path: str, value: Any, field: str, reason: str, says: str) -> None:
    causes = validate(kind, path, value)
    assert [
        cause for cause in causes if cause.field == field and cause.reason == reason and says in cause.message
    ], causes


def test_an_existing_toleration_may_not_go() -> None:
    old = apply_defaults("Pod", changed(OLD["Pod"], "spec/tolerations", [{"key": "a", "operator": "Exists"}]))
    new = apply_defaults("Pod", changed(OLD["Pod"], "spec/tolerations", []))
    assert [(cause.field, cause.reason) for cause in validate_update("Pod", new, old)] == [
        ("spec.tolerations", "FieldValueForbidden")
    ]


def test_a_service_may_become_an_external_name() -> None:
    old = apply_defaults("Service", OLD["Service"])
    new = apply_defaults(
        "Service", {"metadata": META, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    )
    assert validate_update("Service", new, old) == ()
