"""The client's sockets and errors: what aiohttp and the system raise, told in this package's own terms.

Opens sockets, sends nothing. Called by `kubeapi.client` and its `connector`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from kubeapi.errors import ApiStatusError, Unreachable
from kubeapi.status import Status, parse_status


@contextmanager
def mapped_errors(server: str, what: str) -> Iterator[None]:
    """Turns what aiohttp and the system raise into Unreachable, with one sentence."""
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(f"{server} did not answer in time ({what})") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(f"the certificate of {server} is not trusted: {error.certificate_error}") from error
    except (aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
        raise Unreachable(f"TLS with {server} failed: {error}") from error
    except aiohttp.ClientConnectorError as error:
        why = error.os_error.strerror or str(error.os_error)
        raise Unreachable(f"cannot connect to {server}: {why}") from error
    except (aiohttp.ClientError, OSError) as error:
        why = str(error) or type(error).__name__
        raise Unreachable(f"the connection to {server} broke ({what}): {why}") from error


def build_error(code: int, headers: Mapping[str, str], body: bytes) -> ApiStatusError:
    status = parse_status(body, code)
    return ApiStatusError(code, status.reason, status.message, _retry_after(headers, status))


def _retry_after(headers: Mapping[str, str], status: Status) -> float | None:
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    if status.details is not None and status.details.retry_after_seconds > 0:
        return float(status.details.retry_after_seconds)
    return None


def open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A TCP socket that notices within half a minute that its peer is gone, however idle its watch is."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    ):
        opened.setsockopt(level, option, value)
    return opened
