"""Static pods: manifests, the directory they lie in, and their mirror pods."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.pods.sources.manifests import Manifest, ManifestObjects, merge_manifests, parse_manifest
from agent.pods.sources.mirror import CreateMirror, DeleteMirror, MirrorKeeper, plan_mirrors
from agent.pods.sources.sources import ApiSource, StaticSource
from agent.pods.sources.static_pods import (
    ALONE,
    BESIDE_AN_API_SERVER,
    ManifestError,
    ManifestRules,
    StaticPod,
    build_mirror_document,
)
from kubeapi.core import ConfigMap, Secret, Service
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod, PodUID
from tests import builders

SEEN = "2026-01-02T03:04:05Z"
MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, version: "1.0"}
spec:
  containers:
  - name: main
    image: berth.local/web:1
    env:
    - {name: FLAG, value: yes}
"""


def parse(text: str = MANIFEST, node: str = "node-1") -> StaticPod:
    (static,) = read(text, node).objects
    assert isinstance(static, StaticPod)
    return static


def read(text: str, node: str = "node-1", rules: ManifestRules = BESIDE_AN_API_SERVER) -> Manifest:
    return parse_manifest("/m/web.yaml", text, node, SEEN, rules)


# --- manifests ----------------------------------------------------------------------------------------------


def test_a_static_pod_is_named_after_its_node_and_marked() -> None:
    pod = parse().pod
    assert (pod.metadata.name, pod.metadata.namespace) == ("web-node-1", "default")
    assert pod.spec.node_name == "node-1"
    annotations = pod.metadata.annotations
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.hash"] == pod.metadata.uid
    assert annotations["kubernetes.io/config.seen"] == SEEN
    assert pod.spec.tolerations[-1].operator == "Exists"


def test_the_uid_follows_from_content_and_node() -> None:
    assert parse().pod.uid == parse().pod.uid
    assert parse().pod.uid == parse(MANIFEST + "\n# a comment\n").pod.uid
    assert parse(MANIFEST.replace("web:1", "web:2")).pod.uid != parse().pod.uid
    assert parse(node="node-2").pod.uid != parse().pod.uid


def test_words_and_sexagesimals_are_texts_as_in_yaml_1_2() -> None:
    text = MANIFEST.replace("value: yes", "value: 22:22")
    assert parse().pod.spec.containers[0].env[0].value == "yes"
    assert parse(text).pod.spec.containers[0].env[0].value == "22:22"


def test_json_is_read_too() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    assert parse(msgspec.json.encode(document).decode()).pod.metadata.name == "web-node-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "/m/web.yaml is neither YAML nor JSON"),
        ("- 1", "/m/web.yaml holds no Kubernetes object"),
        ("apiVersion: v1\nkind: Pod\nmetadata: x", "has a metadata that is no mapping"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: [x]", "has a spec that is no mapping"),
        (MANIFEST.replace("name: web", "name: web\n  namespace: ../etc", 1), "names its namespace '../etc'"),
        (MANIFEST + "  volumes: [{name: ../../etc}]\n", "has volumes without a name of their own"),
        (MANIFEST + "  volumes: {a: b}\n", "has volumes that are no list"),
        (MANIFEST + "  priority: !!int high\n", "has a value that its tag doesn't fit"),
        ("[" * 5000, "/m/web.yaml is"),
        ("", "/m/web.yaml is empty; remove the file to end its pods"),
        ("# nothing\n---\n", "/m/web.yaml is empty"),
        (MANIFEST.replace("name: web", "name: Web_1", 1), "'Web_1', which is no DNS subdomain"),
        (
            MANIFEST.replace("image: berth.local/web:1", "image: 5"),
            "holds no valid Pod: Expected `str`, got `int`",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}", "has no containers"),
        (MANIFEST.replace("    image: berth.local/web:1\n", ""), "has a container without an image"),
        (MANIFEST.replace("- name: main\n    image", "- image"), "containers without a name"),
    ],
)
def test_a_malformed_manifest_gets_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_objects_of_other_kinds_are_named_and_left_out() -> None:
    manifest = read(MANIFEST + "---\napiVersion: apps/v1\nkind: Deployment\n---\n" + CONFIG_MAP)
    assert [type(found) for found in manifest.objects] == [StaticPod]
    assert manifest.complaints == (
        "/m/web.yaml holds a apps/v1 Deployment, but only v1 Pods can be static; take it out",
        "/m/web.yaml holds a v1 ConfigMap, but only v1 Pods can be static; take it out",
    )


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("volumes: [{name: v, configMap: {name: x}}]", "configmaps"),
        ("volumes: [{name: v, secret: {secretName: x}}]", "secrets"),
        ("volumes: [{name: v, projected: {sources: [{secret: {name: x}}]}}]", "secrets"),
        ("volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]", "configmaps"),
        ("volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]", "persistentvolumeclaims"),
        (
            "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]",
            "serviceaccounts",
        ),
        ("serviceAccountName: robot", "serviceaccounts"),
        ("imagePullSecrets: [{name: x}]", "secrets"),
        ("initContainers: [{name: i, image: x, envFrom: [{configMapRef: {name: x}}]}]", "configmaps"),
        ("initContainers: [{name: i, image: x, envFrom: [{secretRef: {name: x}}]}]", "secrets"),
        (
            "initContainers: [{name: i, image: x, env: [{name: A, valueFrom: {secretKeyRef: {name: x}}}]}]",
            "secrets",
        ),
        (
            "initContainers: [{name: i, image: x, env: [{name: A, valueFrom: {configMapKeyRef: {key: y}}}]}]",
            "configmaps",
        ),
    ],
)
def test_a_static_pod_may_not_refer_to_objects_of_the_api(spec: str, kind: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse(f"{MANIFEST}  {spec}\n")
    assert f"refers to {kind}, which static pods may not reference" in str(raised.value)


def test_alone_a_pod_may_refer_to_what_the_directory_can_hold() -> None:
    spec = "  volumes: [{name: a, configMap: {name: x}}, {name: b, secret: {secretName: y}}]\n"
    assert read(MANIFEST + spec, rules=ALONE).objects
    with pytest.raises(ManifestError, match="persistentvolumeclaims"):
        read(f"{MANIFEST}  volumes: [{{name: v, persistentVolumeClaim: {{claimName: x}}}}]\n", rules=ALONE)


def test_defaults_are_those_of_the_api_server() -> None:
    text = MANIFEST.replace(
        "    env:",
        "    ports: [{containerPort: 80}]\n    resources: {limits: {cpu: 1, memory: 1Gi}}\n    env:",
    )
    pod = parse(
        text + "  hostNetwork: true\n  volumes: [{name: v}]\n  priorityClassName: system-node-critical\n"
    ).pod
    (container,) = pod.spec.containers
    assert container.resources.requests == container.resources.limits
    assert container.ports[0].host_port == 80
    assert pod.spec.volumes[0].empty_dir is not None
    assert pod.spec.priority == 2_000_001_000


def test_a_null_is_a_field_left_out() -> None:
    pod = parse(
        MANIFEST.replace("labels: {app: web", "creationTimestamp: null\n  labels: {none: null, app: web")
    )
    assert pod.pod.metadata.labels == {"app": "web", "version": "1.0"}


# --- other objects, for a node without an API server --------------------------------------------------------

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: red}\n"


def test_config_maps_secrets_and_services_are_read() -> None:
    text = f"""{CONFIG_MAP}---
apiVersion: v1
kind: Secret
metadata: {{name: token, namespace: other, uid: "no"}}
data: {{a: eA==}}
stringData: {{b: plain}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
"""
    settings, token, web = read(text, rules=ALONE).objects
    assert isinstance(settings, ConfigMap)
    assert (str(settings.key), settings.data) == ("default/settings", {"color": "red"})
    assert isinstance(token, Secret)
    assert (str(token.key), token.data, token.metadata.uid) == ("other/token", {"a": b"x", "b": b"plain"}, "")
    assert isinstance(web, Service)
    assert web.spec.ports[0].protocol == "TCP"


def test_lists_are_taken_apart() -> None:
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    bare = {"metadata": {"name": "two"}, "data": {}}
    for kind, items in (("List", [one]), ("ConfigMapList", [one, bare])):
        text = msgspec.json.encode({"apiVersion": "v1", "kind": kind, "items": items}).decode()
        names = [found.metadata.name for found in read(text, rules=ALONE).objects]  # type: ignore[union-attr]
        assert names == ["one", "two"][: len(items)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: v1\nkind: ConfigMap\n", "names its ConfigMap None, which is no DNS subdomain"),
        (CONFIG_MAP.replace("settings", "Bad_Name"), "names its ConfigMap 'Bad_Name'"),
        (CONFIG_MAP.replace("red", "7"), "holds no valid ConfigMap: Expected `str`, got `int`"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {key: 'hunter2!'}\n",
            "holds no valid Secret: Invalid base64",
        ),
    ],
)
def test_a_malformed_object_gets_one_sentence_without_secrets(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        read(text, rules=ALONE)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_of_two_objects_of_one_name_the_first_file_counts() -> None:
    first, second = read(MANIFEST), read(MANIFEST.replace("web:1", "web:2"))
    objects, complaints = merge_manifests({"/m/b.yaml": second, "/m/a.yaml": first})
    assert [pod.pod.spec.containers[0].image for pod in objects.pods.values()] == ["berth.local/web:1"]
    assert complaints == (
        "/m/b.yaml has the Pod default/web-node-1, which /m/a.yaml has already and which counts; rename one",
    )


# --- the directory ------------------------------------------------------------------------------------------


class Sink:
    def __init__(self) -> None:
        self.pods: dict[PodUID, Pod] = {}
        self.told: list[str] = []

    def set_pod(self, pod: Pod) -> None:
        self.pods[pod.uid] = pod
        self.told.append(f"+{pod.metadata.name}")

    def remove_pod(self, uid: PodUID) -> None:
        self.told.append(f"-{self.pods.pop(uid).metadata.name}")

    def keep_only(self, uids: Collection[PodUID], *, static: bool) -> None:
        names = sorted(self.pods[uid].metadata.name for uid in uids)
        self.told.append(f"only {' '.join(names)}" if static else "no others")

    def adopt_orphans(self) -> None:
        raise AssertionError("not the static source's to say")


def watch(
    directory: Path, rules: ManifestRules = BESIDE_AN_API_SERVER
) -> tuple[StaticSource, Sink, list[ManifestObjects]]:
    sink = Sink()
    seen: list[ManifestObjects] = []
    return StaticSource(directory, "node-1", rules, sink, seen.append), sink, seen


_age = itertools.count(1)


def write(path: Path, text: str) -> None:
    """As if it had been written a while ago, each time at another moment."""
    path.write_text(text)
    settled = 1_700_000_000 + next(_age)
    os.utime(path, (settled, settled))


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    source, sink, seen = watch(tmp_path)
    assert await source.scan()
    write(tmp_path / "web.yaml", MANIFEST)
    write(tmp_path / ".hidden.yaml", MANIFEST.replace("name: web", "name: hidden", 1))
    write(tmp_path / "notes.txt", "no manifest")
    (tmp_path / "directory.yaml").mkdir()
    await source.scan()
    assert sink.told == ["+web-node-1"]
    write(tmp_path / "web.yaml", MANIFEST.replace("web:1", "web:2"))
    await source.scan()
    assert sink.told == ["+web-node-1", "-web-node-1", "+web-node-1"]
    (tmp_path / "web.yaml").unlink()
    await source.scan()
    await source.scan()
    assert sink.told[3:] == ["-web-node-1"]
    assert [len(objects.pods) for objects in seen] == [0, 1, 1, 0]


async def test_a_broken_file_keeps_its_pod_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, sink, _ = watch(tmp_path)
    write(tmp_path / "web.yaml", MANIFEST)
    await source.scan()
    write(tmp_path / "web.yaml", "a: [")
    write(tmp_path / "other.yaml", MANIFEST.replace("name: web", "name: other", 1))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    os.utime(tmp_path / "binary.yaml", (1, 1))
    with caplog.at_level(logging.WARNING):
        await source.scan()
        await source.scan()
    assert sink.told == ["+web-node-1", "+other-node-1"]
    assert len(caplog.records) == 2


async def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    source, sink, _ = watch(tmp_path)
    write(tmp_path / "web.yaml", MANIFEST)
    await source.scan()
    (tmp_path / "web.yaml").write_text("")
    assert not await source.scan()
    assert sink.told == ["+web-node-1"]
    write(tmp_path / "web.yaml", MANIFEST.replace("web:1", "web:2"))
    assert await source.scan()
    assert sink.told[1:] == ["-web-node-1", "+web-node-1"]


async def test_a_directory_that_is_away_for_a_moment_removes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "manifests"
    directory.mkdir()
    write(directory / "web.yaml", MANIFEST)
    source, sink, _ = watch(directory)
    await source.scan()
    directory.rename(tmp_path / "elsewhere")
    assert not await source.scan()
    assert not await source.scan()
    (tmp_path / "elsewhere").rename(directory)
    assert await source.scan()
    assert sink.told == ["+web-node-1"]


async def test_a_deleted_directory_holds_nothing_and_may_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "manifests"
    source, sink, _ = watch(directory)
    with caplog.at_level(logging.WARNING):
        assert [await source.scan() for _ in range(4)] == [False, False, True, True]
    assert len(caplog.records) == 1
    directory.mkdir()
    write(directory / "web.yaml", MANIFEST)
    assert await source.scan()
    (directory / "web.yaml").unlink()
    directory.rmdir()
    assert [await source.scan() for _ in range(3)] == [False, False, True]
    assert sink.told == ["+web-node-1", "-web-node-1"]


async def test_remembered_pods_go_only_once_every_file_is_known(tmp_path: Path) -> None:
    """A file that is broken when the agent starts may hold any of them."""
    source, sink, _ = watch(tmp_path)
    write(tmp_path / "web.yaml", MANIFEST)
    write(tmp_path / "broken.yaml", "a: [")
    assert not await source.scan()
    running = asyncio.create_task(source.run())
    write(tmp_path / "broken.yaml", MANIFEST.replace("name: web", "name: other", 1))
    async with asyncio.timeout(5):
        while "only" not in sink.told[-1]:  # noqa: ASYNC110 - the source tells nobody that it has scanned
            await asyncio.sleep(0.01)
    assert sink.told == ["+web-node-1", "+other-node-1", "only other-node-1 web-node-1"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_objects_are_told_before_the_pods_that_use_them(tmp_path: Path) -> None:
    sink = Sink()
    source = StaticSource(
        tmp_path,
        "node-1",
        ALONE,
        sink,
        lambda objects: sink.told.append(str(len(objects.config_maps))),
    )
    write(tmp_path / "web.yaml", MANIFEST)
    write(tmp_path / "zz.yaml", CONFIG_MAP)
    await source.scan()
    write(tmp_path / "zz.yaml", CONFIG_MAP.replace("red", "blue"))
    await source.scan()
    assert sink.told == ["1", "+web-node-1", "1"]


# --- the API's pods -----------------------------------------------------------------------------------------


def test_api_pods_reach_the_lanes_and_mirrors_do_not() -> None:
    sink = Sink()
    mirrors: dict[ObjectKey, Pod | None] = {}
    source = ApiSource(sink, mirrors.__setitem__)
    pod = builders.pod("web")
    mirror = builders.pod("static", metadata={"annotations": {"kubernetes.io/config.mirror": "h"}})
    source.note_change(Change(pod.key, None, pod))
    source.note_change(Change(mirror.key, None, mirror))
    assert sink.told == ["+web"]
    assert mirrors == {mirror.key: mirror}


def test_a_pod_of_the_same_name_is_another_pod() -> None:
    sink = Sink()
    source = ApiSource(sink, lambda key, pod: None)
    old, new = builders.pod("web"), builders.pod("web", metadata={"uid": "other"})
    source.note_change(Change(old.key, None, old))
    source.note_change(Change(old.key, old, new))
    source.note_change(Change(old.key, new, None))
    assert sink.told == ["+web", "-web", "+web", "-web"]


# --- mirrors ------------------------------------------------------------------------------------------------


def as_mirror(static: StaticPod, uid: str = "m1", **metadata: Any) -> Pod:
    document = msgspec.json.decode(msgspec.json.encode(build_mirror_document(static, "node-uid")))
    document["metadata"] |= {"uid": uid, **metadata}
    return msgspec.convert(document, Pod)


def plan(static: StaticPod | None, mirror: Pod | None) -> list[CreateMirror | DeleteMirror]:
    statics = {static.pod.uid: static} if static else {}
    return list(plan_mirrors(statics, {mirror.key: mirror} if mirror else {}))


def test_a_fitting_mirror_is_left_alone() -> None:
    assert plan(parse(), as_mirror(parse())) == []


def test_a_mirror_is_made_for_each_static_pod() -> None:
    assert plan(parse(), None) == [CreateMirror(parse())]


def test_a_mirror_without_a_pod_or_of_an_older_one_goes() -> None:
    older = as_mirror(parse(MANIFEST.replace("web:1", "web:0")))
    assert plan(None, older) == [DeleteMirror(older)]
    assert plan(parse(), older) == [DeleteMirror(older)]


def test_a_mirror_that_is_being_deleted_is_deleted_and_comes_back() -> None:
    dying = as_mirror(parse(), deletionTimestamp=SEEN)
    assert plan(parse(), dying) == [DeleteMirror(dying)]


def test_the_mirror_belongs_to_the_node_and_has_no_uid_of_ours() -> None:
    document = build_mirror_document(parse(), "node-uid")
    assert "uid" not in document["metadata"]
    (owner,) = document["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", "node-1", "node-uid")
    assert document["metadata"]["annotations"]["kubernetes.io/config.mirror"] == parse().pod.uid
    assert document["spec"]["containers"][0]["env"] == [{"name": "FLAG", "value": "yes"}]


class Api:
    """Takes what the keeper does, and answers like an API server."""

    def __init__(self) -> None:
        self.pods: dict[ObjectKey, Pod] = {}
        self.calls: list[str] = []

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        raise AssertionError("a mirror's status is the status writer's matter")

    async def delete_pod(self, pod: Pod) -> None:
        self.calls.append(f"delete {pod.uid}")
        self.pods.pop(pod.key, None)

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        self.calls.append(f"create in {namespace}")
        whole = msgspec.json.decode(msgspec.json.encode(document))
        whole["metadata"]["uid"] = f"m{len(self.calls)}"
        pod = msgspec.convert(whole, Pod)
        self.pods[pod.key] = pod
        return pod


async def test_the_keeper_repairs_until_both_sides_agree() -> None:

    api, met = Api(), []
    keeper = MirrorKeeper(api, lambda: "node-uid", lambda pod, mirror: met.append((pod.uid, mirror.uid)))
    older = as_mirror(parse(MANIFEST.replace("web:1", "web:0")), uid="old")
    api.pods[older.key] = older
    keeper.note_mirror(older.key, older)
    keeper.set_statics({parse().pod.uid: parse()})
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while not met:  # noqa: ASYNC110 - the keeper tells nobody when it is done
            await asyncio.sleep(0)
    assert api.calls == ["delete old", "create in default"]
    assert met == [(parse().pod.uid, "m2")]
    found = keeper.find_mirror(parse().pod)
    assert found is not None
    assert found.uid == "m2"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_name_that_is_taken_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pods.sources.mirror._RETRY_SECONDS", 0.0)
    api = Api()
    create = api.create_pod

    async def refuse_twice(document: Mapping[str, Any], namespace: str) -> Pod | None:
        if api.calls.count("refused") == 2:
            return await create(document, namespace)
        api.calls.append("refused")
        return None

    keeper = MirrorKeeper(api, lambda: "node-uid", lambda pod, mirror: None)
    api.create_pod = refuse_twice  # type: ignore[method-assign]
    keeper.set_statics({parse().pod.uid: parse()})
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while keeper.find_mirror(parse().pod) is None:  # noqa: ASYNC110 - the keeper tells nobody
            await asyncio.sleep(0)
    assert api.calls == ["refused", "refused", "create in default"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
