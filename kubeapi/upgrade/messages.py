"""The HTTP/1.1 messages around an upgrade: the request's head, the answer's head, the body of a refusal.

Pure. Called by `backend`, which moves the bytes. What follows a 101 is nobody's business here. The specs are
RFC 9110 (upgrades) and RFC 9112 (message framing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from string import hexdigits
from typing import Final

from kubeapi.errors import KubeAPIError

MAXIMUM_HEAD_BYTES: Final = 64 * 1024
MAXIMUM_BODY_BYTES: Final = 64 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"
_END_OF_LINE: Final = b"\r\n"
_HEX_DIGITS: Final = frozenset(hexdigits.encode())

# A relay asks in its own name, and no request body goes before the upgraded stream.
_NAMES_THE_CLIENT: Final = frozenset({"authorization", "cookie", "host", "proxy-authorization"})
_FRAMES_A_BODY: Final = frozenset({"content-length", "transfer-encoding", "expect"})


class UpgradeFailed(KubeAPIError):
    """A backend can't be reached or doesn't answer as HTTP; worded to follow its name and a colon."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """A response's head: `raw` as it came with its empty line; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    raw: bytes = field(repr=False)


def build_request_head(method: str, target: str, authority: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The request to a backend: the client's headers, its upgrade included, without its credentials."""
    withheld = _NAMES_THE_CLIENT | _FRAMES_A_BODY
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in withheld]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def parse_answer_head(received: bytes) -> AnswerHead | None:
    """The head that `received` starts with, None while its end is missing; raises UpgradeFailed."""
    text, end, _ = received.partition(_END_OF_HEAD)
    if not end:
        if len(received) > MAXIMUM_HEAD_BYTES:
            raise UpgradeFailed("its answer has a head without end")
        return None
    status_line, *lines = text.decode("latin-1").split("\r\n")
    version, _, rest = status_line.partition(" ")
    code = rest.partition(" ")[0]
    if not version.startswith("HTTP/1.") or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise UpgradeFailed("its answer is not HTTP")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return AnswerHead(int(code), headers, text + end)


def parse_body(head: AnswerHead, received: bytes) -> tuple[bytes, bool]:
    """The body in what came after the head, as far as it came, and whether that is all that belongs to it.

    A body of unknown length ends with its connection. It is cut at MAXIMUM_BODY_BYTES.
    """
    body, is_complete = _read_body(head.headers, received)
    is_long = len(body) >= MAXIMUM_BODY_BYTES or len(received) > 2 * MAXIMUM_BODY_BYTES
    return body[:MAXIMUM_BODY_BYTES], is_complete or is_long


def _read_body(headers: Mapping[str, str], received: bytes) -> tuple[bytes, bool]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _join_chunks(received)
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        return received[: int(length)], len(received) >= int(length)
    return received, False


def _join_chunks(text: bytes) -> tuple[bytes, bool]:
    """What came of the chunks, and whether the last of them did; nothing follows what is no chunk."""
    joined = bytearray()
    while True:
        line, end, text = text.partition(_END_OF_LINE)
        if not end:
            return bytes(joined), False
        size = line.partition(b";")[0].strip()
        length = int(size, 16) if size and _HEX_DIGITS.issuperset(size) else 0
        if not length:
            return bytes(joined), True
        joined += text[:length]
        text = text[length + len(_END_OF_LINE) :]
