"""What a request is about: the kind, namespace, name, subresource and verb behind a method and a path.

Pure. Called once per request by the HTTP layer, before authorization. Follows the "Resource URIs" section
of the Kubernetes API concepts page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.apiserver.kinds import Kind, find_kind

_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A request for objects; `verb` is the one that authorization rules name."""

    kind: Kind
    verb: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def is_true(text: str | None) -> bool:
    """A boolean query parameter, as Go's ParseBool reads it."""
    return text in _TRUE


def parse_resource_request(method: str, path: str, query: Mapping[str, str]) -> ResourceRequest | None:
    """None if the path names no kind that is served, or the method has no meaning there."""
    segments = [segment for segment in path.split("/") if segment]
    match segments:
        case ["api", version, *rest]:
            return _parse_rest(method, "", version, rest, query)
        case ["apis", group, version, *rest]:
            return _parse_rest(method, group, version, rest, query)
        case _:
            return None


def _parse_rest(
    method: str, group: str, version: str, rest: list[str], query: Mapping[str, str]
) -> ResourceRequest | None:
    namespace = ""
    match rest:
        case ["namespaces", name, third, *_] if third not in _NAMESPACE_SUBRESOURCES or len(rest) > 3:
            namespace, rest = name, rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    kind = find_kind(group, version, plural)
    if kind is None or bool(namespace) > kind.namespaced:
        return None
    if name and kind.namespaced and not namespace:
        return None
    if subresource and kind.find_subresource(subresource) is None:
        return None
    verb = choose_verb(method, named=bool(name), watching=is_true(query.get("watch")))
    return ResourceRequest(kind, verb, namespace, name, subresource) if verb else None


def choose_verb(method: str, *, named: bool, watching: bool) -> str:
    """The verb of a method on one object or on a collection; empty if it has none."""
    match method, named:
        case "GET" | "HEAD", True:
            return "get"
        case "GET" | "HEAD", False:
            return "watch" if watching else "list"
        case "POST", _:
            return "create"
        case "PUT", True:
            return "update"
        case "PATCH", True:
            return "patch"
        case "DELETE", True:
            return "delete"
        case "DELETE", False:
            return "deletecollection"
        case _:
            return ""
