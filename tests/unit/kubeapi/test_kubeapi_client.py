"""The client against a real server on loopback, with TLS and without."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from kubeapi.client import Client, PatchType
from kubeapi.core import Namespace, Node
from kubeapi.credentials import BearerToken, TokenError
from kubeapi.errors import ApiStatusError, MalformedAnswer, Unreachable
from kubeapi.kubeconfig import ClientConfig
from kubeapi.meta import ObjectMeta
from kubeapi.resources import NAMESPACES, NODES, PODS, SERVICES
from kubeapi.status import Reason
from kubeapi.tls import TLSError
from kubeapi.watch_stream import WatchEventType
from tests.fakes.fake_api import FakeApi
from tests.unit.kubeapi.conftest import Identity, Pki


def config_for(pki: Pki, url: str, identity: Identity | None) -> ClientConfig:
    return ClientConfig(
        server=url,
        ca_data=pki.ca,
        client_certificate_data=identity.certificate if identity else None,
        client_key_data=identity.key if identity else None,
    )


@asynccontextmanager
async def connected(api: FakeApi) -> AsyncIterator[Client]:
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test/1") as client:
        yield client


# --- who one is ---------------------------------------------------------------------------------------------


async def test_mutual_tls(api: FakeApi, pki: Pki, tmp_path: Path) -> None:
    api.put("v1/nodes", {"metadata": {"name": "n1"}})
    async with (
        api.serve(pki.server_context(tmp_path)) as url,
        Client(config_for(pki, url, pki.client), user_agent="test/1") as client,
    ):
        assert (await client.get(NODES, "n1")).metadata.name == "n1"
    assert api.peer_names == ["system:node:n1"]
    assert api.requests[0].headers["User-Agent"] == "test/1"


async def test_a_client_certificate_of_another_authority(api: FakeApi, pki: Pki, tmp_path: Path) -> None:
    async with (
        api.serve(pki.server_context(tmp_path)) as url,
        Client(config_for(pki, url, pki.stranger), user_agent="test") as client,
    ):
        with pytest.raises(Unreachable):
            await client.get(NODES, "n1")
    assert api.requests == []


async def test_a_server_that_is_not_trusted(api: FakeApi, pki: Pki, tmp_path: Path) -> None:
    config = config_for(pki, "", None)
    async with api.serve(pki.server_context(tmp_path)) as url:
        for wrong in (
            replace(config, server=url, ca_data=None),
            replace(config, server=url, tls_server_name="x"),
        ):
            async with Client(wrong, user_agent="test") as client:
                with pytest.raises(Unreachable, match="is not trusted"):
                    await client.get(NODES, "n1")


async def test_names_of_the_server(api: FakeApi, pki: Pki, tmp_path: Path) -> None:
    api.put("v1/nodes", {"metadata": {"name": "n1"}})
    async with api.serve(pki.server_context(tmp_path)) as url:
        named = replace(config_for(pki, url, None), tls_server_name="kubernetes.test")
        unchecked = ClientConfig(server=url, insecure_skip_tls_verify=True)
        for config in (named, unchecked):
            async with Client(config, user_agent="test") as client:
                assert (await client.get(NODES, "n1")).metadata.name == "n1"


async def test_certificates_that_cannot_be_used(pki: Pki) -> None:
    config = config_for(pki, "https://127.0.0.1:1", pki.client)
    for wrong in (
        replace(config, ca_data=b"no pem"),
        replace(config, client_key_data=pki.server.key),
        replace(config, client_certificate_data=b"no pem"),
    ):
        with pytest.raises(TLSError, match="of the kubeconfig"):
            async with Client(wrong, user_agent="test"):
                pass


async def test_bearer_token(api: FakeApi) -> None:
    async with api.serve() as url, Client(ClientConfig(server=url, token="abc"), user_agent="test") as client:
        await client.list(PODS)
    assert api.requests[0].headers["Authorization"] == "Bearer abc"


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    now, path = [0.0], tmp_path / "token"
    token = BearerToken(ClientConfig(server="http://x", token_file=path), clock=lambda: now[0])
    with pytest.raises(TokenError, match=f"token file {path} cannot be read"):
        token.headers()
    path.write_text("first\n")
    assert token.headers() == {"Authorization": "Bearer first"}
    path.write_text("second\n")
    now[0] = 30.0
    assert token.headers() == {"Authorization": "Bearer first"}
    now[0] = 61.0
    assert token.headers() == {"Authorization": "Bearer second"}
    path.unlink()
    now[0] = 200.0
    assert token.headers() == {"Authorization": "Bearer second"}


# --- verbs --------------------------------------------------------------------------------------------------


async def test_write_and_read(api: FakeApi) -> None:
    async with connected(api) as client:
        created = await client.create(NODES, Node(metadata=ObjectMeta(name="n1", labels={"a": "1"})))
        assert api.read("v1/nodes", "n1") is not None
        patched = await client.patch(
            NODES,
            {"metadata": {"labels": {"b": "2"}}},
            "n1",
            patch_type=PatchType.MERGE,
            subresource="status",
        )
        assert patched.metadata.labels == {"a": "1", "b": "2"}
        updated = await client.update(
            NODES, b'{"metadata":{"name":"n1","resourceVersion":"%d"}}' % api.revision, "n1"
        )
        assert updated.metadata.uid == created.metadata.uid
        await client.delete(NODES, "n1", uid=created.metadata.uid, grace_period_seconds=0)
    assert api.read("v1/nodes", "n1") is None
    sent = [(each.method, each.path, each.headers.get("Content-Type")) for each in api.requests]
    assert sent == [
        ("POST", "/api/v1/nodes", "application/json"),
        ("PATCH", "/api/v1/nodes/n1/status", "application/merge-patch+json"),
        ("PUT", "/api/v1/nodes/n1", "application/json"),
        ("DELETE", "/api/v1/nodes/n1", "application/json"),
    ]
    assert b'"kind":"Node"' in api.requests[0].body
    assert b'"gracePeriodSeconds":0' in api.requests[3].body


async def test_a_binding_answers_with_success(api: FakeApi) -> None:
    api.put("v1/pods", {"metadata": {"name": "p", "namespace": "web"}})
    async with connected(api) as client:
        binding: dict[str, object] = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        answer = await client.create(PODS, binding, "web", name="p", subresource="binding")
        assert answer.metadata.name == ""
        assert (await client.get(PODS, "p", "web")).spec.node_name == "n1"


async def test_refusals(api: FakeApi) -> None:
    api.put("v1/nodes", {"metadata": {"name": "n1"}})
    async with connected(api) as client:
        with pytest.raises(ApiStatusError, match='nodes "n2" not found') as raised:
            await client.get(NODES, "n2")
        assert (raised.value.is_not_found, raised.value.reason) == (True, "NotFound")
        with pytest.raises(ApiStatusError) as raised:
            await client.create(NODES, Node(metadata=ObjectMeta(name="n1")))
        assert (raised.value.is_already_exists, raised.value.is_conflict) == (True, False)
        with pytest.raises(ApiStatusError) as raised:
            await client.delete(NODES, "n1", uid="another")
        assert (raised.value.is_already_exists, raised.value.is_conflict) == (False, True)
        api.fail_next(Reason.TOO_MANY_REQUESTS, 429, retry_after="7")
        with pytest.raises(ApiStatusError) as raised:
            await client.get(NODES, "n1")
        assert (raised.value.code, raised.value.retry_after_seconds) == (429, 7.0)


async def test_pages_are_followed(api: FakeApi) -> None:
    for number in range(7):
        api.put("v1/namespaces", {"kind": "Namespace", "metadata": {"name": f"n{number}"}})
    async with connected(api) as client:
        listed = await client.list(NAMESPACES, limit=3)
    assert [each.metadata.name for each in listed.items] == [f"n{number}" for number in range(7)]
    assert {(each.kind, each.api_version) for each in listed.items} == {("Namespace", "v1")}
    assert listed.metadata.resource_version == str(api.revision)
    assert [each.query.get("limit") for each in api.requests] == ["3", "3", "3"]


async def test_forgotten_pages_are_listed_anew_in_one(api: FakeApi) -> None:
    for number in range(5):
        api.put("v1/namespaces", {"metadata": {"name": f"n{number}"}})
    api.fail_next(Reason.EXPIRED, 410, matches=lambda request: "continue" in request.query)
    async with connected(api) as client:
        listed = await client.list(NAMESPACES, limit=3)
    assert len(listed.items) == 5
    assert [each.query.get("limit") for each in api.requests] == ["3", "3", None]


async def test_selectors_reach_the_server(api: FakeApi) -> None:
    api.put("v1/pods", {"metadata": {"name": "a", "namespace": "x", "labels": {"app": "web"}}})
    api.put("v1/pods", {"metadata": {"name": "b", "namespace": "x", "labels": {"app": "db"}}})
    async with connected(api) as client:
        listed = await client.list(
            PODS, "x", label_selector="app in (web,cache)", field_selector="metadata.name=a"
        )
    assert [str(each.key) for each in listed.items] == ["x/a"]


# --- watching -----------------------------------------------------------------------------------------------


async def test_a_watch_tells_what_happens(api: FakeApi) -> None:
    async with connected(api) as client:
        start = str(api.revision)
        api.put("v1/namespaces", {"metadata": {"name": "a"}})
        seen: list[tuple[WatchEventType, str]] = []
        async with aclosing(client.watch(NAMESPACES, resource_version=start, timeout_seconds=20)) as events:
            async for event in events:
                seen.append((event.type, event.object.metadata.name))
                match len(seen):
                    case 1:
                        api.put("v1/namespaces", {"metadata": {"name": "a", "labels": {"x": "y"}}})
                    case 2:
                        api.send_bookmarks()
                    case 3:
                        api.remove("v1/namespaces", "a")
                    case _:
                        break
    assert seen == [
        (WatchEventType.ADDED, "a"),
        (WatchEventType.MODIFIED, "a"),
        (WatchEventType.BOOKMARK, ""),
        (WatchEventType.DELETED, "a"),
    ]


async def test_a_watch_ends_when_its_time_is_up(api: FakeApi) -> None:
    async with connected(api) as client:
        events = client.watch(NAMESPACES, resource_version=str(api.revision), timeout_seconds=0)
        assert [event async for event in events] == []


async def test_a_watch_of_a_forgotten_version(api: FakeApi) -> None:
    start = str(api.revision)
    api.forget_history()
    async with connected(api) as client:
        with pytest.raises(ApiStatusError, match="too old") as raised:
            [event async for event in client.watch(NAMESPACES, resource_version=start)]
    assert raised.value.is_gone


async def test_a_watch_that_is_cut(api: FakeApi) -> None:
    async with connected(api) as client:
        start = str(api.revision)
        api.put("v1/namespaces", {"metadata": {"name": "a"}})
        async with aclosing(client.watch(NAMESPACES, resource_version=start)) as events:
            await anext(events)
            api.drop_watches()
            with pytest.raises(Unreachable, match="broke"):
                await anext(events)


# --- no answer ----------------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with Client(ClientConfig(server=server), user_agent="test") as client:
            with pytest.raises(Unreachable, match=f"cannot connect to {server}: "):
                await client.get(NODES, "n1")


async def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Client(ClientConfig(server=server), user_agent="test") as client:
            with pytest.raises(Unreachable, match="did not answer in time"):
                await client.get(NODES, "n1", deadline_seconds=0.05)
            with pytest.raises(Unreachable, match="did not answer in time"):
                await anext(client.watch(NODES, resource_version="1", deadline_seconds=0.05))


@asynccontextmanager
async def serving(body: bytes, status: int = 200) -> AsyncIterator[Client]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Client(ClientConfig(server=server), user_agent="test") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"metadata":7,"items":[]}'])
async def test_answers_that_are_no_objects(body: bytes) -> None:
    async with serving(body) as client:
        with pytest.raises(MalformedAnswer, match="no readable Service"):
            await client.get(SERVICES, "s", "x")
        with pytest.raises(MalformedAnswer, match="no readable list of Service"):
            await client.list(SERVICES)


@pytest.mark.parametrize("status", [302, 502])
async def test_answers_of_something_else_than_an_api_server(status: int) -> None:
    async with serving(b"<html>gateway</html>", status) as client:
        with pytest.raises(ApiStatusError, match=f"the server answered {status}: <html>gateway"):
            await client.get(SERVICES, "s", "x")


async def test_a_stream_of_bytes() -> None:
    async with serving(b"line 1\nline 2\n") as client, client.stream("GET", "/logs") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"line 1\nline 2\n"


async def test_many_watches_do_not_hinder_requests(api: FakeApi) -> None:
    async with connected(api) as client, asyncio.TaskGroup() as group:

        async def watch() -> None:
            async for _event in client.watch(NAMESPACES, resource_version="1000", timeout_seconds=30):
                return

        for _ in range(120):
            group.create_task(watch())
        created = await client.create(NAMESPACES, Namespace(metadata=ObjectMeta(name="a")))
        assert created.metadata.name == "a"


async def test_a_client_that_is_not_open() -> None:
    with pytest.raises(RuntimeError, match="within 'async with'"):
        await Client(ClientConfig(server="http://127.0.0.1:1"), user_agent="test").get(NODES, "n1")
