"""The agent's root error.

Raised for failures a person can mend; the text is one sentence: what, why, what to do. Shells map foreign
errors to it, with the cause chained; the command line prints it and ends with 1.
"""

from __future__ import annotations


class AgentError(Exception):
    """The agent can't go on, or can't start; `str()` is a sentence for people."""
