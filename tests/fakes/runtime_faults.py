"""What may go wrong with a call to the fake runtime, and what it does when its caller has gone away.

Values only. Used by `fake_runtime`, which obeys them, and by the simulations, which choose them.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """What a scripted call does instead of succeeding."""

    REFUSED = "refused"  # an error, and nothing happened
    UNAVAILABLE = "unavailable"  # the connection broke before anything happened
    LOST_ANSWER = "lost answer"  # it happened, but the deadline passed first
    HALF_MADE = "half made"  # the name is taken for good, and nothing ever shows
    HALF_NETWORK = "half a network"  # a sandbox that failed and couldn't be undone: it shows, not ready
    HANG = "hang"  # it never returns, and nothing happened
    SLOW = "slow"  # it takes so long that the deadline may pass first


class Abandoned(Enum):
    """What the runtime does with a call under way whose caller died or stopped waiting."""

    ROLLS_BACK = "rolls back"  # containerd: undone, after which the name is free
    KEEPS = "keeps"  # CRI-O: finished, hidden, and handed to the next call with the name
    GOES_ON = "goes on"  # finished, and shown then
