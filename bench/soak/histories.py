"""What watches of pods and of nodes have shown, as rows of what should not have happened.

The histories are plain bookkeeping; `watching` feeds one from an informer while a block runs. Used by the
soak runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.informer import Change, Informer
from kubeapi.meta import Condition
from kubeapi.pod import Pod
from kubeapi.resources import Resource, ViewT


@dataclass(slots=True)
class PodHistory:
    """Pods that should stay as they are: each change of a container, of readiness, each pod that goes."""

    restarts: list[str] = field(default_factory=list)
    flips: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    _ready: dict[str, bool] = field(default_factory=dict)
    _containers: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)

    def note(self, change: Change[Pod]) -> None:
        name = change.key.name
        if change.new is None:
            self.gone.append(f"{name} is gone")
            return
        ready = is_true(change.new.status.conditions, "Ready")
        if self._ready.setdefault(name, ready) != ready:
            self.flips.append(f"{name} became {'ready' if ready else 'unready'}")
            self._ready[name] = ready
        containers = tuple(
            (status.container_id, status.restart_count) for status in change.new.status.container_statuses
        )
        if (before := self._containers.setdefault(name, containers)) != containers:
            self.restarts.append(f"{name} had {before} and has {containers}")
            self._containers[name] = containers

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._ready)

    def list_unready(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, ready in self._ready.items() if not ready))


@dataclass(slots=True)
class NodeHistory:
    """A node that should be Ready all the time."""

    unready: list[str] = field(default_factory=list)

    def note(self, change: Change[Node]) -> None:
        if change.new is None:
            self.unready.append(f"the node {change.key.name} is gone")
        elif not is_true(change.new.status.conditions, "Ready"):
            found = [each for each in change.new.status.conditions if each.type == "Ready"]
            self.unready.append(
                f"{change.key.name}: {found[0].message if found else 'it has no condition Ready'}"
            )


def is_true(conditions: Sequence[Condition], type_: str) -> bool:
    """Whether the condition of this type is True."""
    return any(each.type == type_ and each.status == "True" for each in conditions)


@asynccontextmanager
async def watching(
    client: Client,
    resource: Resource[ViewT],
    note: Callable[[Change[ViewT]], None],
    *,
    namespace: str = "",
    label_selector: str = "",
) -> AsyncIterator[None]:
    """Tells `note` of every object there is and of every change, while the block runs."""
    informer = Informer(client, resource, namespace=namespace, label_selector=label_selector)
    informer.subscribe(note)
    task = asyncio.create_task(informer.run())
    try:
        await informer.wait_until_synced()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
