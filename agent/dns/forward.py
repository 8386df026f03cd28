"""Asks other DNS servers on a client's behalf: over UDP, over TCP when the answer was cut short, one after
the other.

Does IO. Called by `agent.dns.responder`. Each question goes out from a socket of its own, so that source port
and id are both hard to guess. Follows RFC 1035, RFC 5452 (forged answers) and RFC 7766 (DNS over TCP).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.dns.resolvers import Resolvers, parse_resolv_conf
from agent.dns.wire_cache import ForwardCache
from agent.errors import AgentError

_logger = logging.getLogger(__name__)

DNS_PORT: Final = 53
DEADLINE_SECONDS: Final = 5.0
_ATTEMPT_SECONDS: Final = 1.5
_ROUNDS: Final = 2
_REREAD_SECONDS: Final = 2.0
_TRUNCATED: Final = 0x02
_GOOD_CODES: Final = (0, 3)
_HEADER_BYTES: Final = 12


class ForwardError(AgentError):
    """No server gave an answer."""


class Forwarder:
    """Answers for names that aren't ours, from the node's resolvers or from what they said before."""

    def __init__(
        self,
        resolv_conf: Path,
        resolvers: Resolvers,
        *,
        port: int = DNS_PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolv_conf = resolv_conf
        self._resolvers = resolvers
        self._port = port
        self._clock = clock
        self._cache = ForwardCache()
        self._read_at = float("-inf")

    def find(self, query: bytes, over_tcp: bool) -> bytes | None:
        """An answer that is still good, from memory."""
        return self._cache.find(query, over_tcp, self._clock())

    def reread_resolvers(self) -> bool:
        """True when resolv.conf names other servers than before; it is looked at now and then, not always."""
        if self._clock() - self._read_at < _REREAD_SECONDS:
            return False
        self._read_at = self._clock()
        try:
            text = self._resolv_conf.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        return self._resolvers.set_addresses(parse_resolv_conf(text))

    async def resolve(self, query: bytes, over_tcp: bool, size_limit: int) -> bytes:
        """The best answer that a resolver gave, whole, with the query's id; raises ForwardError.

        Only what the client can take, by `size_limit`, is kept for the next one.
        """
        if (kept := self.find(query, over_tcp)) is not None:
            return kept
        self.reread_resolvers()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await self._ask_in_turn(query, over_tcp)
        except TimeoutError as error:
            raise ForwardError("the node's resolvers did not answer in time") from error
        if len(answer) <= size_limit:
            self._cache.keep(query, answer, over_tcp, self._clock())
        return answer

    async def probe_for_loops(self) -> None:
        """Asks each resolver for a name that only we know; if it comes back to us, the server's reader sees
        it.
        """
        for address, name in self._resolvers.probes():
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    await self._ask(address, _build_probe(name), over_tcp=False)
            except (OSError, EOFError):
                continue

    async def _ask_in_turn(self, query: bytes, over_tcp: bool) -> bytes:
        refusal: bytes | None = None
        for _ in range(_ROUNDS):
            for address in self._resolvers.in_order(self._clock()):
                answer = await self._try(address, query, over_tcp)
                if answer is None:
                    self._resolvers.note_failure(address, self._clock())
                elif answer[3] & 0x0F not in _GOOD_CODES:
                    refusal = answer
                else:
                    self._resolvers.note_success(address)
                    return answer
            if refusal is not None:
                return refusal
        raise ForwardError(f"no resolver of {self._resolv_conf} answered; name one that works there")

    async def _try(self, address: str, query: bytes, over_tcp: bool) -> bytes | None:
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                answer = await self._ask(address, query, over_tcp)
                if not over_tcp and answer[2] & _TRUNCATED:
                    answer = await self._ask(address, query, over_tcp=True)
                return answer
        except (OSError, EOFError) as error:
            _logger.debug("A resolver did not answer", extra={"resolver": address, "error": str(error)})
            return None

    async def _ask(self, address: str, query: bytes, over_tcp: bool) -> bytes:
        """One question and its answer; raises OSError (TimeoutError included) or EOFError."""
        sent = secrets.token_bytes(2) + query[2:]
        exchange = _exchange_tcp if over_tcp else _exchange_udp
        answer = await exchange(address, self._port, sent)
        return query[:2] + answer[2:]


def cut_short(answer: bytes) -> bytes:
    """Header and question of an answer too long for UDP, marked so that the client asks over TCP."""
    at = _HEADER_BYTES
    while answer[at]:
        at += 1 + answer[at]
    header = answer[:2] + bytes((answer[2] | _TRUNCATED, answer[3])) + answer[4:6] + bytes(6)
    return header + answer[_HEADER_BYTES : at + 5]


class _UdpExchange(asyncio.DatagramProtocol):
    """Waits for the datagram that answers `sent`, and passes over all others."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self.answer.done() and _answers(data, self._sent):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.cancel()


async def _exchange_udp(address: str, port: int, sent: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _UdpExchange(sent), remote_addr=(address, port)
    )
    try:
        transport.sendto(sent)
        return await protocol.answer
    finally:
        transport.close()


async def _exchange_tcp(address: str, port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(len(sent).to_bytes(2, "big") + sent)
        await writer.drain()
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        if not _answers(answer, sent):
            raise EOFError("the answer belongs to another question")
        return answer
    finally:
        writer.close()


def _answers(answer: bytes, sent: bytes) -> bool:
    """Same id, marked as an answer, about the same question."""
    end = _HEADER_BYTES
    while end < len(sent) and sent[end]:
        end += 1 + sent[end]
    question = sent[_HEADER_BYTES : end + 5]
    echoed = answer[_HEADER_BYTES : _HEADER_BYTES + len(question)]
    return (
        len(answer) >= _HEADER_BYTES
        and answer[:2] == sent[:2]
        and bool(answer[2] & 0x80)
        and echoed.lower() == question.lower()
    )


def _build_probe(name: str) -> bytes:
    """A question of type HINFO, which no application asks."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return bytes(2) + b"\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x0d\x00\x01"
