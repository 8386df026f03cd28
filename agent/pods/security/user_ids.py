"""Which of the host's user and group ids stand for those of a pod with a user namespace of its own.

Pure. Called by `user_namespaces`, which keeps what was chosen, and by `security` for CRI. Each pod has a
range that no other pod of the node has. Follows the "Configure a kubelet to use user namespaces" section of
the User Namespaces page, subuid(5) and subgid(5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from agent.errors import AgentError

IDS_PER_POD: Final = 65536
_USER: Final = "kubelet"
_FIELDS: Final = 3


class NoUserIDs(AgentError):
    """The machine's files give the node's pods ids that can't be used."""


@dataclass(frozen=True, slots=True)
class IDRange:
    """Inside the pod the ids begin at 0, outside at `first`; users and groups alike."""

    first: int
    length: int = IDS_PER_POD


@dataclass(frozen=True, slots=True)
class IDPool:
    """As many ranges, one after another, as pods may have one."""

    first: int
    ranges: int

    def __iter__(self) -> Iterator[IDRange]:
        return (IDRange(self.first + index * IDS_PER_POD) for index in range(self.ranges))


def choose_pool(subuid: str, subgid: str, max_pods: int) -> IDPool:
    """The ids that the two files give to the user kubelet; without an entry, those above the host's own.

    Raises NoUserIDs.
    """
    users, groups = _find_entries(subuid), _find_entries(subgid)
    if not users and not groups:
        return IDPool(IDS_PER_POD, max_pods)
    if len(users) != 1 or users != groups:
        raise NoUserIDs(
            f"/etc/subuid and /etc/subgid must give the user {_USER} the same single range, but give "
            f"{_describe(users)} and {_describe(groups)}; make them alike, or remove its lines"
        )
    ((first, length),) = users
    if first < IDS_PER_POD or first % IDS_PER_POD or length % IDS_PER_POD:
        raise NoUserIDs(
            f"the range of the user {_USER} in /etc/subuid, {first}:{length}, must begin at a multiple of "
            f"{IDS_PER_POD} other than 0 and be a multiple of it long; change it there and in /etc/subgid"
        )
    if length < IDS_PER_POD * max_pods:
        raise NoUserIDs(
            f"the range of the user {_USER} in /etc/subuid has ids for {length // IDS_PER_POD} pods, but "
            f"this node runs up to {max_pods}; make it {IDS_PER_POD * max_pods} long, or lower --max-pods"
        )
    return IDPool(first, length // IDS_PER_POD)


def choose_range(pool: IDPool, taken: Collection[IDRange]) -> IDRange | None:
    """The lowest that is free; None: there is none left."""
    return next((each for each in pool if not any(_overlap(each, other) for other in taken)), None)


def _overlap(one: IDRange, other: IDRange) -> bool:
    return one.first < other.first + other.length and other.first < one.first + one.length


def _find_entries(text: str) -> tuple[tuple[int, int], ...]:
    found = (line.split(":") for line in text.splitlines() if line.startswith(f"{_USER}:"))
    try:
        return tuple((int(fields[1]), int(fields[2])) for fields in found if len(fields) >= _FIELDS)
    except ValueError:
        raise NoUserIDs(
            f"the line of the user {_USER} in /etc/subuid or /etc/subgid has no numbers; write it like "
            f"{_USER}:{IDS_PER_POD}:{110 * IDS_PER_POD}"
        ) from None


def _describe(entries: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{first}:{length}" for first, length in entries) or "none"
