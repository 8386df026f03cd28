"""What ephemeralcontainers and resize let through, and the causes of what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.pod_subresources import take_ephemeral_containers, take_resize
from controlplane.apiserver.validation import validate_update

AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
DEBUGGER = {"name": "debugger", "image": "tools:1", "targetContainerName": "main"}
POD = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
    "spec": {
        "containers": [{"name": "main", "image": "web:1", "resources": AMOUNTS}],
        "initContainers": [
            {"name": "once", "image": "init:1", "resources": AMOUNTS},
            {"name": "sidecar", "image": "side:1", "restartPolicy": "Always", "resources": AMOUNTS},
        ],
        "ephemeralContainers": [{"name": "old", "image": "tools:1"}],
    },
}
EPHEMERAL = "spec.ephemeralContainers"
NEW = f"{EPHEMERAL}[1]"
MAIN = "spec/containers/0"
NOT_HERE = "Forbidden: cannot be set for an Ephemeral Container"


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The pod with values set; path segments are keys and indices, None removes."""
    document: dict[str, Any] = json.loads(json.dumps(POD))
    for path, value in changes:
        *way, last = path.split("/")
        holder: Any = document
        for part in way:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return document


def old_pod(*changes: tuple[str, Any]) -> dict[str, Any]:
    return apply_defaults("Pod", changed(*changes))


def add(**fields: Any) -> dict[str, Any]:
    old = POD["spec"]["ephemeralContainers"]  # type: ignore[index]
    return changed((("spec/ephemeralContainers"), [*old, {**DEBUGGER, **fields}]))


def refuse_ephemeral(new: dict[str, Any], old: dict[str, Any]) -> list[tuple[str, str]]:
    taken = apply_defaults("Pod", take_ephemeral_containers(new, old))
    found = validate_update("Pod", taken, old, "ephemeralcontainers")
    return [(cause.field, cause.message) for cause in found]


def refuse_resize(new: dict[str, Any], old: dict[str, Any]) -> list[tuple[str, str]]:
    taken = apply_defaults("Pod", take_resize(new, old))
    return [(cause.field, cause.message) for cause in validate_update("Pod", taken, old, "resize")]


def test_an_ephemeral_container_is_added_and_nothing_else_changes() -> None:
    new = add(stdin=True, tty=True)
    new["spec"]["containers"][0]["image"] = "other:2"
    new["metadata"]["labels"] = {"a": "b"}
    old = old_pod()
    taken = apply_defaults("Pod", take_ephemeral_containers(new, old))
    assert validate_update("Pod", taken, old, "ephemeralcontainers") == ()
    assert [each["name"] for each in taken["spec"]["ephemeralContainers"]] == ["old", "debugger"]
    assert taken["spec"]["containers"] == old["spec"]["containers"]
    assert taken["metadata"] == old["metadata"]


@pytest.mark.parametrize(
    ("new", "causes"),
    [
        (
            changed(("spec/ephemeralContainers", [DEBUGGER])),
            [(EPHEMERAL, 'Forbidden: existing ephemeral containers "old" may not be removed')],
        ),
        (
            changed(("spec/ephemeralContainers/0/image", "other:1")),
            [(EPHEMERAL, 'Forbidden: existing ephemeral containers "old" may not be changed')],
        ),
        (add(name="main"), [(f"{NEW}.name", 'Duplicate value: "main"')]),
        (add(name="sidecar"), [(f"{NEW}.name", 'Duplicate value: "sidecar"')]),
        (add(targetContainerName="nobody"), [(f"{NEW}.targetContainerName", 'Not found: "nobody"')]),
        (add(targetContainerName="old"), [(f"{NEW}.targetContainerName", 'Not found: "old"')]),
        (add(ports=[{"containerPort": 80}]), [(f"{NEW}.ports", NOT_HERE)]),
        (add(resources=AMOUNTS), [(f"{NEW}.resources", NOT_HERE)]),
        (add(livenessProbe={"exec": {"command": ["true"]}}), [(f"{NEW}.livenessProbe", NOT_HERE)]),
        (add(lifecycle={"preStop": {"exec": {"command": ["true"]}}}), [(f"{NEW}.lifecycle", NOT_HERE)]),
        (add(image=""), [(f"{NEW}.image", "Required value")]),
    ],
)
def test_a_bad_ephemeral_container_is_refused(new: dict[str, Any], causes: list[tuple[str, str]]) -> None:
    assert refuse_ephemeral(new, old_pod()) == causes


def test_a_mirror_pod_gets_no_ephemeral_containers() -> None:
    mirror = ("metadata/annotations", {"kubernetes.io/config.mirror": "x"})
    causes = refuse_ephemeral(add(), old_pod(mirror))
    assert causes == [("", "Forbidden: static pods do not support ephemeral containers")]


@pytest.mark.parametrize(
    "changes",
    [
        [(f"{MAIN}/resources/requests/cpu", "200m")],
        [(f"{MAIN}/resources/limits/memory", "256Mi")],
        [(f"{MAIN}/resources/limits/cpu", "1")],
        [("spec/initContainers/1/resources/requests/cpu", "200m")],
        [(f"{MAIN}/resizePolicy", [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}])],
        [(f"{MAIN}/image", "other:1")],
    ],
)
def test_a_resize_changes_resources_and_nothing_else(changes: list[tuple[str, Any]]) -> None:
    old, new = old_pod(), changed(*changes)
    assert refuse_resize(new, old) == []
    taken = take_resize(new, old)
    assert taken["spec"]["containers"][0]["image"] == "web:1"
    assert taken["spec"]["containers"][0]["resources"] == new["spec"]["containers"][0]["resources"]


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        (
            [(f"{MAIN}/resources/requests/cpu", None)],
            [("spec.containers[0].resources.requests", "Forbidden: resource requests cannot be removed")],
        ),
        (
            [(f"{MAIN}/resources/limits/memory", None)],
            [("spec.containers[0].resources.limits", "Forbidden: resource limits cannot be removed")],
        ),
        (
            [("spec/initContainers/1/resources/limits/memory", None)],
            [("spec.initContainers[1].resources.limits", "Forbidden: resource limits cannot be removed")],
        ),
        (
            [(f"{MAIN}/resources/requests/ephemeral-storage", "1Gi")],
            [("spec", "Forbidden: only cpu and memory resources are mutable")],
        ),
        (
            [("spec/initContainers/0/resources/requests/cpu", "200m")],
            [("spec", "Forbidden: resources for non-sidecar init containers are immutable")],
        ),
        (
            [(f"{MAIN}/resources/requests/memory", "1Gi")],
            [
                (
                    "spec.containers[0].resources.requests",
                    'Invalid value: "1Gi": must be less than or equal to memory limit of 128Mi',
                )
            ],
        ),
    ],
)
def test_a_bad_resize_is_refused(changes: list[tuple[str, Any]], causes: list[tuple[str, str]]) -> None:
    assert refuse_resize(changed(*changes), old_pod()) == causes


def test_a_resize_keeps_the_qos_class() -> None:
    bare: list[tuple[str, Any]] = [("spec/initContainers", []), (f"{MAIN}/resources", {})]
    wanted = [("spec/initContainers", []), (f"{MAIN}/resources", {"requests": {"cpu": "1"}})]
    causes = refuse_resize(changed(*wanted), old_pod(*bare))
    message = 'Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'
    assert causes == [("spec", message)]


@pytest.mark.parametrize(
    ("fact", "cause"),
    [
        (("metadata/annotations", {"kubernetes.io/config.mirror": "x"}), "static pods cannot be resized"),
        (("spec/os", {"name": "windows"}), "windows pods cannot be resized"),
        (("spec/resources", {"requests": {"cpu": "1"}}), "pods with pod-level resources cannot be resized"),
    ],
)
def test_some_pods_cannot_be_resized(fact: tuple[str, Any], cause: str) -> None:
    new = changed(fact, (f"{MAIN}/resources/requests/cpu", "200m"))
    assert ("", f"Forbidden: {cause}") in refuse_resize(new, old_pod(fact))


def test_a_node_that_cannot_resize_is_told_by_its_status() -> None:
    running = {"name": "main", "state": {"running": {}}, "ready": True, "image": "", "imageID": ""}
    status = ("status", {"qosClass": "Burstable", "containerStatuses": [{**running, "restartCount": 0}]})
    new = changed((f"{MAIN}/resources/requests/cpu", "200m"))
    causes = refuse_resize(new, old_pod(status))
    assert causes == [("spec", "Forbidden: Pod running on node without support for resize")]


def test_an_ordinary_update_changes_neither() -> None:
    old = old_pod()
    for new in (add(), changed((f"{MAIN}/resources/requests/cpu", "200m"))):
        assert [cause.field for cause in validate_update("Pod", apply_defaults("Pod", new), old)] == ["spec"]


def test_a_status_is_taken_whatever_the_spec() -> None:
    old = old_pod((f"{MAIN}/image", ""))
    assert validate_update("Pod", {**old, "status": {"phase": "Running"}}, old, "status") == ()
