"""LIST and WATCH over HTTPS: resource versions, pages, selectors, bookmarks, and what a restart keeps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from controlplane.storage.memory import MemoryStorage
from controlplane.storage.sqlite.backend import open_sqlite_storage
from tests.unit.controlplane.apiserver.api_harness import (
    JSON,
    MERGE,
    Api,
    Document,
    build_config_map,
    build_pod,
    running_api,
    watching,
)

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
EVERYTHING_GONE = 410


def names(document: Document) -> list[str]:
    return [item["metadata"]["name"] for item in document["items"]]


async def create_maps(api: Api, *wanted: str) -> int:
    """Create config maps and return the last one's resource version."""
    version = 0
    for name in wanted:
        created = await api.create(MAPS, build_config_map(name))
        version = int(created["metadata"]["resourceVersion"])
    return version


# --- list ---------------------------------------------------------------------------------------------------


async def test_a_list_is_in_order_and_says_its_version(api: Api) -> None:
    version = await create_maps(api, "b", "a", "c")
    listed = (await api.get(MAPS)).document
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(listed) == ["a", "b", "c"]
    assert int(listed["metadata"]["resourceVersion"]) >= version


async def test_all_namespaces_are_listed_together(api: Api) -> None:
    await create_maps(api, "a")
    await api.create("/api/v1/namespaces/kube-system/configmaps", build_config_map("b"))
    assert names((await api.get("/api/v1/configmaps")).document) == ["a", "b"]


async def test_pages_show_one_snapshot(api: Api) -> None:
    await create_maps(api, "a", "b", "c", "d")
    first = (await api.get(f"{MAPS}?limit=2")).document
    assert names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 2
    await api.call("DELETE", f"{MAPS}/c")
    await create_maps(api, "bb", "e")
    token = first["metadata"]["continue"]
    second = (await api.get(f"{MAPS}?limit=2&continue={token}")).document
    assert names(second) == ["c", "d"]
    assert "continue" not in second["metadata"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.parametrize("token", ["garbage", "e30", "%00", "eyJyZXZpc2lvbiI6MSwiYWZ0ZXJfa2V5IjoiL3gifQ"])
async def test_a_foreign_continue_token_is_refused(api: Api, token: str) -> None:
    assert (await api.get(f"{MAPS}?limit=2&continue={token}")).status == 400


async def test_a_page_of_compacted_history_has_expired(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with running_api(tmp_path, storage) as api:
        await create_maps(api, "a", "b", "c")
        token = (await api.get(f"{MAPS}?limit=1")).document["metadata"]["continue"]
        await create_maps(api, "d")
        await storage.compact(storage.revision)
        reply = await api.get(f"{MAPS}?limit=1&continue={token}")
        assert (reply.status, reply.document["reason"]) == (EVERYTHING_GONE, "Expired")
    await storage.close()


async def test_an_exact_version_shows_the_past(api: Api) -> None:
    version = await create_maps(api, "a", "b")
    await create_maps(api, "c")
    path = f"{MAPS}?resourceVersion={version}"
    assert names((await api.get(f"{path}&resourceVersionMatch=Exact")).document) == ["a", "b"]
    assert names((await api.get(f"{path}&resourceVersionMatch=NotOlderThan")).document) == ["a", "b", "c"]
    assert names((await api.get(f"{path}&limit=5")).document) == ["a", "b"]
    assert names((await api.get(f"{MAPS}?resourceVersion=0")).document) == ["a", "b", "c"]


async def test_a_version_yet_to_come_is_a_timeout(api: Api) -> None:
    reply = await api.get(f"{MAPS}?resourceVersion=999999")
    assert (reply.status, reply.document["reason"]) == (504, "Timeout")
    assert reply.document["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    "query",
    [
        "resourceVersion=x",
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Some",
        "limit=many",
        "labelSelector=a%20in%20(b",
        "fieldSelector=spec.colour=red",
    ],
)
async def test_contradictory_list_options_are_bad_requests(api: Api, query: str) -> None:
    assert (await api.get(f"{PODS}?{query}")).status == 400


async def test_selectors_choose_by_label_and_field(api: Api) -> None:
    await api.create(PODS, build_pod("a", node="n1", labels={"app": "web"}))
    await api.create(PODS, build_pod("b", node="n2", labels={"app": "web"}))
    await api.create(PODS, build_pod("c", labels={"app": "db"}))
    assert names((await api.get(f"{PODS}?labelSelector=app%3Dweb")).document) == ["a", "b"]
    assert names((await api.get(f"{PODS}?fieldSelector=spec.nodeName%3Dn2")).document) == ["b"]
    assert names((await api.get(f"{PODS}?fieldSelector=spec.nodeName%3D")).document) == ["c"]
    both = "labelSelector=app%3Dweb&fieldSelector=metadata.name!%3Da,status.phase%3DPending"
    assert names((await api.get(f"{PODS}?{both}")).document) == ["b"]
    paged = (await api.get(f"{PODS}?labelSelector=app%3Dweb&limit=1")).document
    rest = await api.get(f"{PODS}?labelSelector=app%3Dweb&limit=1&continue={paged['metadata']['continue']}")
    assert names(rest.document) == ["b"]


async def test_events_are_selected_by_what_they_are_about(api: Api) -> None:
    events = "/api/v1/namespaces/default/events"
    for name, reason in (("e1", "Started"), ("e2", "Killed")):
        await api.create(
            events,
            {
                "metadata": {"name": name},
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
                "reason": reason,
                "source": {"component": "kubelet"},
            },
        )
    chosen = await api.get(f"{events}?fieldSelector=involvedObject.name%3Dp,reason%3DKilled,source%3Dkubelet")
    assert names(chosen.document) == ["e2"]


# --- forms --------------------------------------------------------------------------------------------------


async def test_a_table_has_columns_and_rows(api: Api) -> None:
    await api.create(PODS, build_pod("a"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = (await api.get(PODS, accept=accept)).document
    assert table["kind"] == "Table"
    assert table["columnDefinitions"][0]["name"] == "Name"
    assert table["rows"][0]["cells"][0] == "a"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"]["resourceVersion"]
    one = (await api.get(f"{PODS}/a", accept=accept)).document
    assert one["rows"][0]["cells"][0] == "a"


async def test_metadata_alone_can_be_asked_for(api: Api) -> None:
    await create_maps(api, "a")
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = (await api.get(MAPS, accept=accept)).document
    assert listed["kind"] == "PartialObjectMetadataList"
    assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_yaml_is_spoken_and_other_forms_are_not(api: Api) -> None:
    await create_maps(api, "a")
    reply = await api.get(f"{MAPS}/a", accept="application/yaml")
    assert reply.headers["Content-Type"] == "application/yaml"
    assert b"kind: ConfigMap\n" in reply.body
    assert (await api.get(MAPS, accept="application/vnd.kubernetes.protobuf")).status == 406
    assert (await api.get(MAPS, accept="application/vnd.kubernetes.protobuf,application/json")).status == 200


# --- watch --------------------------------------------------------------------------------------------------


async def test_a_watch_follows_from_a_version(api: Api) -> None:
    version = await create_maps(api, "a")
    await create_maps(api, "b")
    async with asyncio.timeout(10), watching(api, f"{MAPS}?resourceVersion={version}") as watch:
        assert await watch.next_names(1) == [("ADDED", "b")]
        await api.call("PATCH", f"{MAPS}/a", {"data": {"x": "y"}}, content_type=MERGE)
        await api.call("DELETE", f"{MAPS}/b")
        modified = await watch.next()
        assert (modified["type"], modified["object"]["data"]) == ("MODIFIED", {"x": "y"})
        deleted = await watch.next()
        assert (deleted["type"], deleted["object"]["metadata"]["name"]) == ("DELETED", "b")
        before = int(modified["object"]["metadata"]["resourceVersion"])
        assert int(deleted["object"]["metadata"]["resourceVersion"]) > before


@pytest.mark.parametrize("query", ["", "?resourceVersion=0"])
async def test_a_watch_without_a_version_starts_with_everything(api: Api, query: str) -> None:
    await create_maps(api, "a", "b")
    async with asyncio.timeout(10), watching(api, f"{MAPS}{query}") as watch:
        assert await watch.next_names(2) == [("ADDED", "a"), ("ADDED", "b")]
        await create_maps(api, "c")
        assert await watch.next_names(1) == [("ADDED", "c")]


async def test_a_streamed_list_ends_with_a_marked_bookmark(api: Api) -> None:
    await create_maps(api, "a")
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with asyncio.timeout(10), watching(api, f"{MAPS}?{query}") as watch:
        assert await watch.next_names(1) == [("ADDED", "a")]
        bookmark = await watch.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_selection_is_entered_and_left(api: Api) -> None:
    async with asyncio.timeout(10), watching(api, f"{PODS}?fieldSelector=spec.nodeName%3Dn1") as watch:
        await api.create(PODS, build_pod("elsewhere", node="n2"))
        await api.create(PODS, build_pod("p", labels={"app": "web"}))
        binding = {"target": {"kind": "Node", "name": "n1"}}
        await api.call("POST", f"{PODS}/p/binding", binding)
        assert await watch.next_names(1) == [("ADDED", "p")]
    async with asyncio.timeout(10), watching(api, f"{PODS}?labelSelector=app") as watch:
        assert await watch.next_names(1) == [("ADDED", "p")]
        await api.call("PATCH", f"{PODS}/p", {"metadata": {"labels": {"app": None}}}, content_type=MERGE)
        left = await watch.next()
        assert (left["type"], left["object"]["metadata"]["labels"]) == ("DELETED", {"app": "web"})


async def test_a_watch_from_forgotten_history_is_told_so(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with running_api(tmp_path, storage) as api:
        await create_maps(api, "a", "b")
    await storage.compact(storage.revision)
    async with (
        asyncio.timeout(10),
        running_api(tmp_path, storage) as api,
        watching(api, f"{MAPS}?resourceVersion=3") as watch,
    ):
        event = await watch.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert event["object"]["reason"] == "Expired"
        assert await watch.response.content.read() == b""
    await storage.close()


async def test_a_watch_resumes_across_a_restart(tmp_path: Path) -> None:
    storage = await open_sqlite_storage(tmp_path / "db")
    async with running_api(tmp_path, storage) as api:
        version = await create_maps(api, "a")
        await api.call("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"l": "x"}}}, content_type=MERGE)
        await api.call("DELETE", f"{MAPS}/a")
        await create_maps(api, "b")
    await storage.close()
    storage = await open_sqlite_storage(tmp_path / "db")
    async with asyncio.timeout(10), running_api(tmp_path, storage) as api:
        async with watching(api, f"{MAPS}?resourceVersion={version}") as watch:
            seen = await watch.next_names(3)
        assert seen == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
        async with watching(api, f"{MAPS}?resourceVersion={version}&labelSelector=l%3Dx") as watch:
            assert await watch.next_names(2) == [("ADDED", "a"), ("DELETED", "a")]
    await storage.close()


async def test_many_watchers_see_every_change_in_order(api: Api) -> None:
    wanted = [f"m{n}" for n in range(30)]

    async def follow() -> list[str]:
        async with watching(api, MAPS) as watch:
            return [name for _, name in await watch.next_names(len(wanted))]

    async with asyncio.timeout(20):
        followers = [asyncio.ensure_future(follow()) for _ in range(8)]
        await create_maps(api, *wanted)
        assert await asyncio.gather(*followers) == [wanted] * 8


async def test_a_watch_times_out_cleanly(api: Api) -> None:
    async with asyncio.timeout(10), watching(api, f"{MAPS}?timeoutSeconds=1") as watch:
        assert await watch.response.content.read() == b""


async def test_a_stopping_server_ends_its_watches(tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        running = running_api(tmp_path)
        api = await running.__aenter__()
        async with watching(api, MAPS) as watch:
            stopping = asyncio.ensure_future(running.__aexit__(None, None, None))
            assert await watch.response.content.read() == b""
        await stopping


async def test_a_watch_may_be_a_table(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    async with asyncio.timeout(10), watching(api, PODS, accept=accept) as watch:
        event = await watch.next()
        assert (event["type"], event["object"]["kind"]) == ("ADDED", "Table")
        assert event["object"]["rows"][0]["cells"][0] == "p"


@pytest.mark.parametrize(
    "query",
    [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
        "resourceVersion=x",
        "timeoutSeconds=soon",
    ],
)
async def test_contradictory_watch_options_are_bad_requests(api: Api, query: str) -> None:
    reply = await api.get(f"{MAPS}?watch=true&{query}")
    assert (reply.status, json.loads(reply.body)["reason"]) == (400, "BadRequest")
    assert reply.headers["Content-Type"] == JSON
