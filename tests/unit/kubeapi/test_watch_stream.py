from __future__ import annotations

import pytest

from kubeapi.codec import decoder_for
from kubeapi.core import Node
from kubeapi.discovery import EndpointSlice
from kubeapi.errors import ApiStatusError, MalformedAnswer
from kubeapi.watch_stream import LineSplitter, WatchEventType, parse_watch_event

NODES = decoder_for(Node)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_whole_wherever_chunks_end(size: int) -> None:
    text = b"first\n\nsecond line\nthird\n"
    splitter = LineSplitter()
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    assert [line for chunk in chunks for line in splitter.feed(chunk)] == [b"first", b"second line", b"third"]


def test_a_line_without_end_is_refused() -> None:
    splitter = LineSplitter(maximum_bytes=10)
    assert list(splitter.feed(b"0123456789")) == []
    with pytest.raises(MalformedAnswer, match="larger than 10 bytes"):
        list(splitter.feed(b"0"))


def test_an_event() -> None:
    event = parse_watch_event(b'{"type":"MODIFIED","object":{"metadata":{"name":"n1"},"new":1}}', NODES)
    assert (event.type, event.object.metadata.name) == (WatchEventType.MODIFIED, "n1")


def test_a_bookmark_carries_the_version() -> None:
    line = b'{"type":"BOOKMARK","object":{"kind":"Node","metadata":{"resourceVersion":"12"}}}'
    event = parse_watch_event(line, NODES)
    assert (event.type, event.object.metadata.resource_version) == (WatchEventType.BOOKMARK, "12")


def test_an_error_is_raised() -> None:
    line = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
    with pytest.raises(ApiStatusError, match="too old") as raised:
        parse_watch_event(line, NODES)
    assert raised.value.is_gone


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"type":"ADDED"}', b'{"type":"OTHER","object":{}}', b'{"type":"ADDED","object":7}'],
)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="cannot be read"):
        parse_watch_event(line, NODES)


def test_a_null_is_a_field_left_out() -> None:
    document = b'{"metadata":{"name":"s","labels":null},"addressType":"IPv4","endpoints":null,"ports":null}'
    decoded = decoder_for(EndpointSlice).decode(document)
    assert (decoded.metadata.name, decoded.endpoints, decoded.ports) == ("s", (), ())
