"""The iptables backend: our chains through iptables-restore --noflush and iptables-save.

Shell. Runs the legacy or the nft variant of the tools as children with a deadline; they wait a bounded time
for the lock that all users of iptables share. Called by the agent's proxy, one call at a time. What to write
is `layout`'s matter, how it is written `text`'s. Chains and rules of others are never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Final

from netrules.diff import diff_rulesets
from netrules.errors import RulesError, RulesUnsupported
from netrules.iptables.layout import ATTACHMENTS, NAT, POD_EGRESS, TABLES, ChainLayout, is_our_chain
from netrules.iptables.text import parse_save, render_transaction
from netrules.model import Chain, Family, Goto, Jump, Rule, Ruleset, Table
from netrules.services import RulesetSettings
from netrules.transaction import Transaction

_LOCK_WAIT_SECONDS: Final = 5
_DEADLINE_SECONDS: Final = 60.0


class IptablesVariant(Enum):
    """Which tools: the machine's default, or one by name."""

    DEFAULT = ""
    LEGACY = "-legacy"
    NFT = "-nft"


class IptablesBackend:
    def __init__(self, settings: RulesetSettings, variant: IptablesVariant = IptablesVariant.DEFAULT) -> None:
        self._family = settings.family
        self._layout = ChainLayout(settings)
        self._tool = ("iptables" if settings.family is Family.IPV4 else "ip6tables") + variant.value

    @property
    def layout(self) -> ChainLayout:
        return self._layout

    async def read(self) -> Ruleset:
        skeleton = self._layout.skeleton()
        tables = {name: self._ours(await self._save(name), skeleton.tables[name]) for name in TABLES}
        return Ruleset(self._family, tables)

    async def apply(self, transaction: Transaction) -> None:
        if not transaction:
            return
        text = render_transaction(transaction)
        await self._run(f"{self._tool}-restore", "--noflush", "-w", str(_LOCK_WAIT_SECONDS), input_text=text)

    def close(self) -> None:
        """Nothing is held between calls."""

    async def remove(self) -> None:
        observed = await self.read()
        if is_ours(observed):
            await self.apply(diff_rulesets(observed, Ruleset(self._family)))

    async def check_support(self) -> None:
        """Raises RulesUnsupported, with the reason, when the tools or the kernel's tables are missing."""
        try:
            await self.read()
        except RulesError as error:
            raise RulesUnsupported(str(error)) from error

    def _ours(self, chains: Mapping[str, tuple[Rule, ...]], skeleton: Table) -> Table:
        found: dict[str, Chain] = {}
        for name, rules in chains.items():
            if attachment := ATTACHMENTS[skeleton.name].get(name):
                found[name] = Chain(
                    name, tuple(r for r in rules if _leads_to_us(skeleton.name, r)), attachment
                )
            elif is_our_chain(skeleton.name, name):
                found[name] = _normalise(Chain(name, rules), skeleton)
        return Table(self._family, skeleton.name, found, shared=True)

    async def _save(self, table: str) -> Mapping[str, tuple[Rule, ...]]:
        return parse_save(await self._run(f"{self._tool}-save", "-t", table))

    async def _run(self, *command: str, input_text: str = "") -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise RulesUnsupported(
                f"{command[0]} cannot be run: {error}; install the package iptables"
            ) from error
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                output, errors = await process.communicate(input_text.encode())
        except TimeoutError as error:
            raise RulesError(f"{command[0]} did not finish in {_DEADLINE_SECONDS:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RulesError(_explain(command[0], errors.decode(errors="replace"), input_text))
        return output.decode()


def is_ours(observed: Ruleset) -> bool:
    """Whether we made these chains: a kube-proxy's look the same but for the chain of the pods' way out."""
    return POD_EGRESS in observed.tables[NAT].chains


def _leads_to_us(table: str, rule: Rule) -> bool:
    return any(isinstance(s, Jump | Goto) and is_our_chain(table, s.chain) for s in rule.statements)


def _normalise(chain: Chain, skeleton: Table) -> Chain:
    """Entries of many Services in one chain come in no particular order: sorted, as the layout has them.

    Only while the skeleton's own rules of that chain are its last; if not, the chain differs and is to be
    rewritten.
    """
    own = skeleton.chains.get(chain.name)
    if own is None:
        return chain
    split = len(chain.rules) - len(own.rules)
    if split < 0 or chain.rules[split:] != own.rules:
        return chain
    return Chain(chain.name, (*sorted(chain.rules[:split], key=repr), *own.rules), chain.attachment)


def _explain(tool: str, errors: str, input_text: str) -> str:
    """The tool's complaint, with the line of our input that it names."""
    complaint = " ".join(errors.split()) or "no explanation"
    line = next((word for word in complaint.replace(":", " ").split() if word.isdigit()), "")
    lines = input_text.splitlines()
    named = f"; line {line} is: {lines[int(line) - 1]}" if line and 0 < int(line) <= len(lines) else ""
    return f"{tool} refused the change: {complaint}{named}"
