"""What a change means to a watcher, and what a slow one gets."""

from __future__ import annotations

import json

import pytest

from controlplane.apiserver.watching import (
    MAXIMUM_PENDING_EVENTS,
    CachedObject,
    EventType,
    ObjectChange,
    Selection,
    Watcher,
    choose_event_type,
)
from kubeapi.selectors import parse_field_selector, parse_label_selector


def build(revision: int = 1, *, namespace: str = "a", app: str = "web", node: str = "n") -> CachedObject:
    body = b'{"metadata":{"resourceVersion":"%d","name":"p"}}' % revision
    fields = {"spec.nodeName": node}
    return CachedObject(f"/p/{namespace}/p", namespace, "p", revision, body, {"app": app}, fields)


WEB = Selection("a", parse_label_selector("app=web"), parse_field_selector("spec.nodeName=n"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, build(), EventType.ADDED),
        (build(), build(2), EventType.MODIFIED),
        (build(), None, EventType.DELETED),
        (build(), build(2, app="db"), EventType.DELETED),
        (build(node=""), build(2), EventType.ADDED),
        (build(app="db"), build(2, app="db"), None),
        (None, build(namespace="b"), None),
        (build(node="m"), None, None),
    ],
)
def test_a_change_seen_through_a_selection(
    old: CachedObject | None, new: CachedObject | None, expected: EventType | None
) -> None:
    assert choose_event_type(ObjectChange(2, old, new), WEB) is expected


def test_a_frame_is_encoded_once_for_all_watchers() -> None:
    change = ObjectChange(2, None, build(2))
    assert change.frame(EventType.ADDED) is change.frame(EventType.ADDED)


def test_a_deletion_shows_the_last_state_at_the_version_of_the_deletion() -> None:
    event = json.loads(ObjectChange(9, build(4), None).frame(EventType.DELETED))
    assert event == {"type": "DELETED", "object": {"metadata": {"resourceVersion": "9", "name": "p"}}}


async def test_a_watcher_hands_out_what_waits_at_once() -> None:
    watcher = Watcher(Selection())
    for revision in (1, 2, 3):
        watcher.offer(ObjectChange(revision, None, build(revision)))
    assert len(await watcher.next_frames(1)) == 3
    assert await watcher.next_frames(0.01) == ()


async def test_a_watcher_that_is_not_read_is_closed_after_what_it_holds() -> None:
    watcher = Watcher(Selection())
    for revision in range(MAXIMUM_PENDING_EVENTS + 5):
        watcher.offer(ObjectChange(revision, None, build(revision)))
    assert watcher.closed
    assert len(await watcher.next_frames(1)) == MAXIMUM_PENDING_EVENTS + 1
    assert await watcher.next_frames(1) == []
