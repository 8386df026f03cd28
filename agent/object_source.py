"""What the agent's parts need of a kind of objects: those there are, and notice of every change.

Pure: a protocol. `kubeapi.informer.Informer` fulfils it with the API server's objects,
`agent.standalone.local_objects` with this node's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from kubeapi.meta import Object, ObjectKey
from kubeapi.object_store import Change

ObjectT = TypeVar("ObjectT", bound=Object)


class ObjectSource(Protocol[ObjectT]):
    @property
    def has_synced(self) -> bool: ...

    async def wait_until_synced(self) -> None:
        """Returns once everything there is is known; the caller sets the deadline, if it wants one."""

    def get(self, key: ObjectKey) -> ObjectT | None: ...

    def objects(self) -> Mapping[ObjectKey, ObjectT]:
        """A live, read-only view; take a copy before awaiting while iterating."""

    def subscribe(self, handler: Callable[[Change[ObjectT]], None]) -> None:
        """Calls `handler` for each change from now on, and at once for each object that is known already."""
