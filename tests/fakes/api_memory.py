"""A Kubernetes API without a socket, as the client's methods see it, and watches that arrive when a test
says so.

Obeys what controllers rely on: one growing resource version, UIDs that never return, names that are taken,
merge patches and strategic patches of conditions, preconditions, finalizers, graceful deletion of pods on
nodes. Faults are scripted: `script` says of each write whether it is lost before or after it took effect.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import msgspec

from kubeapi.client import PatchType, Response
from kubeapi.codec import ObjectList
from kubeapi.errors import ApiStatusError, Unreachable
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.resources import Resource

Document = dict[str, Any]
_Place = tuple[str, str, str]


class Fault(Enum):
    NONE = auto()
    LOST_BEFORE = auto()
    """The request never arrived."""
    LOST_AFTER = auto()
    """It took effect, but no answer came."""


@dataclass(frozen=True, slots=True)
class _Told:
    path: str
    old: Document | None
    new: Document | None


@dataclass(slots=True)
class ApiMemory:
    """`script` yields a fault for each write; when it ends there are no more faults."""

    script: Iterator[Fault] = field(default_factory=lambda: iter(()))
    writes: list[str] = field(default_factory=list)
    version: int = 100
    _objects: dict[_Place, Document] = field(default_factory=dict)
    _told: list[_Told] = field(default_factory=list)
    _positions: dict[str, int] = field(default_factory=dict)

    # --- what a test does ---------------------------------------------------------------------------------

    def put(self, resource: Resource[Any], document: Mapping[str, Any]) -> Document:
        """As somebody else would: creates or replaces."""
        stored: Document = copy.deepcopy(dict(document))
        meta = stored.setdefault("metadata", {})
        place = (resource.path(), meta.get("namespace", ""), meta["name"])
        old = self._objects.get(place)
        meta.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{self.version}")
        return self._store(place, stored, old)

    def edit(self, resource: Resource[Any], key: ObjectKey, patch: Mapping[str, Any]) -> None:
        """A merge patch by somebody else."""
        place = (resource.path(), key.namespace, key.name)
        old = self._objects[place]
        self._store(place, merge(copy.deepcopy(old), patch), old)

    def remove(self, resource: Resource[Any], key: ObjectKey) -> None:
        self._remove((resource.path(), key.namespace, key.name))

    def views(self, resource: Resource[Any]) -> tuple[Any, ...]:
        path = resource.path()
        return tuple(_view(resource, each) for place, each in self._objects.items() if place[0] == path)

    def pending_changes(self, resource: Resource[Any]) -> int:
        since = self._positions.get(resource.path(), 0)
        return sum(each.path == resource.path() for each in self._told[since:])

    def deliver(self, resource: Resource[Any], most: int | None = None) -> Iterable[Change[Any]]:
        """The next changes of one kind, in order, as its informer would tell them."""
        path = resource.path()
        position = self._positions.get(path, 0)
        while position < len(self._told) and most != 0:
            told = self._told[position]
            position += 1
            self._positions[path] = position
            if told.path == path:
                most = most - 1 if most is not None else None
                yield _build_change(resource, told)

    # --- what the client offers -----------------------------------------------------------------------------

    async def get(self, resource: Resource[Any], name: str, namespace: str = "") -> Any:
        return _view(resource, self._find((resource.path(), namespace, name)))

    async def list(self, resource: Resource[Any], namespace: str = "") -> ObjectList[Any]:
        views = self.views(resource)
        return ObjectList(items=tuple(each for each in views if namespace in ("", each.metadata.namespace)))

    async def create(
        self,
        resource: Resource[Any],
        body: Mapping[str, Any],
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
    ) -> Any:
        with self._attempt(f"create {resource.plural} {name or body['metadata']['name']}"):
            if subresource == "binding":
                return self._bind(resource, body, namespace, name)
            stored: Document = copy.deepcopy(dict(body))
            meta = stored["metadata"]
            place = (resource.path(), namespace, meta["name"])
            if place in self._objects:
                raise ApiStatusError(409, "AlreadyExists", f"{meta['name']} already exists")
            meta |= {
                "uid": f"uid-{self.version}",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "generation": 1,
            }
            return _view(resource, self._store(place, stored, None))

    async def patch(
        self,
        resource: Resource[Any],
        body: bytes | Mapping[str, Any],
        name: str,
        namespace: str = "",
        *,
        patch_type: PatchType,
        subresource: str = "",
    ) -> Any:
        patch = msgspec.json.decode(body) if isinstance(body, bytes) else body
        with self._attempt(f"patch {resource.plural} {name} {subresource}".strip()):
            place = (resource.path(), namespace, name)
            old = self._find(place)
            self._check(old, patch.get("metadata", {}))
            if patch_type is PatchType.STRATEGIC:
                patch = _merge_conditions(old, patch)
            new = merge(copy.deepcopy(old), patch)
            if not subresource and new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            return _view(resource, self._store(place, new, old))

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        with self._attempt(f"delete {resource.plural} {name}"):
            place = (resource.path(), namespace, name)
            old = self._find(place)
            self._check(old, {"uid": uid, "resourceVersion": resource_version})
            finalizers = old["metadata"].get("finalizers", []) + _finalizer_of(propagation_policy)
            graceful = resource.plural == "pods" and old.get("spec", {}).get("nodeName")
            if not finalizers and (grace_period_seconds == 0 or not graceful):
                self._remove(place)
                return
            new = copy.deepcopy(old)
            new["metadata"] |= {"deletionTimestamp": "2026-01-02T03:04:35Z", "finalizers": finalizers}
            self._store(place, new, old)

    async def request(self, method: str, path: str, *, body: bytes = b"", content_type: str = "") -> Response:
        """Only what finalizing a namespace needs."""
        name = path.split("/")[4]
        place = ("/api/v1/namespaces", "", name)
        old = self._find(place)
        if method == "PUT":
            new = msgspec.json.decode(body)
            if not new["spec"].get("finalizers"):
                self._remove(place)
            else:
                self._store(place, new, old)
        return Response(200, {}, msgspec.json.encode(old))

    # --- inside ---------------------------------------------------------------------------------------------

    def _attempt(self, what: str) -> _Attempt:
        self.writes.append(what)
        fault = next(self.script, Fault.NONE)
        if fault is Fault.LOST_BEFORE:
            raise Unreachable(f"lost before: {what}")
        return _Attempt(what, fault)

    def _bind(self, resource: Resource[Any], body: Mapping[str, Any], namespace: str, name: str) -> Any:
        place = (resource.path(), namespace, name)
        old = self._find(place)
        self._check(old, body["metadata"])
        if old.get("spec", {}).get("nodeName") or old["metadata"].get("deletionTimestamp"):
            raise ApiStatusError(409, "Conflict", f"pod {name} cannot be bound")
        self._store(place, merge(copy.deepcopy(old), {"spec": {"nodeName": body["target"]["name"]}}), old)
        return resource.view()

    def _find(self, place: _Place) -> Document:
        found = self._objects.get(place)
        if found is None:
            raise ApiStatusError(404, "NotFound", f"{place[2]} not found")
        return found

    def _check(self, old: Document, preconditions: Mapping[str, Any]) -> None:
        for name in ("uid", "resourceVersion"):
            wanted = preconditions.get(name)
            if wanted and wanted != old["metadata"].get(name):
                raise ApiStatusError(409, "Conflict", f"{name} does not match")

    def _store(self, place: _Place, new: Document, old: Document | None) -> Document:
        comparable = {**(old or {}), "metadata": {}}, {**new, "metadata": {}}
        if old is not None and comparable[0] == comparable[1]:
            strip = [{**each["metadata"], "resourceVersion": ""} for each in (old, new)]
            if strip[0] == strip[1]:
                return old
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and old is not None and old["metadata"].get("finalizers"):
            graceful = place[0].endswith("/pods") and new.get("spec", {}).get("nodeName")
            if not meta.get("finalizers") and not graceful:
                self._remove(place)
                return new
        self._objects[place] = new
        self._told.append(_Told(place[0], old, copy.deepcopy(new)))
        return new

    def _remove(self, place: _Place) -> None:
        self.version += 1
        self._told.append(_Told(place[0], self._find(place), None))
        del self._objects[place]


@dataclass(slots=True)
class _Attempt:
    what: str
    fault: Fault

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None:
        if self.fault is Fault.LOST_AFTER:
            raise Unreachable(f"no answer: {self.what}")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _merge_conditions(old: Document, patch: Mapping[str, Any]) -> Document:
    merged: Document = copy.deepcopy(dict(patch))
    conditions = merged.get("status", {}).get("conditions", [])
    by_type = {each["type"]: each for each in old.get("status", {}).get("conditions", [])}
    for each in conditions:
        by_type[each["type"]] = {**by_type.get(each["type"], {}), **each}
    merged["status"]["conditions"] = list(by_type.values())
    return merged


def _finalizer_of(propagation_policy: str) -> list[str]:
    return {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(propagation_policy, [])


def _view(resource: Resource[Any], document: Document) -> Any:
    view = msgspec.json.decode(msgspec.json.encode(document), type=resource.view)
    return msgspec.structs.replace(view, api_version=resource.api_version, kind=resource.kind)


def _build_change(resource: Resource[Any], told: _Told) -> Change[Any]:
    old = _view(resource, told.old) if told.old is not None else None
    new = _view(resource, told.new) if told.new is not None else None
    key = new.key if new is not None else old.key if old is not None else ObjectKey("", "")
    return Change(key, old, new)
