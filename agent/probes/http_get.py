"""A small HTTP/1.1 client for probes and hooks: one GET, the status, redirects on the same host.

IO: one TCP connection for each request, closed at once. No deadline of its own: the caller sets one.
Certificates aren't verified, as the API documents for httpGet. Follows RFC 9112 as far as a probe needs it,
and what upstream's probes do: an answer counts once its body, or 10 KiB of that, is there.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from agent.probes.address import HTTPRequest
from agent.probes.dial import Dialer, DialFailed, describe_network_error

PROBE_AGENT: Final = "kube-probe/1.36+"
HOOK_AGENT: Final = "kube-lifecycle/1.36+"
_MAX_REDIRECTS: Final = 10
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 10 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BODILESS: Final = frozenset({204, 304})
_PATH_CHARACTERS: Final = "/%?:@!$&'()*+,;=~-._[]"  # what has a meaning of its own, or is escaped already
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: .*)?")


class HTTPFailed(Exception):
    """No usable answer: refused, cut, or not HTTP."""


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    status: int
    location: str
    body: bytes


async def send_get(request: HTTPRequest, dialer: Dialer, user_agent: str = PROBE_AGENT) -> HTTPAnswer:
    """The answer after redirects that stay on the request's host; one that leaves it is the answer itself."""
    for _ in range(_MAX_REDIRECTS):
        answer = await _send_once(request, dialer, user_agent)
        following = compute_redirect(request, answer)
        if following is None:
            return answer
        request = following
    raise HTTPFailed(f'Get "{request.url}": stopped after {_MAX_REDIRECTS} redirects')


def compute_redirect(request: HTTPRequest, answer: HTTPAnswer) -> HTTPRequest | None:
    """The request that the answer redirects to, or None when it is to be taken as it is. Pure."""
    if answer.status not in _REDIRECTS or not answer.location:
        return None
    try:
        target = urlsplit(urljoin(request.url, answer.location))
    except ValueError as error:
        raise HTTPFailed(f"failed to parse Location header {answer.location!r}") from error
    if target.hostname != urlsplit(request.url).hostname or target.scheme not in ("http", "https"):
        return None
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
    except ValueError as error:
        raise HTTPFailed(f'Get "{answer.location}": invalid port') from error
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return replace(request, scheme=target.scheme, port=port, path=path)


def build_request_head(request: HTTPRequest, user_agent: str = PROBE_AGENT) -> bytes:
    """The bytes of the request; headers of the spec replace ours, and an empty one removes it. Pure."""
    headers = {
        "host": ("Host", request.authority),
        "user-agent": ("User-Agent", user_agent),
        "accept": ("Accept", "*/*"),
    }
    given = {name.lower() for name, _ in request.headers}
    path = quote(request.path.partition("#")[0], safe=_PATH_CHARACTERS)
    lines = [f"GET {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for key, (name, value) in headers.items() if key not in given]
    lines += [f"{name}: {value}" for name, value in request.headers if value or name.lower() not in headers]
    lines += ["Connection: close", "", ""]
    if any("\r" in line or "\n" in line for line in lines[:-2]):
        raise HTTPFailed("the request's path or a header holds a line break")
    return "\r\n".join(lines).encode("latin-1", "replace")


async def _send_once(request: HTTPRequest, dialer: Dialer, user_agent: str) -> HTTPAnswer:
    head = build_request_head(request, user_agent)
    try:
        reader, writer = await _open(request, dialer)
        try:
            writer.write(head)
            await writer.drain()
            return await _read_answer(reader)
        finally:
            # abort, not close: TLS would wait for the peer's close_notify, and nothing of the answer is
            # wanted any more.
            writer.transport.abort()
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise HTTPFailed(f'Get "{request.url}": {describe_network_error(error)}') from error
    except DialFailed as error:
        raise HTTPFailed(f'Get "{request.url}": {error}') from error


async def _open(request: HTTPRequest, dialer: Dialer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    opened = await dialer.dial(request.host, request.port)
    try:
        if request.scheme != "https":
            return await asyncio.open_connection(sock=opened, limit=_MAX_HEAD_BYTES)
        return await asyncio.open_connection(
            sock=opened, limit=_MAX_HEAD_BYTES, ssl=_tls_context(), server_hostname=request.host
        )
    except BaseException:
        opened.close()
        raise


async def _read_answer(reader: asyncio.StreamReader) -> HTTPAnswer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, _, fields = head.partition(b"\r\n")
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None:
            raise ValueError("malformed HTTP response")
        status = int(match[1])
        if status >= 200:
            break
    headers = parse_headers(fields)
    body = b"" if status in _BODILESS else await _read_body(reader, headers)
    return HTTPAnswer(status, headers.get("location", ""), body)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """At most its first 10 KiB; raises EOFError where it ends before its time."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    if (length := headers.get("content-length", "")).isdecimal():
        return await reader.readexactly(min(int(length), _MAX_BODY_BYTES))
    body = b""
    while len(body) < _MAX_BODY_BYTES and (part := await reader.read(_MAX_BODY_BYTES - len(body))):
        body += part
    return body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < _MAX_BODY_BYTES:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size <= 0:
            break
        body += await reader.readexactly(min(size, _MAX_BODY_BYTES - len(body)))
        if len(body) < _MAX_BODY_BYTES:
            await reader.readexactly(2)
    return body


def parse_headers(fields: bytes) -> dict[str, str]:
    """Header fields by lower-case name, the last of each. Pure."""
    headers = {}
    for line in fields.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


@cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a key that is too short is no worse than one of a stranger
    return context
