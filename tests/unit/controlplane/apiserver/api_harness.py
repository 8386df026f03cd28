"""An API server in this process, on real TLS and memory storage, and a client for it."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict

from controlplane.apiserver.server import ApiServerOptions, serve
from controlplane.apiserver.tls import build_node_tls, build_server_tls
from controlplane.certificates import (
    CertificatePaths,
    ensure_certificates,
    ensure_signing_key,
    issue_node_certificate,
    list_server_names,
)
from controlplane.listening import open_listener
from controlplane.storage.contract import Storage
from controlplane.storage.memory import MemoryStorage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Document:
        decoded: Document = json.loads(self.body)
        return decoded

    @property
    def message(self) -> str:
        return str(self.document["message"])

    @property
    def reason(self) -> str:
        """Absent where a code has no reason of its own."""
        return str(self.document.get("reason", ""))


class Api:
    """A client with an identity's certificate; `user` None has none."""

    def __init__(self, url: str, directory: Path, paths: CertificatePaths) -> None:
        self.url = url
        self._directory = directory
        self._paths = paths

    def build_tls(self, user: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._paths.authority.certificate))
        match user:
            case None:
                return context
            case "admin":
                context.load_cert_chain(self._paths.admin.certificate, self._paths.admin.key)
            case "scheduler":
                context.load_cert_chain(self._paths.scheduler.certificate, self._paths.scheduler.key)
            case node:
                pair = issue_node_certificate(self._directory, node)
                certificate, key = self._directory / f"{node}.crt", self._directory / f"{node}.key"
                certificate.write_bytes(pair.certificate_pem())
                key.write_bytes(pair.key_pem())
                context.load_cert_chain(certificate, key)
        return context

    @asynccontextmanager
    async def session(self, user: str | None = "admin") -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(ssl=self.build_tls(user), limit=0)
        async with aiohttp.ClientSession(self.url, connector=connector) as session:
            yield session

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: str | None = "admin",
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = io.BytesIO(content) if body is not None else None
        headers = {"Content-Type": content_type, "Accept": accept}
        async with (
            self.session(user) as session,
            session.request(method, path, data=data, headers=headers) as response,
        ):
            return Reply(response.status, CIMultiDict(response.headers), await response.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def create(self, path: str, body: object, **options: Any) -> Document:
        reply = await self.call("POST", path, body, **options)
        assert reply.status == 201, reply.body
        return reply.document


@asynccontextmanager
async def running_api(directory: Path, storage: Storage | None = None) -> AsyncIterator[Api]:
    """Serve on a free loopback port; certificates are kept in `directory`."""
    names = list_server_names(("127.0.0.1",), cluster_domain="cluster.local", first_service_ip="10.96.0.1")
    paths = ensure_certificates(directory, names)
    listener = open_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    options = ApiServerOptions(
        tls=build_server_tls(paths.serving.certificate, paths.serving.key, paths.authority.certificate),
        node_tls=build_node_tls(paths.kubelet_client.certificate, paths.kubelet_client.key),
        service_cidr="10.96.0.0/16",
        advertise_address="127.0.0.1",
        port=port,
        signing_key=ensure_signing_key(directory),
        now=lambda: NOW,
    )
    own = storage if storage is not None else MemoryStorage()
    try:
        async with serve(own, (listener,), options):
            yield Api(f"https://127.0.0.1:{port}", directory, paths)
    finally:
        if storage is None:
            await own.close()


class Watch:
    """The events of a watch response, one at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Document:
        line = await self.response.content.readline()
        assert line, "the watch has ended"
        event: Document = json.loads(line)
        return event

    async def next_names(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@asynccontextmanager
async def watching(api: Api, path: str, *, accept: str = JSON) -> AsyncIterator[Watch]:
    async with api.session() as session:
        separator = "&" if "?" in path else "?"
        async with session.get(f"{path}{separator}watch=true", headers={"Accept": accept}) as response:
            assert response.status == 200, await response.read()
            yield Watch(response)


def build_config_map(name: str, **data: str) -> Document:
    return {"metadata": {"name": name}, "data": data}


def build_pod(name: str, *, node: str = "", labels: Mapping[str, str] | None = None) -> Document:
    spec: Document = {"containers": [{"name": "main", "image": "web:1"}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": dict(labels or {})}, "spec": spec}
