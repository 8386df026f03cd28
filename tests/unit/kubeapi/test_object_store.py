from __future__ import annotations

from kubeapi.core import Node
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.object_store import Change, ObjectStore


def node(name: str, version: str, uid: str = "u1") -> Node:
    return Node(metadata=ObjectMeta(name=name, resource_version=version, uid=uid))


def key(name: str) -> ObjectKey:
    return ObjectKey("", name)


def test_the_same_list_again_is_no_change() -> None:
    store: ObjectStore[Node] = ObjectStore()
    store.replace([node("a", "1"), node("b", "2")])
    assert store.replace([node("a", "1"), node("b", "2")]) == ()


def test_a_list_tells_what_went_what_changed_and_what_came() -> None:
    store: ObjectStore[Node] = ObjectStore()
    store.replace([node("a", "1"), node("b", "2"), node("c", "3")])
    changes = store.replace([node("b", "2"), node("c", "7"), node("d", "8")])
    assert changes == (
        Change(key("a"), node("a", "1"), None),
        Change(key("c"), node("c", "3"), node("c", "7")),
        Change(key("d"), None, node("d", "8")),
    )
    assert set(store.objects) == {key("b"), key("c"), key("d")}


def test_a_successor_of_the_same_name_is_an_end_and_a_beginning() -> None:
    store: ObjectStore[Node] = ObjectStore()
    store.put(node("a", "1", uid="old"))
    assert store.put(node("a", "9", uid="new")) == (
        Change(key("a"), node("a", "1", uid="old"), None),
        Change(key("a"), None, node("a", "9", uid="new")),
    )


def test_removal() -> None:
    store: ObjectStore[Node] = ObjectStore()
    store.put(node("a", "1"))
    assert store.remove(node("a", "5")) == (Change(key("a"), node("a", "1"), None),)
    assert store.remove(node("a", "5")) == ()
