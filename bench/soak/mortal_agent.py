"""`python -m bench.soak.mortal_agent DIRECTORY FLAGS…`: the real agent, which dies where its pods tell it to.

A program of its own. For a pod with the annotations below the agent goes up to one moment of one action and
there kills itself with SIGKILL, once; a new one is forked from the parent, which has all modules loaded and
nothing else. DIRECTORY gets a file for each pod's uid, in which each action and the death are a line.
Started by `bench.soak.kill_cycles`. SIGTERM ends the parent and the agent with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from agent import app, joined_pods
from agent.pods.actions import Action
from agent.pods.execute import Executor, PodView
from agent.pods.outcomes import ActionResult
from cli import agent_commands
from cli.main import berth
from kubeapi.pod import Pod

DIE_AT: Final = "soak.berth.dev/die-at"  # an action as `describe_action` names it
DIE_WHEN: Final = "soak.berth.dev/die-when"
DIE_AFTER: Final = "soak.berth.dev/die-after-seconds"  # for Moment.DURING
_PR_SET_PDEATHSIG: Final = 1
# Loaded before the first fork, so that each agent starts in no time.
_LOADED: Final = (app, agent_commands)


class Moment(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Note(msgspec.Struct, frozen=True):
    """A line of a pod's file: an action that ended, or the death at one."""

    action: str
    seconds: float = 0.0
    died: str = ""


def describe_action(action: Action) -> str:
    """Its kind and what it works on, the same in each life of the agent."""
    return f"{type(action).__name__} {action.key}"


def read_notes(directory: Path, uid: str) -> tuple[Note, ...]:
    """What the agent noted about the pod so far."""
    path = directory / uid
    lines = path.read_bytes().splitlines() if path.exists() else []
    return tuple(msgspec.json.decode(line, type=Note) for line in lines)


class MortalExecutor(Executor):
    """The agent's own, but for the moment of its death."""

    __slots__ = ()
    directory: ClassVar[Path]

    async def execute(self, action: Action, view: PodView) -> ActionResult:
        moment = self._find_moment(action, view.pod)
        if moment is Moment.BEFORE:
            self._die(action, view.pod, moment)
        began = time.monotonic()
        work = asyncio.ensure_future(super().execute(action, view))
        try:
            if moment is Moment.DURING:
                await asyncio.wait({work}, timeout=float(view.pod.metadata.annotations[DIE_AFTER]))
                self._die(action, view.pod, moment)
            result = await work
        finally:
            work.cancel()
        if moment is Moment.AFTER:
            self._die(action, view.pod, moment)
        self._note(view.pod, Note(describe_action(action), time.monotonic() - began))
        return result

    def _find_moment(self, action: Action, pod: Pod) -> Moment | None:
        annotations = pod.metadata.annotations
        if annotations.get(DIE_AT) != describe_action(action):
            return None
        died = any(note.died for note in read_notes(self.directory, pod.uid))
        return None if died else Moment(annotations[DIE_WHEN])

    def _die(self, action: Action, pod: Pod, moment: Moment) -> None:
        self._note(pod, Note(describe_action(action), died=moment.value))
        os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, pod: Pod, note: Note) -> None:
        with (self.directory / pod.uid).open("ab") as file:
            file.write(msgspec.json.encode(note) + b"\n")


def main(arguments: Sequence[str]) -> int:
    """Agents one after the other, as long as they die by SIGKILL."""
    MortalExecutor.directory = Path(arguments[0])
    child = 0

    def end(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _live(arguments[1:])
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)


def _live(flags: Sequence[str]) -> None:
    """The agent in this process, which its parent's death ends too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The composition root has no hook for this, and needs none: no other program dies on purpose.
    setattr(joined_pods, Executor.__name__, MortalExecutor)
    try:
        berth.main(args=["agent", *flags], prog_name="berth", standalone_mode=False)
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
