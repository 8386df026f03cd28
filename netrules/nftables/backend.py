"""The nftables backend: our tables in the kernel, straight over netlink.

Shell. Runs each exchange in a thread, because the kernel may keep a caller waiting for another one's commit.
Called by the agent's proxy, one call at a time. What to write is `layout`'s matter, how it looks in bytes
`encode`'s and `decode`'s.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from netrules import netlink
from netrules.diff import diff_rulesets
from netrules.errors import RulesError, RulesUnsupported
from netrules.model import Chain, Data, Family, Key, NamedSet, Rule, Ruleset, Table
from netrules.netlink_socket import KernelError, NetlinkSocket
from netrules.nftables import decode, encode
from netrules.nftables.layout import SETS, TABLE, FlatLayout, build_spread_chain
from netrules.services import RulesetSettings
from netrules.transaction import AddElements, DeleteElements, DeleteTable, Operation, Transaction

_T = TypeVar("_T")

_PROBE_TABLE: Final = "berth-probe"
_SPREAD_NAME: Final = re.compile(r"(node-port-)?spread-([1-9][0-9]{0,8})")


class NftablesBackend:
    def __init__(self, settings: RulesetSettings) -> None:
        self._family = settings.family
        self._layout = FlatLayout(settings)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"nftables-{settings.family.value}")
        self._socket: NetlinkSocket | None = None

    @property
    def layout(self) -> FlatLayout:
        return self._layout

    @property
    def port_id(self) -> int:
        """The netlink port that our own commits come from, 0 before the first: notifications carry it."""
        return self._socket.port_id if self._socket else 0

    def close(self) -> None:
        """Gives back the socket and the thread; the rules stay."""
        self._worker.shutdown(wait=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def read(self) -> Ruleset:
        return await self._in_worker(self._read)

    async def apply(self, transaction: Transaction) -> None:
        if transaction:
            await self._in_worker(lambda: self._commit(transaction))

    async def remove(self) -> None:
        await self._in_worker(self._remove)

    async def check_support(self) -> None:
        """Raises RulesUnsupported, with the reason, when this kernel cannot hold the layout."""
        await self._in_worker(self._check_support)

    def _check_support(self) -> None:
        """The whole skeleton under another name, removed again in the same batch: committed, never seen."""
        probe = _rename(self._layout.skeleton())
        build = diff_rulesets(Ruleset(self._family), probe)
        operations = (*build.operations, DeleteTable(_PROBE_TABLE))
        try:
            self._commit(Transaction(self._family, operations))
        except RulesError as error:
            raise RulesUnsupported(f"this kernel cannot hold our nftables rules: {error}") from error

    async def _in_worker(self, work: Callable[[], _T]) -> _T:
        """In a thread of our own: the shared ones may all hang, on somebody's dead mount for example."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _commit(self, transaction: Transaction) -> None:
        batch = encode.encode_transaction(transaction)
        self._socket = self._socket or NetlinkSocket()
        try:
            errors = self._socket.send_batch(batch.data, batch.last_sequence)
        except RulesError:
            self._socket.close()
            self._socket = None
            raise
        if errors:
            raise RulesError(_explain(errors[0], batch, transaction.family))

    def _remove(self) -> None:
        with NetlinkSocket() as socket:
            there = TABLE in _read_tables(socket, self._family)
        if there:
            self._commit(Transaction(self._family, (DeleteTable(TABLE),)))

    def _read(self) -> Ruleset:
        with NetlinkSocket() as socket:
            if TABLE not in _read_tables(socket, self._family):
                return Ruleset(self._family)
            try:
                return Ruleset(self._family, {TABLE: self._read_table(socket)})
            except FileNotFoundError:
                return Ruleset(self._family)

    def _read_table(self, socket: NetlinkSocket) -> Table:
        family = self._family
        sets = {named.name: named for named in _read_sets(socket, family)}
        elements = {
            name: _read_elements(socket, family, named) for name, named in sets.items() if named.fields
        }
        chains = self._with_rules(socket, _read_chains(socket, family))
        return Table(family, TABLE, chains, sets, elements)

    def _with_rules(self, socket: NetlinkSocket, chains: dict[str, Chain]) -> dict[str, Chain]:
        book = decode.build_rule_book(self._expected_rules(chains), self._family)
        rules: dict[str, list[Rule]] = {name: [] for name in chains}
        for payload in _dump(socket, self._family, encode.GET_RULE, netlink.text(1, TABLE)):
            name, rule = decode.decode_rule(payload, book)
            if name in rules:
                rules[name].append(rule)
        return {name: Chain(name, tuple(rules[name]), chain.attachment) for name, chain in chains.items()}

    def _expected_rules(self, names: Iterable[str]) -> Iterable[Rule]:
        for chain in self._layout.skeleton().tables[TABLE].chains.values():
            yield from chain.rules
        for name in names:
            if found := _SPREAD_NAME.fullmatch(name):
                yield from build_spread_chain(int(found[2]), bool(found[1])).rules


def _rename(ruleset: Ruleset) -> Ruleset:
    table = ruleset.tables[TABLE]
    renamed = Table(table.family, _PROBE_TABLE, table.chains, table.sets, table.elements)
    return Ruleset(ruleset.family, {_PROBE_TABLE: renamed})


def _dump(socket: NetlinkSocket, family: Family, message: int, attributes: bytes = b"") -> tuple[bytes, ...]:
    return socket.dump(encode.message_type(message), encode.message_header(family) + attributes)


def _read_tables(socket: NetlinkSocket, family: Family) -> set[str]:
    dumped = _dump(socket, family, encode.GET_TABLE)
    return {netlink.parse_text(decode.parse_object(payload)[1]) for payload in dumped}


def _read_chains(socket: NetlinkSocket, family: Family) -> dict[str, Chain]:
    decoded = (decode.decode_chain(payload) for payload in _dump(socket, family, encode.GET_CHAIN))
    return {chain.name: chain for table, chain in decoded if table == TABLE}


def _read_sets(socket: NetlinkSocket, family: Family) -> Iterable[NamedSet]:
    known = {named.name: named for named in SETS}
    for payload in _dump(socket, family, encode.GET_SET, netlink.text(1, TABLE)):
        yield decode.decode_set(payload, known, family)


def _read_elements(socket: NetlinkSocket, family: Family, named: NamedSet) -> dict[Key, Data]:
    names = netlink.text(1, TABLE) + netlink.text(2, named.name)
    elements: dict[Key, Data] = {}
    for payload in _dump(socket, family, encode.GET_ELEMENTS, names):
        elements.update(decode.decode_elements(payload, named, family))
    return elements


def _explain(error: KernelError, batch: encode.Batch, family: Family) -> str:
    operation = batch.operation(error.sequence)
    what = _describe(operation) if operation else "the batch as a whole"
    hint = "; run as root with CAP_NET_ADMIN" if error.errno == errno.EPERM else ""
    return f"nftables ({family.value}) refused {what}: {error}{hint}"


def _describe(operation: Operation) -> str:
    match operation:
        case AddElements(table=table, set=named, entries=entries):
            return f"{len(entries)} elements for set {table}/{named.name}, the first {entries[0][0]}"
        case DeleteElements(table=table, set=named, entries=entries):
            count = len(entries)
            return f"the removal of {count} elements from {table}/{named.name}, the first {entries[0][0]}"
        case _:
            return repr(operation)
