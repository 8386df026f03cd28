"""The lab's root error.

Pure. Raised by every shell in this package; the command line prints it as one line.
"""

from __future__ import annotations


class LabError(Exception):
    """What failed, why, and what to do about it, in one sentence."""
