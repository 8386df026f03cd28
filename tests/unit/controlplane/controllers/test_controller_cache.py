"""The cache: the newest version wins, wherever it came from, and nothing that is gone comes back."""

from __future__ import annotations

from typing import Any

from controlplane.controllers.cache import BY_OWNER, Cache
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from tests.builders import at, owner_reference, pod, replica_set

KEY = ObjectKey("default", "web-1")


def version(number: int, **meta: Any) -> Pod:
    return pod("web-1", metadata={"resource_version": str(number), **meta})


def added(view: Pod) -> Change[Pod]:
    return Change(view.key, None, view)


def modified(view: Pod) -> Change[Pod]:
    return Change(view.key, view, view)


def deleted(view: Pod) -> Change[Pod]:
    return Change(view.key, view, None)


def fed(*changes: Change[Pod]) -> Cache[Pod]:
    cache = Cache(PODS)
    for change in changes:
        cache.apply_change(change)
    return cache


def test_an_own_creation_is_there_before_the_watch_tells() -> None:
    cache = Cache(PODS)
    cache.record(version(5))
    assert cache.get(KEY) == version(5)
    cache.apply_change(added(version(5)))
    assert cache.objects() == (version(5),)


def test_an_older_watch_event_does_not_undo_an_own_write() -> None:
    cache = fed(added(version(5)))
    cache.record(version(9))
    cache.apply_change(modified(version(7)))
    assert cache.get(KEY) == version(9)
    cache.apply_change(modified(version(11)))
    assert cache.get(KEY) == version(11)


def test_an_answer_that_the_watch_has_passed_brings_nothing_back() -> None:
    cache = fed(added(version(5)), deleted(version(5)))
    cache.record(version(5))
    assert cache.objects() == ()


def test_a_deleted_object_counts_as_dying_until_the_watch_tells() -> None:
    cache = fed(added(version(5)))
    cache.record_deletion(KEY, "uid-web-1")
    cache.apply_change(modified(version(6)))
    dying = cache.get(KEY)
    assert dying is not None
    assert dying.metadata.deletion_timestamp is not None
    cache.apply_change(deleted(version(6)))
    assert cache.get(KEY) is None


def test_the_deletion_of_a_namesake_leaves_its_successor() -> None:
    successor = version(9, uid="another")
    cache = fed(added(version(5)))
    cache.record(successor)
    cache.apply_change(deleted(version(5)))
    assert cache.get(KEY) == successor
    cache.record_deletion(KEY, "uid-web-1")
    assert cache.get(KEY) == successor


def test_what_a_live_look_did_not_find_is_not_repeated_by_a_late_watch() -> None:
    cache = fed(added(version(5)))
    cache.record_absence(KEY)
    cache.apply_change(modified(version(6)))
    assert cache.objects() == ()
    cache.apply_change(deleted(version(6)))
    cache.apply_change(added(version(8, uid="another")))
    assert cache.get(KEY) == version(8, uid="another")


def test_an_unsure_key_is_settled_by_any_answer() -> None:
    cache = Cache(PODS)
    cache.mark_unsure(KEY)
    assert KEY in cache.unsure_keys
    cache.record(version(5))
    assert not cache.unsure_keys
    cache.mark_unsure(KEY)
    cache.record_absence(KEY)
    assert not cache.unsure_keys
    assert not cache.objects()


def test_a_record_that_no_watch_confirms_is_doubted_the_second_time() -> None:
    cache = Cache(PODS)
    cache.record(version(5))
    cache.doubt_old_records()
    assert not cache.unsure_keys
    cache.doubt_old_records()
    assert KEY in cache.unsure_keys


def test_a_confirmed_record_is_never_doubted() -> None:
    cache = Cache(PODS)
    cache.record(version(5))
    cache.apply_change(added(version(5)))
    for _ in range(3):
        cache.doubt_old_records()
    assert not cache.unsure_keys


def test_indexes_follow_every_change() -> None:
    owner = replica_set()
    owned = version(5, owner_references=(owner_reference(owner),))
    cache = fed(added(owned))
    assert cache.select(BY_OWNER, owner.metadata.uid) == (owned,)
    cache.apply_change(modified(version(6)))
    assert cache.select(BY_OWNER, owner.metadata.uid) == ()
    assert cache.get_by_uid("uid-web-1") == version(6)
    cache.apply_change(deleted(version(6)))
    assert cache.get_by_uid("uid-web-1") is None


def test_subscribers_hear_of_own_writes_too() -> None:
    heard: list[Change[Pod]] = []
    cache = Cache(PODS)
    cache.subscribe(heard.append)
    cache.record(version(5))
    cache.apply_change(modified(version(6, deletion_timestamp=at(0))))
    cache.apply_change(deleted(version(6)))
    assert [(each.old is None, each.new is None) for each in heard] == [
        (True, False),
        (False, False),
        (False, True),
    ]
