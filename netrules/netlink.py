"""Netlink messages and attributes as bytes: building and taking apart.

Pure. Used by the nftables and conntrack encoders and decoders; `netlink_socket` sends and receives. Numbers
inside netfilter attributes are big-endian, message headers are in host order. See netlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTERRUPTED: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3

AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_INET6: Final = 10

MAX_ATTRIBUTE_BYTES: Final = 0xFFFF - 4
_NLMSGERR_ATTR_MSG: Final = 1
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


@dataclass(frozen=True, slots=True)
class Message:
    """One received message; `payload` comes after the netlink header."""

    type: int
    flags: int
    sequence: int
    port_id: int
    payload: bytes


def build_message(type: int, flags: int, sequence: int, payload: bytes) -> bytes:
    length = _HEADER.size + len(payload)
    return _HEADER.pack(length, type, flags, sequence, 0) + payload + _PADDING[length & 3]


def parse_messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram, in order."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, type, flags, sequence, port_id = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Message(type, flags, sequence, port_id, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attribute(type: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes. Raises ValueError when it is longer than netlink can say."""
    if len(value) > MAX_ATTRIBUTE_BYTES:
        raise ValueError(
            f"netlink attribute {type} of {len(value)} bytes is longer than {MAX_ATTRIBUTE_BYTES}"
        )
    return _ATTRIBUTE.pack(4 + len(value), type) + value + _PADDING[len(value) & 3]


def nested(type: int, *attributes: bytes) -> bytes:
    return attribute(type | _NESTED, b"".join(attributes))


def text(type: int, value: str) -> bytes:
    return attribute(type, value.encode() + b"\0")


def number(type: int, value: int) -> bytes:
    """A 32-bit number; negative ones in two's complement."""
    return attribute(type, (value & 0xFFFFFFFF).to_bytes(4, "big"))


def parse_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute, without the nested and byte order flags."""
    offset = 0
    while offset + 4 <= len(data):
        length, type = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield type & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def parse_text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def parse_number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def parse_error(payload: bytes) -> tuple[int, str]:
    """errno (0: acknowledged) and the kernel's own explanation, empty if it gave none, of an NLMSG_ERROR.

    The socket has capped acknowledgements: of the failed request only the header comes back.
    """
    code = -struct.unpack_from("=i", payload)[0]
    if code:
        for type, value in parse_attributes(payload[4 + _HEADER.size :]):
            if type == _NLMSGERR_ATTR_MSG:
                return code, value.rstrip(b"\0").decode(errors="replace")
    return code, ""


def pack_address(address: str) -> bytes:
    if ":" in address:
        return IPv6Address(address).packed
    return bytes(map(int, address.split(".")))


def unpack_address(packed: bytes) -> str:
    if len(packed) == 4:
        return "{}.{}.{}.{}".format(*packed)
    return str(ip_address(packed))
