"""The documents that never change while the server runs: discovery, version, OpenAPI.

Pure. Each is encoded once, when it is first asked for; `http_server` asks by path and Accept header and
gets bytes with their media type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

from controlplane.apiserver.discovery import (
    build_aggregated,
    build_api_versions,
    build_group,
    build_group_list,
    build_resource_list,
    build_version,
    list_group_versions,
    list_groups,
)
from controlplane.apiserver.documents import Document, encode_json
from controlplane.apiserver.kinds import KINDS
from controlplane.apiserver.negotiation import JSON, Shape, choose_format
from controlplane.apiserver.openapi import (
    OPENAPI_V2_PROTOBUF,
    build_openapi_v2,
    build_openapi_v3,
    build_openapi_v3_index,
    encode_openapi_v2,
)
from controlplane.apiserver.tokens.signer import CONFIGURATION_PATH, JWKS_PATH, TokenSigner

_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

# Clients before 1.26 ask with an "@" in the media type, which is not legal, and refuse it in the answer.
_OPENAPI_V2_PROTOBUFS: Final = (OPENAPI_V2_PROTOBUF, OPENAPI_V2_PROTOBUF.replace("v2.v1.0", "v2@v1.0"))
_OPENAPI_V3: Final = "/openapi/v3"
_KEY_SET: Final = "application/jwk-set+json"

# kubectl looks here before it says of a kind it can't find that there is none; discovery doesn't offer it.
_CUSTOM_RESOURCE_DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

Build = Callable[[], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class StaticDocument:
    body: bytes = field(repr=False)
    media_type: str = JSON
    etag: str = ""


class StaticDocuments:
    """By path; `server_address` is what clients outside should use, `signer` whose keys are published."""

    def __init__(self, server_address: str, signer: TokenSigner) -> None:
        self._builders: dict[str, Build] = {
            "/version": build_version,
            "/api": partial(build_api_versions, server_address),
            "/apis": build_group_list,
        }
        for name in list_groups():
            self._builders[f"/apis/{name}"] = partial(build_group, name)
        for group, version in list_group_versions():
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            self._builders[path] = partial(build_resource_list, group, version)
        self._builders[_CUSTOM_RESOURCE_DEFINITIONS] = _build_no_definitions
        self._builders[JWKS_PATH] = signer.build_key_set
        self._builders[CONFIGURATION_PATH] = partial(signer.build_configuration, f"https://{server_address}")
        self._builders["/openapi/v2"] = lambda: build_openapi_v2(KINDS)
        self._builders[_OPENAPI_V3] = lambda: build_openapi_v3_index(self._openapi_v3)
        for group, version in list_group_versions():
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            self._builders[f"{_OPENAPI_V3}/{path}"] = partial(self._read_openapi_v3, path)
        self._built: dict[str, StaticDocument] = {}

    @cached_property
    def _openapi_v3(self) -> Mapping[str, Document]:
        return build_openapi_v3(KINDS)

    def _read_openapi_v3(self, path: str) -> Document:
        return self._openapi_v3[path]

    def find(self, path: str, accept: str) -> StaticDocument | None:
        """None for a path that is none of ours."""
        if path in ("/api", "/apis") and _wants_aggregated(accept):
            groups = ("",) if path == "/api" else list_groups()
            return self._encode_once(f"{path}#", partial(build_aggregated, groups), _AGGREGATED)
        if path == "/openapi/v2" and _wants_protobuf(accept):
            return self._encode_protobuf()
        build = self._builders.get(path)
        if build is None:
            return None
        return self._encode_once(path, build, _KEY_SET if path == JWKS_PATH else JSON)

    def _encode_once(self, key: str, build: Build, media_type: str) -> StaticDocument:
        found = self._built.get(key)
        if found is None:
            body = encode_json(build())
            found = self._built[key] = StaticDocument(body, media_type, build_etag(body))
        return found

    def _encode_protobuf(self) -> StaticDocument:
        found = self._built.get(OPENAPI_V2_PROTOBUF)
        if found is None:
            body = encode_openapi_v2(build_openapi_v2(KINDS))
            found = StaticDocument(body, OPENAPI_V2_PROTOBUF, build_etag(body))
            self._built[OPENAPI_V2_PROTOBUF] = found
        return found


def _build_no_definitions() -> Mapping[str, object]:
    """This server's kinds are all built in."""
    return {
        "kind": "CustomResourceDefinitionList",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {},
        "items": [],
    }


def build_etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def _wants_aggregated(accept: str) -> bool:
    wanted = choose_format(accept)
    return wanted is not None and wanted.shape is Shape.DISCOVERY_LIST


def _wants_protobuf(accept: str) -> bool:
    """Whether the client prefers the protobuf form of OpenAPI version 2 to JSON."""
    ranges = (item.partition(";")[0].strip() for item in accept.split(","))
    return next((each for each in ranges if each in (*_OPENAPI_V2_PROTOBUFS, JSON)), JSON) != JSON
