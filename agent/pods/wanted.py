"""What the parts of a plan hand to `plan`: actions in order of preference, before any is held back.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.pods.actions import Action


@dataclass(frozen=True, slots=True)
class Wanted:
    actions: tuple[Action, ...] = ()
    next_look: float | None = None
    finished: bool = False


def join_wanted(*parts: Wanted) -> Wanted:
    """All actions in order, and the earliest next look."""
    looks = [part.next_look for part in parts if part.next_look is not None]
    actions = tuple(action for part in parts for action in part.actions)
    return Wanted(actions, min(looks, default=None), any(part.finished for part in parts))
