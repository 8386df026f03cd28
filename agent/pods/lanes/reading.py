"""What a pod's lane knows of how fresh its picture of the runtime is, and how it gets a newer one.

IO through `observe`. Made by the lane. A picture is stale after a hint, after a call of our own whose answer
doesn't say all it changed, and when nobody knows how a call ended; an answer that does say is caught up with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.pods.observe import Answer, PodObserver
from agent.pods.observed import ObservedPod, add_container
from agent.pods.outcomes import (
    ActionResult,
    ContainerCreated,
    ContainerStarted,
    SandboxMade,
    is_in_doubt,
)
from agent.pods.overdue import OVERDUE_SECONDS
from agent.pods.ports import ContainerID
from agent.pods.progress import Progress
from agent.runtime.relist import Fingerprint


class LaneReading:
    """`on_unreadable` gets the time since which the runtime owes an answer; `is_new`: it has nothing of the
    pod yet, so that it needn't be asked.
    """

    def __init__(
        self,
        observer: PodObserver,
        now: Callable[[], float],
        on_unreadable: Callable[[float], None],
        *,
        is_new: bool,
    ) -> None:
        self._observer = observer
        self._now = now
        self._on_unreadable = on_unreadable
        self._stale = not is_new
        self._answers: tuple[Answer, ...] = ()  # whose effects the picture lacks yet
        self._read_at = 0.0  # when the runtime was last asked for everything
        self._effects = 0  # how many calls to the runtime have returned
        self._timer: asyncio.TimerHandle | None = None

    # --- whether to read ------------------------------------------------------------------------------------

    def hint(self, fingerprint: Fingerprint | None) -> bool:
        """Whether the runtime may show something new; a fingerprint that is known already says it doesn't."""
        if fingerprint is not None and fingerprint == self._observer.fingerprint:
            return False
        self._stale = True
        return True

    def is_due(self, progress: Progress) -> bool:
        if is_in_doubt(progress, self._read_at, self._now()):
            self._stale = True
        return self._stale or bool(self._answers)

    def note_effect(self, observed: ObservedPod, result: ActionResult) -> ObservedPod:
        """A call to the runtime returned; the picture as far as its answer alone tells it."""
        self._effects += 1
        match result:
            case ContainerCreated(container):
                # The answer is as good as a list, and a container that waits to be started costs time.
                self._observer.note_created(container)
                return add_container(observed, container)
            case SandboxMade() | ContainerStarted():
                self._answers = (*self._answers, result)
            case _:
                self._stale = True
        return observed

    def forget(self, container_id: ContainerID) -> None:
        """What is known of the container may have changed without its state."""
        self._observer.forget(container_id)

    # --- reading --------------------------------------------------------------------------------------------

    async def read(self, observed: ObservedPod, is_ending: Callable[[], bool]) -> ObservedPod:
        """The pod as the runtime has it; raises RuntimeServiceError, and then is due again at once."""
        self._begin()
        try:
            found = await self._read_settled(observed, is_ending)
        except BaseException:
            self._stale = True
            raise
        if not self.is_partial:
            self.end()
        return found

    async def _read_settled(self, observed: ObservedPod, is_ending: Callable[[], bool]) -> ObservedPod:
        """Lists that were asked for before a call of ours returned may lack its effect: they are asked for
        again.
        """
        whole = False
        while True:
            effects, whole = self._effects, whole or self._stale
            found = None if whole else await self._observer.catch_up(observed, self._answers)
            if found is None:
                whole, self._stale = True, False
                self._read_at = self._now()
                found = await self._observer.observe(ending=is_ending())
            if effects == self._effects:
                self._answers = ()
                return found

    @property
    def is_partial(self) -> bool:
        """Whether the last picture lacks a status that the runtime didn't answer."""
        return bool(self._observer.trouble)

    # --- a runtime that doesn't answer ----------------------------------------------------------------------

    def describe_hanging(self) -> str:
        """The calls that the runtime owes an answer to."""
        return self._observer.describe_hanging()

    def end(self) -> None:
        """Nothing is owed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        """From now on the runtime owes an answer; a timer, as the lane itself may have to wait for it."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(OVERDUE_SECONDS, self._on_unreadable, self._now())
