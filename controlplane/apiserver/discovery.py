"""Discovery documents: which groups, versions, kinds and subresources are served.

Pure. Built once from the kinds table by the HTTP layer: the classic documents under /api and /apis, the
aggregated ones that newer clients ask for in one request, and /version.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Final

from controlplane.apiserver.documents import Document
from controlplane.apiserver.kinds import KINDS, OBJECT_VERBS, Kind

GIT_VERSION: Final = "v1.36.0+berth"

_PLATFORMS: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def build_version() -> Document:
    machine = platform.machine()
    return {
        "major": "1",
        "minor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{_PLATFORMS.get(machine, machine)}",
    }


def build_api_versions(server_address: str) -> Document:
    """What /api answers."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def build_group_list() -> Document:
    """What /apis answers."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in list_groups()]}


def build_group(name: str) -> Document:
    """What /apis/GROUP answers."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def build_resource_list(group: str, version: str) -> Document:
    """What /api/v1 and /apis/GROUP/VERSION answer."""
    resources: list[Document] = []
    for kind in _kinds_of(group, version):
        resources.append(_resource(kind))
        resources.extend(_subresources(kind))
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }


def build_aggregated(groups: Iterable[str]) -> Document:
    """All groups in one document (apidiscovery.k8s.io/v2); /api serves the core group, /apis the others."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [_aggregated_version(group, version) for version in _versions_of(group)],
        }
        for group in groups
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def list_groups() -> tuple[str, ...]:
    """The named groups, in the order of the table."""
    return tuple(dict.fromkeys(kind.group for kind in KINDS if kind.group))


def list_group_versions() -> tuple[tuple[str, str], ...]:
    """Every group and version, the core group included."""
    return tuple(dict.fromkeys((kind.group, kind.version) for kind in KINDS))


def _kinds_of(group: str, version: str) -> list[Kind]:
    return [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]


def _versions_of(group: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind.version for kind in KINDS if kind.group == group))


def _group(name: str) -> Document:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _versions_of(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resource(kind: Kind) -> Document:
    document: Document = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(OBJECT_VERBS),
    }
    if kind.short_names:
        document["shortNames"] = list(kind.short_names)
    if kind.categories:
        document["categories"] = list(kind.categories)
    return document


def _subresources(kind: Kind) -> list[Document]:
    documents = []
    for subresource in kind.subresources:
        document: Document = {
            "name": f"{kind.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": subresource.kind,
            "verbs": list(subresource.verbs),
        }
        if subresource.group != kind.group:
            document |= {"group": subresource.group, "version": subresource.version}
        documents.append(document)
    return documents


def _aggregated_version(group: str, version: str) -> Document:
    resources = [_aggregated_resource(kind) for kind in _kinds_of(group, version)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(kind: Kind) -> Document:
    document: Document = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(OBJECT_VERBS),
    }
    if kind.short_names:
        document["shortNames"] = list(kind.short_names)
    if kind.categories:
        document["categories"] = list(kind.categories)
    if kind.subresources:
        document["subresources"] = [
            {
                "subresource": each.name,
                "responseKind": {"group": each.group, "version": each.version, "kind": each.kind},
                "verbs": list(each.verbs),
            }
            for each in kind.subresources
        ]
    return document
