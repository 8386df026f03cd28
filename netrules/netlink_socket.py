"""One netfilter netlink socket: requests with their answers, dumps, batches.

Shell, blocking: callers run it in a thread. Knows nothing of what the messages mean. An answer that doesn't
come within the deadline, a lost answer and a refused socket raise RulesError; errors that the kernel reports
about a message are returned with their sequence number, because only the caller knows which object that was.
See netlink(7).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from netrules import netlink
from netrules.errors import RulesError, RulesUnsupported

_SOL_NETLINK: Final = 270
_NETLINK_NETFILTER: Final = 12
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BYTES: Final = 1 << 16
_BUFFER_BYTES: Final = 8 << 20
_DUMP_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class KernelError:
    """What the kernel said about the message with this sequence number; 0 is the batch as a whole."""

    sequence: int
    errno: int
    explanation: str

    def __str__(self) -> str:
        reason = os.strerror(self.errno)
        return f"{reason} ({self.explanation})" if self.explanation else reason


class NetlinkSocket:
    """Use as a context manager, or `close` it. `groups` are multicast groups to join."""

    def __init__(self, groups: tuple[int, ...] = (), timeout_seconds: float = 30.0) -> None:
        self._timeout_seconds = timeout_seconds
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
            )
        except OSError as error:
            raise RulesUnsupported(f"this kernel has no netfilter netlink: {error}") from error
        try:
            self._prepare(groups)
        except OSError as error:
            self._socket.close()
            raise RulesUnsupported(f"netfilter netlink socket cannot be set up: {error}") from error

    def _prepare(self, groups: tuple[int, ...]) -> None:
        self._socket.bind((0, 0))
        # A Python socket with a timeout waits for it even with MSG_DONTWAIT, and a reader in an event loop
        # must never wait: so the socket doesn't block, and who wants to wait polls.
        self._socket.setblocking(False)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._force_buffer(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _BUFFER_BYTES)
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def port_id(self) -> int:
        """The kernel's name for this socket, as notifications of its own changes carry it."""
        name: tuple[int, int] = self._socket.getsockname()
        return name[0]

    def send_batch(self, data: bytes, last_sequence: int) -> tuple[KernelError, ...]:
        """Sends one batch whose last message asks for an acknowledgement; no errors mean it was committed.

        The kernel handles a batch within the send call, so the answers are there when it returns.
        """
        self._force_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + (1 << 16))
        try:
            self._socket.send(data)
        except OSError as error:
            raise RulesError(f"netlink batch of {len(data)} bytes cannot be sent: {error}") from error
        errors: list[KernelError] = []
        for message in self._waiting_messages():
            if message.type != netlink.NLMSG_ERROR:
                continue
            code, explanation = netlink.parse_error(message.payload)
            if code:
                errors.append(KernelError(message.sequence, code, explanation))
            elif message.sequence == last_sequence:
                return tuple(errors)
        return tuple(errors) or (KernelError(0, errno.ENOBUFS, "no acknowledgement"),)

    def _waiting_messages(self) -> Iterator[netlink.Message]:
        for data in self._waiting_datagrams():
            yield from netlink.parse_messages(data or b"")

    def _waiting_datagrams(self) -> Iterator[bytes | None]:
        """What can be received without waiting; None where the kernel had to drop some."""
        while True:
            try:
                yield self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise RulesError(f"netlink messages cannot be read: {error}") from error
                yield None

    def drain(self) -> tuple[netlink.Message, ...] | None:
        """The notifications that wait, without blocking; None when the kernel had to drop some."""
        datagrams = tuple(self._waiting_datagrams())
        if None in datagrams:
            return None
        return tuple(message for data in datagrams for message in netlink.parse_messages(data or b""))

    def request(self, type: int, payload: bytes) -> KernelError | None:
        """Sends one message and waits for its acknowledgement; the kernel's error, None when it was done."""
        for message in self._exchange(type, netlink.NLM_F_REQUEST | netlink.NLM_F_ACK, payload):
            if message.type == netlink.NLMSG_ERROR:
                code, explanation = netlink.parse_error(message.payload)
                return KernelError(1, code, explanation) if code else None
        raise RulesError("the kernel gave no answer on its netlink socket")

    def dump(self, type: int, payload: bytes) -> tuple[bytes, ...]:
        """The payloads of a dump; repeated when the kernel's state changed while it was read.

        Raises FileNotFoundError when the kernel knows no such object, RulesError for anything else.
        """
        for _ in range(_DUMP_ATTEMPTS):
            answers = self._dump_once(type, payload)
            if answers is not None:
                return answers
        raise RulesError(f"the kernel's rules kept changing while they were read ({_DUMP_ATTEMPTS} attempts)")

    def _dump_once(self, type: int, payload: bytes) -> tuple[bytes, ...] | None:
        answers: list[bytes] = []
        interrupted = False
        for message in self._exchange(type, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, payload):
            interrupted = interrupted or bool(message.flags & netlink.NLM_F_DUMP_INTERRUPTED)
            if message.type in (netlink.NLMSG_ERROR, netlink.NLMSG_DONE):
                code = -struct.unpack_from("=i", message.payload)[0]
                if code == errno.ENOENT:
                    raise FileNotFoundError(code, os.strerror(code))
                if code not in (0, errno.EINTR, errno.EAGAIN):
                    raise RulesError(f"the kernel's rules cannot be read: {os.strerror(code)}")
                return None if interrupted or code else tuple(answers)
            answers.append(message.payload)
        return None

    def _exchange(self, type: int, flags: int, payload: bytes) -> Iterator[netlink.Message]:
        try:
            self._socket.send(netlink.build_message(type, flags, 1, payload))
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            while poll.poll(self._timeout_seconds * 1000):
                yield from netlink.parse_messages(self._socket.recv(_RECEIVE_BYTES))
        except OSError as error:
            raise RulesError(f"netlink exchange failed: {error}") from error
        raise RulesError(f"the kernel's netlink answer did not come in {self._timeout_seconds:.0f} s")

    def _force_buffer(self, force_option: int, option: int, size: int) -> None:
        """Beyond the sysctl limit where we may (CAP_NET_ADMIN in the first user namespace), else up to it."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, force_option, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, option, size)
