"""Which pod of the journal somebody means by a name.

Pure. Called by the command line. A static pod may be named as its manifest has it, without the node's name
that its mirror carries.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from agent.journal.entry import PodName

_NEAR: Final = 5


def find_pods(known: Iterable[PodName], wanted: str, node: str) -> tuple[PodName, ...]:
    """Every incarnation of the pod called `wanted`, `NS/NAME` or just a name that one namespace has."""
    namespace, slash, name = wanted.rpartition("/")
    found = [pod for pod in known if _is_called(pod, name, node)]
    if slash:
        return tuple(pod for pod in found if pod.namespace == namespace)
    spaces = {pod.namespace for pod in found}
    if len(spaces) > 1 and "default" in spaces:
        return tuple(pod for pod in found if pod.namespace == "default")
    return tuple(found) if len(spaces) == 1 else ()


def find_near(known: Iterable[PodName], wanted: str) -> tuple[str, ...]:
    """Names that may have been meant, the nearest first."""
    names = sorted({f"{pod.namespace}/{pod.name}" for pod in known})
    short = wanted.rpartition("/")[2]
    alike = difflib.get_close_matches(short, [name.rpartition("/")[2] for name in names], _NEAR, 0.6)
    near = [name for name in names if name.rpartition("/")[2] in alike or short in name]
    near.sort(key=lambda name: difflib.SequenceMatcher(a=wanted, b=name).ratio(), reverse=True)
    return tuple(near[:_NEAR])


def _is_called(pod: PodName, name: str, node: str) -> bool:
    return pod.name == name or (pod.source != "api" and bool(node) and pod.name == f"{name}-{node}")
