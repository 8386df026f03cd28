"""Static pods: manifests, the directory they lie in, and their mirror pods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.pods.mirror import CreateMirror, DeleteMirror, MirrorKeeper, plan_mirrors
from agent.pods.sources import ApiSource, StaticSource
from agent.pods.static_pods import ManifestError, StaticPod, build_mirror_document, parse_manifest
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
    (static,) = parse_manifest("/m/web.yaml", text, node, SEEN)
    return static


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
        (
            "apiVersion: apps/v1\nkind: Deployment",
            "holds a apps/v1 Deployment, but only v1 Pods can be static",
        ),
        (MANIFEST.replace("name: web", "name: Web_1", 1), "'Web_1', which is no DNS subdomain"),
        (
            MANIFEST.replace("image: berth.local/web:1", "image: 5"),
            "is no valid Pod: Expected `str`, got `int`",
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


def watch(directory: Path) -> tuple[StaticSource, Sink, list[Mapping[PodUID, StaticPod]]]:
    sink = Sink()
    seen: list[Mapping[PodUID, StaticPod]] = []
    return StaticSource(directory, "node-1", sink, seen.append, lambda: 0.0), sink, seen


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    source, sink, seen = watch(tmp_path)
    assert await source.scan()
    (tmp_path / "web.yaml").write_text(MANIFEST)
    (tmp_path / ".hidden.yaml").write_text(MANIFEST.replace("name: web", "name: hidden", 1))
    (tmp_path / "notes.txt").write_text("no manifest")
    await source.scan()
    assert sink.told == ["+web-node-1"]
    (tmp_path / "web.yaml").write_text(MANIFEST.replace("web:1", "web:22"))
    await source.scan()
    assert sink.told == ["+web-node-1", "-web-node-1", "+web-node-1"]
    (tmp_path / "web.yaml").unlink()
    await source.scan()
    await source.scan()
    assert sink.told[3:] == ["-web-node-1"]
    assert [len(pods) for pods in seen] == [1, 1, 0]


async def test_a_broken_file_keeps_its_pod_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, sink, _ = watch(tmp_path)
    (tmp_path / "web.yaml").write_text(MANIFEST)
    await source.scan()
    (tmp_path / "web.yaml").write_text("a: [")
    (tmp_path / "other.yaml").write_text(MANIFEST.replace("name: web", "name: other", 1))
    with caplog.at_level(logging.WARNING):
        await source.scan()
        await source.scan()
    assert sink.told == ["+web-node-1", "+other-node-1"]
    assert len(caplog.records) == 1


async def test_a_directory_that_is_away_removes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "web.yaml").write_text(MANIFEST)
    source, sink, _ = watch(directory)
    await source.scan()
    directory.rename(tmp_path / "elsewhere")
    assert not await source.scan()
    assert sink.told == ["+web-node-1"]


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
