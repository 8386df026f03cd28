"""Objects that come as protocol buffers: the same documents as in JSON, and no crash whatever the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.documents import DocumentError
from controlplane.apiserver.openapi.schema import read_schemas
from controlplane.apiserver.protobuf.decode import decode_protobuf
from controlplane.apiserver.protobuf.numbers import NUMBERS
from tests.unit.controlplane.apiserver.api_harness import Api

PROTOBUF = "application/vnd.kubernetes.protobuf"


def varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    text = b""
    while value >= 0x80:
        text += bytes([value & 0x7F | 0x80])
        value >>= 7
    return text + bytes([value])


def message(*fields: tuple[int, object]) -> bytes:
    """A message of texts, bytes, numbers and messages, by field number."""
    text = b""
    for number, value in fields:
        if isinstance(value, int):
            text += varint(number << 3) + varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            assert isinstance(content, bytes)
            text += varint(number << 3 | 2) + varint(len(content)) + content
    return text


def envelope(kind: str, content: bytes, api_version: str = "v1") -> bytes:
    return b"k8s\x00" + message((1, message((1, api_version), (2, kind))), (2, content), (3, ""), (4, ""))


def metadata(name: str) -> tuple[int, bytes]:
    # Go writes the plain fields of ObjectMeta even when they are zero.
    empty = ((2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (7, 0), (8, b""))
    return 1, message((1, name), *empty)


POD = envelope(
    "Pod",
    message(
        metadata("p"),
        (
            2,
            message(
                (
                    1,
                    message(
                        (1, "cfg"), (2, message((19, message((1, message((1, "settings"))), (3, 0o644)))))
                    ),
                ),
                (
                    2,
                    message(
                        (1, "main"),
                        (2, "web:1"),
                        (3, "sh"),
                        (3, "-c"),
                        (6, message((1, ""), (2, 0), (3, 80))),
                    ),
                ),
                (3, "Always"),
                (4, 0),
                (11, 0),
                (21, 0),
            ),
        ),
    ),
)


def test_a_pod_reads_as_its_json_does() -> None:
    assert decode_protobuf(POD) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {
            "volumes": [{"name": "cfg", "configMap": {"name": "settings", "defaultMode": 0o644}}],
            "containers": [
                {
                    "name": "main",
                    "image": "web:1",
                    "command": ["sh", "-c"],
                    "ports": [{"containerPort": 80}],
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
        },
    }


def test_maps_bytes_and_times_are_read() -> None:
    secret = message(
        (1, message((1, "s"), (8, message((1, 1767323045))))),
        (2, message((1, "k"), (2, b"\xff\x00"))),
        (3, "Opaque"),
        (4, message((1, "plain"), (2, "text"))),
    )
    assert decode_protobuf(envelope("Secret", secret)) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "data": {"k": "/wA="},
        "stringData": {"plain": "text"},
        "type": "Opaque",
    }


def test_integers_or_strings_and_quantities_are_read() -> None:
    port = message((1, "http"), (2, "TCP"), (3, 80), (4, message((1, 1), (2, 0), (3, "web"))), (5, 0))
    service = message(metadata("s"), (2, message((1, port))))
    document = decode_protobuf(envelope("Service", service))
    expected: Mapping[str, Any] = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}
    assert document["spec"]["ports"] == [expected]
    limits = message((1, message((1, "cpu"), (2, message((1, "250m"))))))
    pod = message(metadata("p"), (2, message((2, message((1, "c"), (8, limits))))))
    resources = decode_protobuf(envelope("Pod", pod))["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "250m"}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not protobuf",
        b"k8s\x00",
        b"k8s\x00\x0a\xff",
        envelope("Widget", b""),
        envelope("Pod", b"\x0a\x05ab"),
        envelope("Pod", b"\x08\x01"),
        envelope("Pod", b"\x0b"),
        envelope("Pod", b"\xff" * 12),
    ],
)
def test_other_bytes_are_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(DocumentError):
        decode_protobuf(body)


@given(st.data())
def test_damaged_bodies_never_crash(data: st.DataObject) -> None:
    position = data.draw(st.integers(4, len(POD) - 1))
    value = data.draw(st.integers(0, 255))
    body = bytearray(POD)
    body[position] = value
    try:
        assert isinstance(decode_protobuf(bytes(body[: data.draw(st.integers(4, len(POD)))])), dict)
    except DocumentError:
        return


def test_every_type_of_the_table_has_a_schema_or_stands_inline() -> None:
    inline = {token.partition("~")[2] for token in NUMBERS.split() if "~" in token}
    names = {name.rpartition(".")[2] for name in read_schemas()}
    lines = NUMBERS.replace("\n ", " ").splitlines()
    types = {line.split()[0] for line in lines if not line.startswith("[")}
    assert types <= names | inline
    assert {"Pod", "ObjectMeta", "Deployment", "Lease", "DeleteOptions"} <= types


async def test_the_server_takes_them(api: Api) -> None:
    path = "/api/v1/namespaces/default/pods"
    created = await api.create(path, POD, content_type=PROTOBUF)
    assert created["spec"]["terminationGracePeriodSeconds"] == 0
    assert created["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert (await api.call("POST", path, b"k8s\x00\xff", content_type=PROTOBUF)).status == 400
    options = envelope("DeleteOptions", message((1, 0)))
    assert (await api.call("DELETE", f"{path}/p", options, content_type=PROTOBUF)).status == 200
