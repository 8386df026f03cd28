"""The seam between wanted rules and the kernel: what the nftables and iptables backends have in common.

Pure: a protocol. `agent.proxy` holds one backend per IP family and runs it in one lane, one call at a time.
"""

from __future__ import annotations

from typing import Protocol

from netrules.model import Ruleset
from netrules.services import Layout
from netrules.transaction import Transaction


class RuleBackend(Protocol):
    @property
    def layout(self) -> Layout:
        """How this backend lays Services out."""

    async def check_support(self) -> None:
        """Raises RulesUnsupported, with the reason, when this machine cannot have the rules."""

    async def read(self) -> Ruleset:
        """What of ours is in the kernel, in the form that `layout` writes it; raises RulesError."""

    async def apply(self, transaction: Transaction) -> None:
        """Makes the change, all of a table or nothing; RulesError, after which `read` tells what is there."""

    def close(self) -> None:
        """Gives back sockets and threads; the rules stay."""

    async def remove(self) -> None:
        """Removes exactly what is ours; nothing there is success. Raises RulesError."""
