"""The copy that an informer keeps, and what changed in it: a dictionary that says what each update did.

Pure. Called by `kubeapi.informer`. An object that was deleted and made again under the same name is two
changes, even when only its end was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from kubeapi.meta import ObjectKey
from kubeapi.resources import ViewT


@dataclass(frozen=True, slots=True)
class Change(Generic[ViewT]):
    """One object before and after: `old` is None when it is new, `new` is None when it is gone."""

    key: ObjectKey
    old: ViewT | None
    new: ViewT | None


class ObjectStore(Generic[ViewT]):
    """Objects by key; each method changes the store and returns the changes, in order."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, ViewT] = {}

    def put(self, new: ViewT) -> tuple[Change[ViewT], ...]:
        key = new.key
        old = self.objects.get(key)
        if old is not None and old.metadata.resource_version == new.metadata.resource_version:
            return ()
        self.objects[key] = new
        if old is not None and old.metadata.uid != new.metadata.uid:
            return Change(key, old, None), Change(key, None, new)
        return (Change(key, old, new),)

    def remove(self, gone: ViewT) -> tuple[Change[ViewT], ...]:
        """`gone` is the object's last state; an unknown object is no change."""
        old = self.objects.pop(gone.key, None)
        return () if old is None else (Change(gone.key, old, None),)

    def replace(self, listed: Iterable[ViewT]) -> tuple[Change[ViewT], ...]:
        """Everything is what was listed; deletions come first."""
        current = {each.key: each for each in listed}
        gone = [(key, old) for key, old in self.objects.items() if key not in current]
        changes: list[Change[ViewT]] = []
        for key, old in gone:
            del self.objects[key]
            changes.append(Change(key, old, None))
        for new in current.values():
            changes += self.put(new)
        return tuple(changes)
