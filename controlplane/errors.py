"""The control plane's root error.

Raised for failures a person can mend; the text is one sentence: what, why, what to do. The command line
prints it and ends with 1.
"""

from __future__ import annotations


class ServerError(Exception):
    """The server can't start or can't go on; `str()` is a sentence for people."""
