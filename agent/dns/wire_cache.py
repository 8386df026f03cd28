"""Answers kept as packets, so that most queries are answered without being read.

Pure: time arrives as an argument. Called by `agent.dns.server`. A packet is found by the query's bytes
without its id; for what came from other servers the times to live are counted down in place. Follows RFC 1035
and RFC 2308.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TYPE_SOA: Final = 6
_TYPE_OPT: Final = 41
_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_TTL: Final = struct.Struct("!I")
_RCODE_NAME_ERROR: Final = 3


class PacketError(ValueError):
    """The packet ends within a record, or isn't a DNS packet."""


class AnswerCache:
    """Answers from our own zone: true until the zone changes, several for one query in turn."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._answers: dict[bytes, tuple[bytes, ...]] = {}
        self._generation = -1
        self._turn = 0

    def find(self, query: bytes, generation: int, over_tcp: bool) -> bytes | None:
        """The answer to the bytes of a query, with its id."""
        if generation != self._generation:
            return None
        answers = self._answers.get(_key(query, over_tcp))
        if answers is None:
            return None
        self._turn += 1
        return query[:2] + answers[self._turn % len(answers)]

    def keep(self, query: bytes, answers: tuple[bytes, ...], generation: int, over_tcp: bool) -> None:
        if generation != self._generation or len(self._answers) >= self._limit:
            self._answers.clear()
            self._generation = generation
        self._answers[_key(query, over_tcp)] = tuple(answer[2:] for answer in answers)


@dataclass(frozen=True, slots=True)
class _Forwarded:
    packet: bytes
    ttl_offsets: tuple[int, ...]
    kept_at: float
    expires_at: float


class ForwardCache:
    """Answers of other servers, each for as long as its shortest record lives, and no longer than a bound."""

    def __init__(self, limit: int = 2_000, longest_seconds: float = 30.0) -> None:
        self._limit = limit
        self._longest_seconds = longest_seconds
        self._answers: OrderedDict[bytes, _Forwarded] = OrderedDict()

    def find(self, query: bytes, over_tcp: bool, now: float) -> bytes | None:
        key = _key(query, over_tcp)
        kept = self._answers.get(key)
        if kept is None:
            return None
        if now >= kept.expires_at:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        packet = bytearray(kept.packet)
        packet[:2] = query[:2]
        age = int(now - kept.kept_at)
        for offset in kept.ttl_offsets:
            (ttl,) = _TTL.unpack_from(packet, offset)
            _TTL.pack_into(packet, offset, max(0, ttl - age))
        return bytes(packet)

    def keep(self, query: bytes, packet: bytes, over_tcp: bool, now: float) -> None:
        """Keeps an answer that may be kept: a success or a missing name, with a time to live."""
        try:
            lifetime = min(compute_lifetime(packet), self._longest_seconds)
            offsets = tuple(offset for offset, _type in ttl_offsets(packet))
        except PacketError:
            return
        if lifetime <= 0:
            return
        self._answers[_key(query, over_tcp)] = _Forwarded(packet, offsets, now, now + lifetime)
        if len(self._answers) > self._limit:
            self._answers.popitem(last=False)


def compute_lifetime(packet: bytes) -> float:
    """Seconds for which an answer stays true; 0 for one that mustn't be kept. Raises PacketError.

    An answer without records lives as its SOA says, and not at all without one.
    """
    if len(packet) < _HEADER.size:
        raise PacketError("shorter than a DNS header")
    _id, flags, _questions, answers, _authorities, _others = _HEADER.unpack_from(packet)
    if flags & 0x0200 or flags & 0x000F not in (0, _RCODE_NAME_ERROR):
        return 0.0
    records = list(ttl_offsets(packet))
    if not answers and not any(type_ == _TYPE_SOA for _offset, type_ in records):
        return 0.0
    return float(min((_TTL.unpack_from(packet, offset)[0] for offset, _type in records), default=0))


def ttl_offsets(packet: bytes) -> Iterator[tuple[int, int]]:
    """Where the time to live of each record is, and the record's type; raises PacketError."""
    try:
        _id, _flags, questions, *counts = _HEADER.unpack_from(packet)
        at = _HEADER.size
        for _ in range(questions):
            at = _skip_name(packet, at) + 4
        for _ in range(sum(counts)):
            at = _skip_name(packet, at)
            type_, _class, _ttl, length = _RECORD.unpack_from(packet, at)
            if type_ != _TYPE_OPT:
                yield at + 4, type_
            at += _RECORD.size + length
    except (struct.error, IndexError) as error:
        raise PacketError("the packet ends within a record") from error
    if at > len(packet):
        raise PacketError("the packet ends within a record")


def _skip_name(packet: bytes, at: int) -> int:
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _key(query: bytes, over_tcp: bool) -> bytes:
    """Size limits differ by transport, and so do answers."""
    return (b"t" if over_tcp else b"u") + query[2:]
