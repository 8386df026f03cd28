"""Only Services whose own objects changed are planned again."""

from __future__ import annotations

import msgspec

from agent.proxy.changes import ServiceChanges
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import ObjectKey, ObjectMeta

WEB, API = ObjectKey("default", "web"), ObjectKey("default", "api")


def _slice(name: str, service: str) -> EndpointSlice:
    labels = {"kubernetes.io/service-name": service} if service else {}
    return EndpointSlice(metadata=ObjectMeta(namespace="default", name=name, labels=labels))


def _change(old: EndpointSlice | None, new: EndpointSlice | None) -> Change[EndpointSlice]:
    either = new or old
    assert either
    return Change(either.key, old, new)


def test_a_service_is_taken_once() -> None:
    changes = ServiceChanges()
    service = Service(metadata=ObjectMeta(namespace="default", name="web"))
    changes.note_service(Change(WEB, None, service))
    changes.note_service(Change(WEB, service, service))
    assert changes.take() == (WEB,)
    assert changes.take() == ()


def test_slices_are_found_by_service_in_the_order_of_their_names() -> None:
    changes = ServiceChanges()
    for name in ("web-b", "web-a"):
        changes.note_slice(_change(None, _slice(name, "web")))
    assert [s.metadata.name for s in changes.slices(WEB)] == ["web-a", "web-b"]
    assert changes.take() == (WEB,)


def test_a_slice_that_moves_concerns_both_services() -> None:
    changes = ServiceChanges()
    old, new = _slice("s", "web"), _slice("s", "api")
    changes.note_slice(_change(None, old))
    changes.take()
    changes.note_slice(_change(old, new))
    assert set(changes.take()) == {WEB, API}
    assert list(changes.slices(WEB)) == []
    assert [s.metadata.name for s in changes.slices(API)] == ["s"]


def test_a_deleted_slice_is_forgotten() -> None:
    changes = ServiceChanges()
    old = _slice("s", "web")
    changes.note_slice(_change(None, old))
    changes.note_slice(_change(old, None))
    assert changes.take() == (WEB,)
    assert list(changes.slices(WEB)) == []


def test_a_slice_of_nobody_changes_nothing() -> None:
    changes = ServiceChanges()
    changes.note_slice(_change(None, _slice("s", "")))
    assert changes.take() == ()


def test_a_slice_updated_replaces_its_former_self() -> None:
    changes = ServiceChanges()
    old = _slice("s", "web")
    new = msgspec.structs.replace(old, address_type="IPv6")
    changes.note_slice(_change(None, old))
    changes.note_slice(_change(old, new))
    assert list(changes.slices(WEB)) == [new]
