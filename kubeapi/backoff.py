"""How long to wait before a next attempt: growing, bounded, with jitter.

Pure: randomness arrives as an argument. Used by every retry of the clients, the agent and the controllers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays of `initial_seconds * factor**attempt`, at most `maximum_seconds`, of which the part `jitter` is
    random.
    """

    initial_seconds: float
    maximum_seconds: float
    factor: float = 2.0
    jitter: float = 0.5

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after failure number `attempt`, counted from 0; `random` is in [0, 1).

        The result lies between (1 - jitter) of the full delay and the full delay, so that many clients which
        failed together don't come back together.
        """
        full = self._full_delay(max(0, attempt))
        return full * (1.0 - self.jitter + self.jitter * random)

    def _full_delay(self, attempt: int) -> float:
        try:
            return min(self.maximum_seconds, self.initial_seconds * self.factor**attempt)
        except OverflowError:
            return self.maximum_seconds
