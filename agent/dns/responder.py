"""Decides where the answer to a query comes from: memory, our zone, or another server.

Called by `agent.dns.listener` for every packet; waits only in `answer_later`. Most queries end in
`answer_now`, which does no IO at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import dnslib

from agent.dns.answer import (
    build_alias_answer,
    build_answers,
    build_failure,
    build_query_for,
)
from agent.dns.forward import Forwarder, ForwardError, cut_short
from agent.dns.query import UDP_LIMIT, Query, Refusal, read_query
from agent.dns.resolvers import Resolvers
from agent.dns.wire_cache import AnswerCache
from agent.dns.zone import Found, NoData, NoName, NotOurs, Record, Zone

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """A query that another server must answer; after `aliases`, the name to ask for is `target`."""

    query: Query
    over_tcp: bool
    aliases: tuple[Record, ...] = ()
    target: str = ""


class Responder:
    """Answers packets with packets."""

    def __init__(
        self, zone: Zone, is_ready: Callable[[], bool], forwarder: Forwarder, resolvers: Resolvers
    ) -> None:
        self._zone = zone
        self._is_ready = is_ready
        self._forwarder = forwarder
        self._resolvers = resolvers
        self._cache = AnswerCache()

    def answer_now(self, packet: bytes, over_tcp: bool) -> bytes | Pending:
        """The packet to send back, empty for none, or what is to be asked elsewhere."""
        kept = self._cache.find(packet, self._zone.generation, over_tcp)
        if kept is None:
            kept = self._forwarder.find(packet, over_tcp)
        if kept is not None:
            return kept
        match read_query(packet, over_tcp=over_tcp):
            case Refusal(refusal):
                return refusal
            case Query() as query:
                return self._answer(query, over_tcp)

    async def answer_later(self, pending: Pending) -> bytes:
        """What another server says, or SERVFAIL."""
        query = pending.query
        try:
            if not pending.target:
                answer = await self._forwarder.resolve(query.packet, pending.over_tcp, query.size_limit)
                return answer if len(answer) <= query.size_limit else cut_short(answer)
            question = build_query_for(pending.target, query)
            elsewhere = await self._forwarder.resolve(question, pending.over_tcp, UDP_LIMIT)
            return build_alias_answer(query, pending.aliases, elsewhere)
        except (ForwardError, dnslib.DNSError) as error:
            _logger.debug("A name could not be resolved", extra={"dns_name": query.name, "error": str(error)})
            return build_failure(query)

    def refuse(self, pending: Pending) -> bytes:
        """For when too many queries wait already."""
        return build_failure(pending.query)

    def _answer(self, query: Query, over_tcp: bool) -> bytes | Pending:
        found = self._zone.look_up(query.name, query.type)
        match found:
            case NotOurs():
                return self._answer_foreign(query, over_tcp)
            case _ if not self._is_ready():
                # Until both informers are in, a name that isn't there may only be unknown yet.
                return build_failure(query)
            case Found(records=aliases, unresolved=target) if target:
                return Pending(query, over_tcp, aliases, target)
            case _:
                return self._build(query, found, over_tcp)

    def _answer_foreign(self, query: Query, over_tcp: bool) -> bytes | Pending:
        looping = self._resolvers.note_name(query.name)
        if looping is None:
            return Pending(query, over_tcp)
        _logger.error(
            "A resolver sends questions back to the cluster DNS and is left out; give the node another one",
            extra={"resolver": looping},
        )
        return build_answers(query, NoName(), self._zone.domain)[0]

    def _build(self, query: Query, found: Found | NoData | NoName, over_tcp: bool) -> bytes:
        try:
            answers = build_answers(query, found, self._zone.domain)
        except (dnslib.DNSError, ValueError) as error:
            # A Service may hold an external name that is no DNS name.
            _logger.warning(
                "A name holds what DNS cannot say", extra={"dns_name": query.name, "error": str(error)}
            )
            return build_failure(query)
        self._cache.keep(query.packet, answers, self._zone.generation, over_tcp)
        return answers[0]
