"""The sockets of the DNS server: UDP datagrams in batches, TCP connections within bounds.

Does IO. Called by `agent.dns.server`; answers come from `agent.dns.responder`. Queries that wait for other
servers run as tasks, so that they delay nobody. Follows RFC 1035 and RFC 7766.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Final

from agent.dns.responder import Pending, Responder
from agent.errors import AgentError

_DATAGRAMS_AT_ONCE: Final = 64
_MOST_PENDING: Final = 512
_MOST_CONNECTIONS: Final = 128
_IDLE_SECONDS: Final = 10.0
_RECEIVE_BUFFER_BYTES: Final = 1 << 20

Address = tuple[object, ...]
"""A peer as the socket module tells it; its parts depend on the family."""


class DnsListener:
    """Listens on one address while `run` runs."""

    def __init__(self, responder: Responder, address: str, port: int) -> None:
        self._responder = responder
        self._address = address
        self._port = port
        self._pending = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.port = port

    async def run(self, opened: asyncio.Event) -> None:
        """Until cancelled; raises AgentError when the address can't be bound. `port` is the real one then."""
        udp, tcp = self._open()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                server = await asyncio.start_server(self._serve_connection, sock=tcp)
                loop.add_reader(udp, self._read_datagrams, udp, group)
                opened.set()
                try:
                    await server.serve_forever()
                finally:
                    loop.remove_reader(udp)
                    server.close()
                    for connection in self._connections:
                        connection.cancel()
        finally:
            udp.close()
            tcp.close()

    def _open(self) -> tuple[socket.socket, socket.socket]:
        family = socket.AF_INET6 if ip_address(self._address).version == 6 else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            tcp.bind((self._address, self._port))
            self.port = tcp.getsockname()[1]
            udp.bind((self._address, self.port))
        except OSError as error:
            udp.close()
            tcp.close()
            raise AgentError(
                f"cannot listen for DNS on {self._address} port {self._port}: {error.strerror}; "
                "stop the program that has it, or name another --cluster-dns"
            ) from error
        return udp, tcp

    # --- UDP ------------------------------------------------------------------------------------------------

    def _read_datagrams(self, udp: socket.socket, group: asyncio.TaskGroup) -> None:
        """A batch, and then others get their turn: what is left makes the socket readable again."""
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                packet, client = udp.recvfrom(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # An earlier answer bounced; it isn't this datagram's fault.
            answer = self._responder.answer_now(packet, over_tcp=False)
            if isinstance(answer, bytes):
                _send(udp, answer, client)
            elif self._pending >= _MOST_PENDING:
                _send(udp, self._responder.refuse(answer), client)
            else:
                self._pending += 1
                group.create_task(self._answer_datagram(udp, answer, client))

    async def _answer_datagram(self, udp: socket.socket, pending: Pending, client: Address) -> None:
        try:
            _send(udp, await self._responder.answer_later(pending), client)
        finally:
            self._pending -= 1

    # --- TCP ------------------------------------------------------------------------------------------------

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= _MOST_CONNECTIONS:
                await self._answer_connection(reader, writer)
        except (OSError, EOFError):
            pass  # The client is gone, or has had nothing to ask for too long.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            answer = self._responder.answer_now(packet, over_tcp=True)
            if isinstance(answer, Pending):
                answer = await self._responder.answer_later(answer)
            if not answer:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()


def _send(udp: socket.socket, answer: bytes, client: Address) -> None:
    """A datagram that can't be sent now is lost, as datagrams may be."""
    if answer:
        try:
            udp.sendto(answer, client)
        except OSError:
            return
