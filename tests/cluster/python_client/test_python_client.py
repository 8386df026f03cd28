"""The official Python client: objects, watches, conflicts, scale and rollout, exec over WebSocket, logs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

SECONDS = 30
SHELL = "berth.local/shell:1"


def build_pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": SHELL, "command": list(command)}
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def wait_until(
    list_objects: Callable[..., Any], namespace: str, name: str, is_wanted: Callable[[Any], bool]
) -> Any:
    """The object once it is as wanted, found by a watch."""
    watcher = watch.Watch()
    selector = f"metadata.name={name}"
    for event in watcher.stream(list_objects, namespace, field_selector=selector, timeout_seconds=SECONDS):
        if event["type"] != "DELETED" and is_wanted(event["object"]):
            watcher.stop()
            return event["object"]
    raise AssertionError(f"{name} is not as wanted after {SECONDS} s")


def start_pod(core: client.CoreV1Api, namespace: str, document: dict[str, Any]) -> Any:
    core.create_namespaced_pod(namespace, document)
    return wait_until(
        core.list_namespaced_pod,
        namespace,
        document["metadata"]["name"],
        lambda pod: pod.status.phase == "Running",
    )


@contextmanager
def executing(core: client.CoreV1Api, namespace: str, pod: str, *command: str) -> Iterator[Any]:
    """The command's WebSocket; when the server ends it, the client itself leaves the socket open."""
    connection = stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=list(command),
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    try:
        yield connection
    finally:
        connection.close()
        connection.sock.shutdown()


def test_objects_are_made_read_changed_and_deleted(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"a": "b"})
    )
    assert (made.metadata.namespace, made.data) == (namespace, {"a": "b"})

    core.patch_namespaced_config_map("settings", namespace, {"data": {"c": "d"}})
    current = core.read_namespaced_config_map("settings", namespace)
    assert current.data == {"a": "b", "c": "d"}
    current.data = {"e": "f"}
    assert core.replace_namespaced_config_map("settings", namespace, current).data == {"e": "f"}

    names = [each.metadata.name for each in core.list_namespaced_config_map(namespace).items]
    assert "settings" in names
    assert core.delete_namespaced_config_map("settings", namespace)["status"] == "Success"
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("settings", namespace)
    assert (gone.value.status, gone.value.reason) == (404, "Not Found")


def test_a_stale_replacement_conflicts(core: client.CoreV1Api, namespace: str) -> None:
    stale = core.create_namespaced_config_map(namespace, {"metadata": {"name": "settings"}})
    core.patch_namespaced_config_map("settings", namespace, {"data": {"a": "b"}})

    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_config_map("settings", namespace, stale)

    assert refused.value.status == 409
    assert "the object has been modified" in refused.value.body


def test_an_invalid_object_names_its_fields(core: client.CoreV1Api, namespace: str) -> None:
    document = build_pod("bad", "true", restartPolicy="Sometimes")

    with pytest.raises(ApiException) as refused:
        core.create_namespaced_pod(namespace, document)

    assert refused.value.status == 422
    assert "spec.restartPolicy" in refused.value.body


def test_a_watch_sees_every_change_in_order(core: client.CoreV1Api, namespace: str) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "x", "labels": {"of": "watch"}}})
    for value in ("1", "2"):
        core.patch_namespaced_config_map("x", namespace, {"data": {"value": value}})
    core.delete_namespaced_config_map("x", namespace)

    watcher = watch.Watch()
    seen = []
    for event in watcher.stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="of=watch",
        resource_version=start,
        timeout_seconds=SECONDS,
    ):
        seen.append((event["type"], (event["object"].data or {}).get("value")))
        if event["type"] == "DELETED":
            watcher.stop()

    assert seen == [("ADDED", None), ("MODIFIED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_version_that_is_not_yet_is_refused(core: client.CoreV1Api, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        core.list_namespaced_config_map(
            namespace, resource_version="999999999", resource_version_match="Exact", limit=1
        )

    assert refused.value.status == 504


def test_lists_come_in_pages(core: client.CoreV1Api, namespace: str) -> None:
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"of": "pages"}}})

    seen, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(namespace, label_selector="of=pages", limit=2, _continue=token)
        seen.append([each.metadata.name for each in page.items])
        token = page.metadata._continue or ""

    assert seen == [names[:2], names[2:4], names[4:]]


def test_a_deployment_rolls_out_and_scales(apps: client.AppsV1Api, namespace: str) -> None:
    pod = build_pod("web", "sleep", "86400")
    apps.create_namespaced_deployment(
        namespace,
        {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod["spec"]},
            },
        },
    )
    wait_until(apps.list_namespaced_deployment, namespace, "web", lambda web: web.status.ready_replicas == 1)

    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web")
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
    wait_until(apps.list_namespaced_deployment, namespace, "web", lambda web: web.status.ready_replicas == 2)


def test_secrets_are_base64_and_plain_text_is_taken_in(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_secret(
        namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="key"), string_data={"word": "sesame"})
    )

    stored = core.read_namespaced_secret("key", namespace)

    assert (stored.string_data, base64.b64decode(stored.data["word"])) == (None, b"sesame")


def test_commands_run_in_a_pod(core: client.CoreV1Api, namespace: str) -> None:
    start_pod(core, namespace, build_pod("shell", "sleep", "86400"))
    script = "read word; echo out $word; echo err >&2; exit 3"
    with executing(core, namespace, "shell", "sh", "-c", script) as connection:
        connection.write_stdin("this\n")
        connection.run_forever(timeout=SECONDS)
        assert connection.read_stdout() == "out this\n"
        assert connection.read_stderr() == "err\n"
        assert connection.returncode == 3


def test_logs_are_read_and_followed_to_their_end(core: client.CoreV1Api, namespace: str) -> None:
    script = "echo first; until [ -e /go ]; do sleep 0.05; done; echo last"
    start_pod(core, namespace, build_pod("talker", "sh", "-c", script, restartPolicy="Never"))

    lines = []
    watcher = watch.Watch()
    for line in watcher.stream(core.read_namespaced_pod_log, "talker", namespace):
        lines.append(line)
        if line == "first":
            with executing(core, namespace, "talker", "touch", "/go") as connection:
                connection.run_forever(timeout=SECONDS)
                assert connection.returncode == 0

    assert lines == ["first", "last"]
    assert core.read_namespaced_pod_log("talker", namespace, tail_lines=1) == "last\n"


def test_a_pod_is_deleted_with_grace(core: client.CoreV1Api, namespace: str) -> None:
    start_pod(core, namespace, build_pod("shell", "sleep", "86400"))

    marked = core.delete_namespaced_pod("shell", namespace)
    assert marked.metadata.deletion_timestamp is not None

    version = core.list_namespaced_pod(namespace).metadata.resource_version
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_pod, namespace, resource_version=version, timeout_seconds=SECONDS
    ):
        if event["type"] == "DELETED":
            watcher.stop()
    assert core.list_namespaced_pod(namespace).items == []


def test_nodes_and_versions_are_told(core: client.CoreV1Api, api_client: client.ApiClient) -> None:
    (node,) = core.list_node().items
    assert {each.type: each.status for each in node.status.conditions}["Ready"] == "True"
    assert client.VersionApi(api_client).get_code().git_version.endswith("+berth")
    groups = [group.name for group in client.ApisApi(api_client).get_api_versions().groups]
    assert "apps" in groups
