"""What is sent for an upgrade, and how its answer is read."""

from __future__ import annotations

import pytest

from kubeapi.upgrade.messages import (
    MAXIMUM_BODY_BYTES,
    AnswerHead,
    UpgradeFailed,
    build_request_head,
    parse_answer_head,
    parse_body,
)


def _head(**headers: str) -> AnswerHead:
    return AnswerHead(403, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_the_request_has_the_backends_name_and_the_clients_upgrade() -> None:
    client = [("Host", "other"), ("Upgrade", "websocket"), ("X-Stream", "a"), ("X-Stream", "b")]
    assert build_request_head("GET", "/?x=1", "127.0.0.1:9", client) == (
        b"GET /?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9\r\nUpgrade: websocket\r\nX-Stream: a\r\nX-Stream: b\r\n\r\n"
    )


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Proxy-Authorization"])
def test_the_request_has_no_credentials(name: str) -> None:
    assert b"hush" not in build_request_head("GET", "/", "a:1", [(name, "hush")])


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Expect"])
def test_the_request_announces_no_body(name: str) -> None:
    assert name.encode() not in build_request_head("POST", "/", "a:1", [(name, "5")])


def test_header_values_keep_their_bytes() -> None:
    value = b"\xc3\xa9\xff".decode("utf-8", "surrogateescape")
    assert b"X-Name: \xc3\xa9\xff\r\n" in build_request_head("GET", "/", "a:1", [("X-Name", value)])


def test_a_head_is_read_once_it_is_there() -> None:
    text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade:  SPDY/3.1 \r\n\r\n"
    for cut in range(len(text)):
        assert parse_answer_head(text[:cut]) is None
    head = parse_answer_head(text + b"stream")
    assert head == AnswerHead(101, {"upgrade": "SPDY/3.1"}, text)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 10\r\n\r\n", b"\r\n\r\n"]
)
def test_what_is_no_http_is_refused(answer: bytes) -> None:
    with pytest.raises(UpgradeFailed, match="not HTTP"):
        parse_answer_head(answer)


def test_a_head_without_end_is_refused() -> None:
    assert parse_answer_head(b"x" * 60_000) is None
    with pytest.raises(UpgradeFailed, match="without end"):
        parse_answer_head(b"x" * 70_000)


@pytest.mark.parametrize(
    ("received", "body", "is_complete"),
    [(b"", b"", False), (b"abc", b"abc", False), (b"abcd", b"abcd", True), (b"abcdef", b"abcd", True)],
)
def test_a_body_of_known_length(received: bytes, body: bytes, is_complete: bool) -> None:
    assert parse_body(_head(content_length="4"), received) == (body, is_complete)


@pytest.mark.parametrize(
    ("received", "body", "is_complete"),
    [
        (b"", b"", False),
        (b"2\r\nn", b"n", False),
        (b"2\r\nno\r\n", b"no", False),
        (b"2;x=y\r\nno\r\n2\r\npe\r\n0\r\n\r\n", b"nope", True),
        (b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n0\r\n\r\n", True),
        (b"2\r\nno\r\n-5\r\nrubbish\r\n", b"no", True),
    ],
)
def test_a_body_in_chunks(received: bytes, body: bytes, is_complete: bool) -> None:
    assert parse_body(_head(transfer_encoding="Chunked"), received) == (body, is_complete)


def test_a_body_of_unknown_length_is_cut() -> None:
    assert parse_body(_head(), b"abc") == (b"abc", False)
    assert parse_body(_head(), b"x" * 100_000) == (b"x" * MAXIMUM_BODY_BYTES, True)
