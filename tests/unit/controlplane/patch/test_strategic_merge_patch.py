"""Strategic merge patch: merge keys, directives and order, one rule a row."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.apiserver.patch import PatchError, apply_strategic_merge_patch


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


WEB = {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
LOG = {"name": "log", "image": "log:1"}

MERGES: list[tuple[str, str, Any, Any, Any]] = [
    (
        "a container by its name",
        "Pod",
        pod(containers=[WEB, LOG]),
        pod(containers=[{"name": "log", "image": "log:2"}]),
        pod(containers=[WEB, {"name": "log", "image": "log:2"}]),
    ),
    (
        "a new container comes before those that the patch doesn't name",
        "Pod",
        pod(containers=[WEB]),
        pod(containers=[LOG]),
        pod(containers=[LOG, WEB]),
    ),
    (
        "a variable by its name, below a container",
        "Pod",
        pod(containers=[WEB]),
        pod(containers=[{"name": "web", "env": [{"name": "B", "value": "3"}]}]),
        pod(
            containers=[
                {**WEB, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]},
            ]
        ),
    ),
    (
        "$patch: delete on an element",
        "Pod",
        pod(containers=[WEB, LOG]),
        pod(containers=[{"name": "web", "$patch": "delete"}]),
        pod(containers=[LOG]),
    ),
    (
        "$patch: delete on an element that isn't there",
        "Pod",
        pod(containers=[LOG]),
        pod(containers=[{"name": "web", "$patch": "delete"}]),
        pod(containers=[LOG]),
    ),
    (
        "$patch: replace as an element replaces the list",
        "Pod",
        pod(containers=[WEB, LOG]),
        pod(containers=[{"name": "new"}, {"$patch": "replace"}]),
        pod(containers=[{"name": "new"}]),
    ),
    (
        "$patch: replace in an object",
        "Pod",
        pod(securityContext={"runAsUser": 1, "fsGroup": 2}),
        pod(securityContext={"$patch": "replace", "runAsUser": 3}),
        pod(securityContext={"runAsUser": 3}),
    ),
    (
        "$patch: delete in an object",
        "Pod",
        pod(securityContext={"runAsUser": 1}),
        pod(securityContext={"$patch": "delete"}),
        pod(securityContext={}),
    ),
    (
        "$patch: merge is the default",
        "Pod",
        pod(containers=[LOG]),
        pod(containers=[{"$patch": "merge", "name": "log", "image": "log:2"}]),
        pod(containers=[{"name": "log", "image": "log:2"}]),
    ),
    ("null deletes a field", "Pod", pod(nodeName="n1", hostname="h"), pod(nodeName=None), pod(hostname="h")),
    (
        "null deletes a list",
        "Pod",
        pod(containers=[WEB], volumes=[]),
        pod(volumes=None),
        pod(containers=[WEB]),
    ),
    (
        "an atomic list is replaced",
        "Pod",
        pod(tolerations=[{"key": "a"}, {"key": "b"}]),
        pod(tolerations=[{"key": "c"}]),
        pod(tolerations=[{"key": "c"}]),
    ),
    (
        "taints are an atomic list",
        "Node",
        pod(taints=[{"key": "a", "effect": "NoSchedule"}]),
        pod(taints=[{"key": "b", "effect": "NoSchedule"}]),
        pod(taints=[{"key": "b", "effect": "NoSchedule"}]),
    ),
    (
        "a list of plain values is replaced",
        "Pod",
        pod(containers=[{"name": "a", "args": ["x", "y"]}]),
        pod(containers=[{"name": "a", "args": ["z"]}]),
        pod(containers=[{"name": "a", "args": ["z"]}]),
    ),
    (
        "finalizers are a set",
        "Pod",
        {"metadata": {"finalizers": ["a/b", "c/d"]}},
        {"metadata": {"finalizers": ["c/d", "e/f"]}},
        {"metadata": {"finalizers": ["a/b", "c/d", "e/f"]}},
    ),
    (
        "$deleteFromPrimitiveList",
        "Pod",
        {"metadata": {"finalizers": ["a/b", "c/d"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"]}},
        {"metadata": {"finalizers": ["c/d"]}},
    ),
    (
        "$deleteFromPrimitiveList beside additions",
        "Pod",
        {"metadata": {"finalizers": ["a/b", "c/d"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"], "finalizers": ["e/f"]}},
        {"metadata": {"finalizers": ["e/f", "c/d"]}},
    ),
    (
        "$retainKeys clears what it doesn't name",
        "Deployment",
        {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
        {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        {"spec": {"strategy": {"type": "Recreate"}}},
    ),
    (
        "$retainKeys in a volume changes its source",
        "Pod",
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
        pod(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]),
        pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
    ),
    (
        "$setElementOrder with a change",
        "Pod",
        pod(containers=[WEB, LOG]),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "log"}, {"name": "web"}],
                "containers": [{"name": "web", "image": "web:2"}],
            }
        },
        pod(containers=[LOG, {**WEB, "image": "web:2"}]),
    ),
    (
        "$setElementOrder alone",
        "Pod",
        pod(containers=[WEB, LOG]),
        {"spec": {"$setElementOrder/containers": [{"name": "log"}, {"name": "web"}]}},
        pod(containers=[LOG, WEB]),
    ),
    (
        "$setElementOrder keeps the server's own elements in place",
        "Pod",
        pod(containers=[{"name": "a"}, {"name": "server"}, {"name": "b"}]),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
                "containers": [{"name": "c"}],
            }
        },
        pod(containers=[{"name": "a"}, {"name": "server"}, {"name": "b"}, {"name": "c"}]),
    ),
    (
        "$setElementOrder of plain values",
        "Pod",
        {"metadata": {"finalizers": ["a/b", "c/d"]}},
        {"metadata": {"$setElementOrder/finalizers": ["c/d", "a/b"]}},
        {"metadata": {"finalizers": ["c/d", "a/b"]}},
    ),
    (
        "$setElementOrder ignores deleted elements",
        "Pod",
        pod(containers=[WEB, LOG]),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "log"}],
                "containers": [{"$patch": "delete", "name": "web"}],
            }
        },
        pod(containers=[LOG]),
    ),
    (
        "conditions by type",
        "Node",
        {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "Disk"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Disk"}]}},
    ),
    (
        "service ports by port",
        "Service",
        pod(ports=[{"port": 80, "targetPort": 8080}]),
        pod(ports=[{"port": 80, "targetPort": 9090}, {"port": 443}]),
        pod(ports=[{"port": 80, "targetPort": 9090}, {"port": 443}]),
    ),
    (
        "container ports by containerPort",
        "Pod",
        pod(containers=[{"name": "a", "ports": [{"containerPort": 80, "name": "http"}]}]),
        pod(containers=[{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]),
        pod(containers=[{"name": "a", "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}]}]),
    ),
    (
        "a template's containers merge too",
        "Deployment",
        {"spec": {"template": pod(containers=[WEB, LOG])}},
        {"spec": {"template": pod(containers=[{"name": "web", "image": "web:2"}])}},
        {"spec": {"template": pod(containers=[{**WEB, "image": "web:2"}, LOG])}},
    ),
    (
        "nulls below something new vanish",
        "Pod",
        {},
        pod(containers=[{"name": "a", "image": None}], securityContext={"runAsUser": None}),
        pod(containers=[{"name": "a"}], securityContext={}),
    ),
    (
        "an unknown field merges like an object",
        "Pod",
        {"spec": {"future": {"a": 1}}},
        {"spec": {"future": {"b": [1]}}},
        {"spec": {"future": {"a": 1, "b": [1]}}},
    ),
    (
        "labels merge",
        "Pod",
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "c": "3"}}},
        {"metadata": {"labels": {"b": "2", "c": "3"}}},
    ),
    ("a scalar becomes an object", "Pod", {"spec": "x"}, pod(nodeName="n"), pod(nodeName="n")),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("no object", ["x"], "must be an object"),
    ("an element without its key", pod(containers=[{"image": "x"}]), "lacks its merge key name"),
    ("a plain value in a list of objects", pod(containers=["x"]), "holds objects"),
    ("an object in a list of plain values", {"metadata": {"finalizers": [{}]}}, "plain values"),
    ("an unknown directive", pod(securityContext={"$patch": "explode"}), "unknown directive"),
    (
        "$retainKeys without what the patch sets",
        pod(securityContext={"$retainKeys": ["fsGroup"], "runAsUser": 1}),
        "runAsUser is missing",
    ),
    ("$retainKeys that is no list", pod(securityContext={"$retainKeys": "x"}), "must be a list"),
    (
        "an order that the patch contradicts",
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "log"}, {"name": "web"}],
                "containers": [{"name": "web"}, {"name": "log"}],
            }
        },
        "doesn't match its",
    ),
    (
        "an order without the patch's element",
        {"spec": {"$setElementOrder/containers": [{"name": "log"}], "containers": [{"name": "web"}]}},
        "doesn't match its",
    ),
    ("an order of the wrong kind", {"spec": {"$setElementOrder/containers": ["web"]}}, "don't match"),
    ("an order that is no list", {"spec": {"$setElementOrder/containers": {}}}, "must be a list"),
]


@pytest.mark.parametrize(
    ("kind", "document", "patch", "wanted"), [row[1:] for row in MERGES], ids=[row[0] for row in MERGES]
)
def test_patch_merges(kind: str, document: Any, patch: Any, wanted: Any) -> None:
    before = copy.deepcopy((document, patch))
    assert apply_strategic_merge_patch(kind, document, patch) == wanted
    assert (document, patch) == before


@pytest.mark.parametrize(("patch", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_malformed_patch(patch: Any, says: str) -> None:
    document = {"metadata": {"finalizers": ["a/b"]}, "spec": {"containers": [WEB, LOG]}}
    with pytest.raises(PatchError, match=says):
        apply_strategic_merge_patch("Pod", document, patch)


def test_a_kind_without_schema_is_told_so() -> None:
    with pytest.raises(PatchError, match="kind Widget has no merge keys"):
        apply_strategic_merge_patch("Widget", {}, {})
