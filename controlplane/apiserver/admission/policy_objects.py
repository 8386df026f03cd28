"""How admission sees the objects that hold policy: runtime classes, priority classes, storage classes.

A port; the registry gives the watch cache's contents. Documents are those that are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from controlplane.apiserver.kinds import Kind


class PolicyObjects(Protocol):
    def find(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The object as it is now."""
        ...

    def select(self, kind: Kind) -> Iterable[Mapping[str, Any]]:
        """All objects of the kind, in every namespace."""
        ...
