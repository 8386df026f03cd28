"""One IP family's rules: wanted in memory, applied to the kernel, compared when in doubt.

Shell. The proxy has one lane per family and calls it from one task. The everyday path sends what changed;
whenever the kernel may hold something else (at start, after an error, after somebody's edit) the lane reads
it, and sends the difference. Nothing is ever flushed, so connections go on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from netrules.backend import RuleBackend
from netrules.conntrack import StaleFlows, plan_stale_flows
from netrules.diff import diff_rulesets
from netrules.errors import RulesError
from netrules.model import Family, Ruleset
from netrules.services import Backend, Frontend, Intent, ServiceIntent, cluster_frontends, outside_frontends
from netrules.tracker import Tracker
from netrules.transaction import Transaction, split_transaction

_FIRST_LOAD_LIMIT: Final = 5000  # elements in one transaction, so that none holds the kernel's lock for long

logger = logging.getLogger(__name__)


class FlowRemover(Protocol):
    async def __call__(self, flows: tuple[StaleFlows, ...], family: Family) -> int: ...


class FamilyLane:
    """`load` first, then `apply_changes` for each round of changes; never two at once."""

    def __init__(self, family: Family, backend: RuleBackend, remove_flows: FlowRemover) -> None:
        self.family = family
        self._backend = backend
        self._remove_flows = remove_flows
        self._tracker = Tracker(backend.layout)
        self._stale: list[StaleFlows] = []
        self._in_doubt = False

    async def load(self, wanted: Mapping[str, tuple[Intent, ...]]) -> None:
        """Adopts what the kernel has and makes it what is wanted; on RulesError, call it again."""
        observed = await self._backend.read()
        order = self._backend.layout.endpoint_order(observed)
        self._tracker = Tracker(self._backend.layout, order)
        for owner, intents in wanted.items():
            self._stale += _stale_since(order, intents)
            self._tracker.set_intents(owner, intents)
        self._tracker.take_transaction()
        await self._apply_difference(observed)
        await self._forget_flows()

    def set_intents(self, owner: str, intents: tuple[Intent, ...]) -> None:
        """What this owner wants from now on; takes effect with `apply_changes`."""
        before = self._tracker.intents(owner)
        self._tracker.set_intents(owner, intents)
        self._stale += plan_stale_flows(before, intents)

    async def apply_changes(self) -> None:
        """Brings the kernel up to date; raises RulesError, after which the next call compares everything."""
        transaction = self._tracker.take_transaction()
        if not self._in_doubt:
            await self._apply(transaction)
        elif await self._apply_difference(await self._backend.read()) and not transaction:
            logger.warning(
                "rules were not as they should be and were mended", extra={"family": self.family.value}
            )
        await self._forget_flows()

    def doubt(self) -> None:
        """The kernel may hold something else than we think: the next `apply_changes` compares everything."""
        self._in_doubt = True

    async def _apply_difference(self, observed: Ruleset) -> bool:
        transaction = diff_rulesets(observed, self._tracker.ruleset())
        parts: Iterable[Transaction] = (transaction,)
        if not any(table.chains for table in observed.tables.values()):
            parts = split_transaction(transaction, _FIRST_LOAD_LIMIT)
        for part in parts:
            await self._apply(part)
        self._in_doubt = False
        return bool(transaction)

    async def _apply(self, transaction: Transaction) -> None:
        try:
            await self._backend.apply(transaction)
        except BaseException:
            # Refused, or cut off half-way by a cancellation: only the kernel knows what it holds now.
            self._in_doubt = True
            raise

    async def _forget_flows(self) -> None:
        """Stale connections don't keep the rules from being right: a failure here is told, not raised."""
        stale, self._stale = tuple(self._stale), []
        try:
            removed = await self._remove_flows(stale, self.family)
        except RulesError:
            logger.warning("stale UDP flows could not be removed", exc_info=True)
            return
        if removed:
            logger.info("stale UDP flows removed", extra={"count": removed, "family": self.family.value})


def _stale_since(
    order: Mapping[Frontend, tuple[Backend, ...]], intents: tuple[Intent, ...]
) -> tuple[StaleFlows, ...]:
    """What changed between the endpoints that the kernel sent clients to until now and those of the intents.

    Intents that the kernel has nothing of are left out: a first start leaves the connection tracker alone.
    """
    observed: dict[str, Intent] = {}
    for intent in intents:
        if not isinstance(intent, ServiceIntent):
            continue
        inside = _longest(order, cluster_frontends(intent))
        outside = _longest(order, outside_frontends(intent))
        if inside or outside:
            observed[intent.name] = replace(intent, endpoints=inside, external_endpoints=outside)
    known = tuple(intent for intent in intents if intent.name in observed)
    return plan_stale_flows(tuple(observed.values()), known)


def _longest(
    order: Mapping[Frontend, tuple[Backend, ...]], frontends: Iterable[Frontend]
) -> tuple[Backend, ...]:
    return max((order.get(frontend, ()) for frontend in frontends), key=len, default=())
