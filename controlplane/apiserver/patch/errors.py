"""Why a patch was refused.

Pure. Raised by the three kinds of patch; the HTTP server answers 400 for a malformed patch and 422 for one
that is well-formed and doesn't apply to the object as it stands.
"""

from __future__ import annotations

from typing import Final


class PatchError(Exception):
    """A malformed patch: one sentence, and the place in the document or in the patch."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{message} (at {path})" if path else message)
        self.message = message
        self.path = path


class PatchNotApplicable(PatchError):
    """A well-formed patch that this document doesn't admit: a failed test, a path that isn't there."""


DEPTH_LIMIT: Final = 200
"""How deep documents may nest; far past any real object, and short of what the interpreter's stack holds."""


def require_depth(depth: int) -> None:
    """Raises PatchError past DEPTH_LIMIT."""
    if depth > DEPTH_LIMIT:
        raise PatchError(f"the patch is nested deeper than {DEPTH_LIMIT} levels; flatten it")
