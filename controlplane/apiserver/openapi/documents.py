"""The OpenAPI documents: version 2 as one, version 3 one for each group's version and a list of them.

Pure. Called once by the API server, which serves them as they are. Follows the OpenAPI 2.0 and 3.0
specifications and the Kubernetes page "The Kubernetes API", which says where they are served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.apiserver.openapi.definitions import VERSION_2, VERSION_3, ServedKind, build_definitions
from controlplane.apiserver.openapi.paths import build_paths, group_version_path
from controlplane.apiserver.openapi.schema import Document

_TITLE: Final = "Kubernetes"
_VERSION: Final = "v1.36.0"


def build_openapi_v2(kinds: Iterable[ServedKind]) -> Document:
    """The document of /openapi/v2."""
    served = tuple(kinds)
    return {
        "swagger": "2.0",
        "info": {"title": _TITLE, "version": _VERSION},
        "paths": build_paths(served, VERSION_2),
        "definitions": build_definitions(served, VERSION_2),
    }


def build_openapi_v3(kinds: Iterable[ServedKind]) -> Mapping[str, Document]:
    """The documents of /openapi/v3/…, by what follows: api/v1, apis/apps/v1."""
    by_path: dict[str, list[ServedKind]] = {}
    for kind in kinds:
        by_path.setdefault(group_version_path(kind.group, kind.version), []).append(kind)
    return {
        path: {
            "openapi": "3.0.0",
            "info": {"title": _TITLE, "version": _VERSION},
            "paths": build_paths(served, VERSION_3),
            "components": {"schemas": build_definitions(served, VERSION_3)},
        }
        for path, served in by_path.items()
    }


def build_openapi_v3_index(documents: Mapping[str, Document]) -> Document:
    """The document of /openapi/v3: where the others are; their hashes let clients keep them."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(document)}"}
            for path, document in documents.items()
        }
    }


def _hash(document: Document) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest().upper()
