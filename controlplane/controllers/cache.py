"""One kind's objects as a controller must see them: the informer's copy and its own writes not yet in it.

No IO, one thread. Fed by an informer (`apply_change`) and by `execute` (`record_…`); read by every
controller's observation through indexes. A watch is always behind: a plan made from the informer alone
would repeat a creation that it has already made. Here the newest version of an object wins, wherever it
came from, and a write of unknown outcome marks its key as unsure until it has been looked up. Relies on
resource versions of one kind being ordered whole numbers, as the API concepts page promises since 1.35 and
as every server has always had them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, Generic

import msgspec

from kubeapi.meta import Object, ObjectKey
from kubeapi.object_store import Change
from kubeapi.resources import Resource, ViewT

IndexFunction = Callable[[ViewT], Iterable[Hashable]]
Handler = Callable[[Change[ViewT]], None]

BY_UID: Final = "uid"
BY_OWNER: Final = "owner"
BY_NAMESPACE: Final = "namespace"


class Cache(Generic[ViewT]):
    """One kind's objects indexed by UID, owner UID, namespace, and whatever the constructor is given."""

    def __init__(
        self, resource: Resource[ViewT], indexes: Mapping[str, IndexFunction[ViewT]] | None = None
    ) -> None:
        self.resource = resource
        self._functions: dict[str, IndexFunction[ViewT]] = {
            BY_UID: lambda view: (view.metadata.uid,),
            BY_OWNER: lambda view: [ref.uid for ref in view.metadata.owner_references],
            BY_NAMESPACE: lambda view: (view.metadata.namespace,),
            **(indexes or {}),
        }
        self._objects: dict[ObjectKey, ViewT] = {}
        # A dict for its order: the same events give the same order of objects.
        self._indexes: dict[str, dict[Hashable, dict[ObjectKey, None]]] = {
            name: {} for name in self._functions
        }
        self._handlers: list[Handler[ViewT]] = []
        self._watched_version = 0
        self._deleting_uids: set[str] = set()
        self._absent_uids: set[str] = set()
        self._unsure: dict[ObjectKey, None] = {}
        self._unconfirmed: dict[ObjectKey, int] = {}

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> ViewT | None:
        return self._objects.get(key)

    def get_by_uid(self, uid: str) -> ViewT | None:
        return next(iter(self.select(BY_UID, uid)), None)

    def select(self, index: str, value: Hashable) -> tuple[ViewT, ...]:
        """The objects that `index` files under `value`."""
        return tuple(self._objects[key] for key in self._indexes[index].get(value, ()))

    def objects(self) -> tuple[ViewT, ...]:
        return tuple(self._objects.values())

    def subscribe(self, handler: Handler[ViewT]) -> None:
        """Calls `handler` for each change from now on, those that are recorded included."""
        self._handlers.append(handler)

    @property
    def unsure_keys(self) -> tuple[ObjectKey, ...]:
        """What must be looked up before anybody plans: the outcome of a write isn't known."""
        return tuple(self._unsure)

    # --- what the informer says -----------------------------------------------------------------------------

    def apply_change(self, change: Change[ViewT]) -> None:
        if change.new is None:
            self._apply_removal(change)
            return
        self._watched_version = max(self._watched_version, _version(change.new))
        if change.new.metadata.uid in self._absent_uids:
            return
        if change.new.metadata.deletion_timestamp is not None:
            self._deleting_uids.discard(change.new.metadata.uid)
        current = self._objects.get(change.key)
        if current is None or _version(current) <= _version(change.new):
            self._unconfirmed.pop(change.key, None)
            self._put(self._with_deletion(change.new))

    def _apply_removal(self, change: Change[ViewT]) -> None:
        uid = change.old.metadata.uid if change.old is not None else ""
        self._absent_uids.discard(uid)
        self._deleting_uids.discard(uid)
        current = self._objects.get(change.key)
        if current is not None and current.metadata.uid == uid:
            self._remove(change.key)

    # --- what our own writes answered -----------------------------------------------------------------------

    def record(self, view: ViewT) -> None:
        """A write's or a live look's answer; ignored when the watch is already past it."""
        key = view.key
        self._unsure.pop(key, None)
        current = self._objects.get(key)
        known = max(self._watched_version, _version(current) if current is not None else 0)
        if _version(view) <= known:
            return
        self._unconfirmed[key] = 0
        self._put(self._with_deletion(view))

    def record_deletion(self, key: ObjectKey, uid: str) -> None:
        """A deletion was accepted: the object counts as being deleted until the watch says how it went."""
        self._unsure.pop(key, None)
        current = self._objects.get(key)
        if current is None or current.metadata.uid != uid or current.metadata.deletion_timestamp is not None:
            return
        self._deleting_uids.add(uid)
        self._put(self._with_deletion(current))

    def record_absence(self, key: ObjectKey) -> None:
        """A live look found nothing under this name."""
        self._unsure.pop(key, None)
        self._unconfirmed.pop(key, None)
        current = self._objects.get(key)
        if current is not None:
            # The watch will still say so; until then it may repeat the old state.
            if _version(current) <= self._watched_version:
                self._absent_uids.add(current.metadata.uid)
            self._remove(key)

    def mark_unsure(self, key: ObjectKey) -> None:
        self._unsure[key] = None

    def doubt_old_records(self) -> None:
        """Marks as unsure what was recorded before the last call but one and never seen by the watch.

        An object that was made and deleted while the informer had to list anew is never told of.
        """
        for key, rounds in tuple(self._unconfirmed.items()):
            self._unconfirmed[key] = rounds + 1
            if rounds >= 1:
                self._unsure[key] = None

    # --- bookkeeping ----------------------------------------------------------------------------------------

    def _with_deletion(self, view: ViewT) -> ViewT:
        if view.metadata.uid not in self._deleting_uids or view.metadata.deletion_timestamp is not None:
            return view
        # Any instant will do: plans ask only whether there is one.
        created = view.metadata.creation_timestamp or "1970-01-01T00:00:00Z"
        meta = msgspec.structs.replace(view.metadata, deletion_timestamp=created)
        return msgspec.structs.replace(view, metadata=meta)

    def _put(self, view: ViewT) -> None:
        key = view.key
        old = self._objects.get(key)
        if old is not None:
            self._unfile(key, old)
        self._objects[key] = view
        for name, function in self._functions.items():
            for value in function(view):
                self._indexes[name].setdefault(value, {})[key] = None
        self._tell(Change(key, old, view))

    def _remove(self, key: ObjectKey) -> None:
        old = self._objects.pop(key)
        self._unconfirmed.pop(key, None)
        self._unfile(key, old)
        self._tell(Change(key, old, None))

    def _unfile(self, key: ObjectKey, view: ViewT) -> None:
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(view):
                keys = index.get(value)
                if keys is not None:
                    keys.pop(key, None)
                    if not keys:
                        del index[value]

    def _tell(self, change: Change[ViewT]) -> None:
        for handler in self._handlers:
            handler(change)


def _version(view: Object) -> int:
    text = view.metadata.resource_version
    return int(text) if text.isdecimal() else 0
