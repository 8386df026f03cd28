"""A DNS server for a few names, over UDP and TCP on loopback, that can be made silent, short-spoken or
unwilling.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dnslib


@dataclass(slots=True)
class FakeResolver:
    """Answers A questions from `addresses`; anything else doesn't exist. `asked` holds every question."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    silent: bool = False
    truncates: bool = False
    rcode: int = 0
    garbage: bytes = b""
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def answer(self, packet: bytes, transport: str) -> bytes:
        """The answer's packet; empty for none."""
        query = dnslib.DNSRecord.parse(packet)
        name = str(query.q.qname).rstrip(".")
        self.asked.append((transport, name))
        if self.silent:
            return b""
        reply = query.reply()
        if self.rcode:
            reply.header.rcode = self.rcode
        elif self.truncates and transport == "udp":
            reply.header.tc = 1
        elif name in self.addresses:
            for address in self.addresses[name]:
                reply.add_answer(dnslib.RR(query.q.qname, dnslib.QTYPE.A, ttl=60, rdata=dnslib.A(address)))
        else:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return bytes(reply.pack())

    @asynccontextmanager
    async def serve(self, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
        """The port, while it listens."""
        loop = asyncio.get_running_loop()
        tcp = await asyncio.start_server(self._serve_connection, address, port)
        self.port = tcp.sockets[0].getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        udp.bind((address, self.port))
        loop.add_reader(udp, self._read, udp)
        try:
            yield self.port
        finally:
            loop.remove_reader(udp)
            udp.close()
            tcp.close()

    def _read(self, udp: socket.socket) -> None:
        packet, client = udp.recvfrom(4096)
        if self.garbage:
            udp.sendto(self.garbage, client)
        if answer := self.answer(packet, "udp"):
            udp.sendto(answer, client)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            if answer := self.answer(packet, "tcp"):
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (EOFError, OSError):
            pass
        finally:
            writer.close()
