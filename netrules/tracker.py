"""The wanted rules of one IP family, kept up to date intent by intent.

Pure (no IO), with state: the intents by owner, who holds which frontend, and how often shared pieces are
needed. One owner's change costs what that owner's pieces cost, however many others there are. The proxy feeds
it and sends on the transactions; after a failure it compares `ruleset()` with what the kernel has instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from netrules.diff import build_change
from netrules.model import Ruleset
from netrules.services import (
    Backend,
    Contribution,
    Frontend,
    FrontendKind,
    HostPortIntent,
    Intent,
    Layout,
    Piece,
    ServiceIntent,
    add_pieces,
    cluster_frontends,
    keep_order,
    outside_frontends,
    service_frontend,
)
from netrules.transaction import Transaction


class Tracker:
    """Owners are names such as a Service's; each has a tuple of intents with names of their own."""

    def __init__(
        self, layout: Layout, known_order: Mapping[Frontend, tuple[Backend, ...]] | None = None
    ) -> None:
        """`known_order`: endpoints as the kernel already has them, so that adopting them changes nothing."""
        self._layout = layout
        self._family = layout.skeleton().family
        self._known_order = dict(known_order or {})
        self._intents: dict[str, tuple[Intent, ...]] = {}
        self._claims: dict[Frontend, list[str]] = {}
        self._uses: Counter[Piece] = Counter()
        self._gone: dict[Piece, None] = {}
        self._come: dict[Piece, None] = {}

    def set_intents(self, owner: str, intents: tuple[Intent, ...]) -> None:
        """What this owner wants from now on; nothing removes it. Takes effect with the next transaction."""
        old = self._intents.get(owner, ())
        ordered = self._with_stable_order(old, intents)
        if ordered == old:
            return
        affected = self._rivals(owner, (*old, *ordered))
        before = {name: self._contributions(name) for name in (owner, *affected)}
        self._replace(owner, old, ordered)
        for name, previous in before.items():
            self._record(previous, self._contributions(name))

    def intents(self, owner: str) -> tuple[Intent, ...]:
        return self._intents.get(owner, ())

    def all_intents(self) -> Iterator[Intent]:
        """Every intent, reduced to the frontends that its owner holds."""
        for owner in self._intents:
            yield from self._granted(owner)

    def take_transaction(self) -> Transaction:
        """What changed since the last call. The pieces that went and came back cancel out."""
        gone, come = self._gone, self._come
        self._gone, self._come = {}, {}
        return Transaction(self._family, build_change(gone, come))

    def ruleset(self) -> Ruleset:
        """The whole of it; costs what everything costs."""
        pieces: dict[Piece, None] = {}
        for intent in self.all_intents():
            contribution = self._layout.contribution(intent)
            pieces.update(dict.fromkeys(contribution.own))
            pieces.update(dict.fromkeys(contribution.shared))
        return add_pieces(self._layout.skeleton(), pieces)

    # --- endpoint order -------------------------------------------------------------------------------------

    def _with_stable_order(self, old: tuple[Intent, ...], new: tuple[Intent, ...]) -> tuple[Intent, ...]:
        previous = {intent.name: intent for intent in old}
        return tuple(
            self._reordered(previous.get(intent.name), intent)
            if isinstance(intent, ServiceIntent)
            else intent
            for intent in new
        )

    def _reordered(self, old: Intent | None, new: ServiceIntent) -> ServiceIntent:
        inside, outside = self._previous_order(old, new)
        external = new.external_endpoints
        return replace(
            new,
            endpoints=keep_order(inside, new.endpoints),
            external_endpoints=None if external is None else keep_order(outside, external),
        )

    def _previous_order(
        self, old: Intent | None, new: ServiceIntent
    ) -> tuple[tuple[Backend, ...], tuple[Backend, ...]]:
        if isinstance(old, ServiceIntent):
            return old.endpoints, old.outside_endpoints
        inside = self._known(cluster_frontends(new))
        return inside, self._known(outside_frontends(new)) or inside

    def _known(self, frontends: Iterable[Frontend]) -> tuple[Backend, ...]:
        """The longest list known for any of these; each is used once, for the first load."""
        return max((self._known_order.pop(frontend, ()) for frontend in frontends), key=len, default=())

    # --- frontends ------------------------------------------------------------------------------------------

    def _rivals(self, owner: str, intents: tuple[Intent, ...]) -> set[str]:
        """Other owners that claim a frontend of these intents."""
        claimed = {f for intent in intents for f in _all_frontends(intent)}
        return {name for f in claimed for name in self._claims.get(f, ())} - {owner}

    def _replace(self, owner: str, old: tuple[Intent, ...], new: tuple[Intent, ...]) -> None:
        before = dict.fromkeys(f for intent in old for f in _all_frontends(intent))
        after = dict.fromkeys(f for intent in new for f in _all_frontends(intent))
        for frontend in before:
            if frontend not in after:
                self._release(owner, frontend)
        for frontend in after:
            if frontend not in before:
                self._claims.setdefault(frontend, []).append(owner)
        if new:
            self._intents[owner] = new
        else:
            self._intents.pop(owner, None)

    def _release(self, owner: str, frontend: Frontend) -> None:
        claimants = self._claims[frontend]
        claimants.remove(owner)
        if not claimants:
            del self._claims[frontend]

    def _granted(self, owner: str) -> Iterator[Intent]:
        """The owner's intents with only those frontends that nobody claimed before it."""
        for intent in self._intents.get(owner, ()):
            lost = {f for f in _all_frontends(intent) if self._claims[f][0] != owner}
            if not lost:
                yield intent
            elif isinstance(intent, ServiceIntent):
                yield _without(intent, lost)

    # --- pieces ---------------------------------------------------------------------------------------------

    def _contributions(self, owner: str) -> tuple[Contribution, ...]:
        return tuple(self._layout.contribution(intent) for intent in self._granted(owner))

    def _record(self, before: tuple[Contribution, ...], after: tuple[Contribution, ...]) -> None:
        old_own = dict.fromkeys(piece for c in before for piece in c.own)
        new_own = dict.fromkeys(piece for c in after for piece in c.own)
        self._remove(piece for piece in old_own if piece not in new_own)
        self._add(piece for piece in new_own if piece not in old_own)
        needed = [piece for c in after for piece in c.shared]
        no_longer = [piece for c in before for piece in c.shared]
        self._add(piece for piece in needed if self._count(piece, 1) == 1)
        self._remove(piece for piece in no_longer if self._count(piece, -1) == 0)

    def _count(self, piece: Piece, step: int) -> int:
        self._uses[piece] += step
        uses = self._uses[piece]
        if not uses:
            del self._uses[piece]
        return uses

    def _add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece in self._gone:
                del self._gone[piece]
            else:
                self._come[piece] = None

    def _remove(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece in self._come:
                del self._come[piece]
            else:
                self._gone[piece] = None


def _all_frontends(intent: Intent) -> Iterator[Frontend]:
    if isinstance(intent, HostPortIntent):
        yield Frontend(FrontendKind.HOST_PORT, intent.host_address, intent.protocol, intent.host_port)
    else:
        yield from cluster_frontends(intent)
        yield from outside_frontends(intent)


def _without(intent: ServiceIntent, lost: set[Frontend]) -> ServiceIntent:
    def kept(addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(a for a in addresses if service_frontend(intent, a) not in lost)

    has_node_port = not any(frontend.kind is FrontendKind.NODE_PORT for frontend in lost)
    return replace(
        intent,
        cluster_addresses=kept(intent.cluster_addresses),
        external_addresses=kept(intent.external_addresses),
        node_port=intent.node_port if has_node_port else 0,
    )
