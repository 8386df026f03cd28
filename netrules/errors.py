"""The one root error of netrules.

Pure. Raised by the shells (nftables, iptables, conntrack), which map the kernel's and the tools' errors to
one sentence that names the object, with the cause chained. Callers answer it by reading the kernel's state
again and applying the difference.
"""

from __future__ import annotations


class RulesError(Exception):
    """What could not be read or changed, and why, in one sentence."""


class RulesUnsupported(RulesError):
    """The kernel or the machine lacks what this backend needs; another backend may do."""
