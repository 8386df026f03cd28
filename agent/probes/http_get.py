"""A small HTTP/1.1 client for probes and hooks: one GET, the status, redirects on the same host.

IO: one TCP connection for each request, closed at once. No deadline of its own: the caller sets one.
Certificates aren't verified, as the API documents for httpGet. Follows RFC 9112 as far as a status needs it.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from dataclasses import dataclass, replace
from functools import cache
from typing import Final
from urllib.parse import urljoin, urlsplit

from agent.probes.address import HTTPRequest

_USER_AGENT: Final = "kube-probe/1.36+"
_MAX_REDIRECTS: Final = 10
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 10 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: .*)?")


class HTTPFailed(Exception):
    """No usable answer: refused, cut, or not HTTP."""


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    status: int
    location: str
    body: bytes


async def send_get(request: HTTPRequest) -> HTTPAnswer:
    """The answer after redirects that stay on the request's host; one that leaves it is the answer itself."""
    for _ in range(_MAX_REDIRECTS + 1):
        answer = await _send_once(request)
        following = compute_redirect(request, answer)
        if following is None:
            return answer
        request = following
    raise HTTPFailed(f"stopped after {_MAX_REDIRECTS} redirects")


def compute_redirect(request: HTTPRequest, answer: HTTPAnswer) -> HTTPRequest | None:
    """The request that the answer redirects to, or None when it is to be taken as it is. Pure."""
    if answer.status not in _REDIRECTS or not answer.location:
        return None
    target = urlsplit(urljoin(request.url, answer.location))
    if target.hostname != urlsplit(request.url).hostname or target.scheme not in ("http", "https"):
        return None
    port = target.port or (443 if target.scheme == "https" else 80)
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return replace(request, scheme=target.scheme, port=port, path=path)


def build_request_head(request: HTTPRequest) -> bytes:
    """The bytes of the request; headers of the spec replace ours, and an empty one removes it. Pure."""
    headers = {
        "host": ("Host", request.authority),
        "user-agent": ("User-Agent", _USER_AGENT),
        "accept": ("Accept", "*/*"),
    }
    given = {name.lower() for name, _ in request.headers}
    lines = [f"GET {request.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for key, (name, value) in headers.items() if key not in given]
    lines += [f"{name}: {value}" for name, value in request.headers if value or name.lower() not in headers]
    lines += ["Connection: close", "", ""]
    if any("\r" in line or "\n" in line for line in lines[:-2]):
        raise HTTPFailed("the request's path or a header holds a line break")
    return "\r\n".join(lines).encode("latin-1", "replace")


async def _send_once(request: HTTPRequest) -> HTTPAnswer:
    head = build_request_head(request)
    tls = _tls_context() if request.scheme == "https" else None
    try:
        reader, writer = await asyncio.open_connection(
            request.host, request.port, ssl=tls, limit=_MAX_HEAD_BYTES
        )
    except (OSError, ssl.SSLError) as error:
        raise HTTPFailed(f'Get "{request.url}": {describe_network_error(error)}') from error
    try:
        writer.write(head)
        await writer.drain()
        return await _read_answer(reader)
    except (OSError, ssl.SSLError, EOFError, asyncio.LimitOverrunError) as error:
        raise HTTPFailed(f'Get "{request.url}": {describe_network_error(error)}') from error
    finally:
        # abort, not close: TLS would wait for the peer's close_notify, and nothing of the answer is wanted
        # any more.
        writer.transport.abort()


async def _read_answer(reader: asyncio.StreamReader) -> HTTPAnswer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, _, fields = head.partition(b"\r\n")
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None:
            raise HTTPFailed("malformed HTTP response")
        status = int(match[1])
        if status >= 200:
            break
    headers = parse_headers(fields)
    length = headers.get("content-length", "")
    body = b""
    if length.isdecimal():
        body = await reader.read(min(int(length), _MAX_BODY_BYTES)) if int(length) else b""
    return HTTPAnswer(status, headers.get("location", ""), body)


def parse_headers(fields: bytes) -> dict[str, str]:
    """Header fields by lower-case name, the last of each. Pure."""
    headers = {}
    for line in fields.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


def describe_network_error(error: Exception) -> str:
    """The kernel's words for what went wrong, in lower case. Pure."""
    if isinstance(error, EOFError):
        return "EOF"
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    # asyncio's own text repeats the address; a failed name look-up has numbers that aren't the kernel's.
    return os.strerror(error.errno).lower() if error.errno > 0 else str(error.strerror)


@cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
