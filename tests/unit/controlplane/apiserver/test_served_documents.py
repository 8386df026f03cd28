"""Bytes of objects: encoding, versions stamped into them, lists around them, YAML as Kubernetes reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.apiserver.documents import (
    DocumentError,
    decode_json,
    decode_yaml,
    encode_object,
    join_list,
    read_text,
    restamp_version,
    stamp_version,
)
from controlplane.apiserver.kinds import CONFIG_MAP


def test_stored_bytes_have_no_version_and_served_ones_do() -> None:
    document = {
        "data": {"x": '"metadata":{"resourceVersion":"9"}'},
        "metadata": {"name": "a", "resourceVersion": "1"},
        "kind": "Other",
    }
    stored = encode_object(CONFIG_MAP, document)
    assert json.loads(stored) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "a"},
        "data": document["data"],
    }
    served = stamp_version(stored, 42)
    assert json.loads(served)["metadata"] == {"resourceVersion": "42", "name": "a"}
    assert json.loads(restamp_version(served, 107)) == json.loads(stamp_version(stored, 107))


def test_even_empty_metadata_takes_a_version() -> None:
    assert json.loads(stamp_version(b'{"kind":"x","metadata":{}}', 3))["metadata"] == {"resourceVersion": "3"}


def test_a_list_is_joined_from_bytes() -> None:
    joined = join_list("PodList", "v1", {"resourceVersion": "5"}, [b'{"a":1}', b'{"a":2}'])
    assert json.loads(joined) == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "5"},
        "items": [{"a": 1}, {"a": 2}],
    }
    assert json.loads(join_list("PodList", "v1", {}, []))["items"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("22:22", "22:22"),
        ("2026-01-02", "2026-01-02"),
        ("0x1F", 31),
        ("17", 17),
        ("1.5", 1.5),
        ("~", None),
    ],
)
def test_yaml_has_no_surprises(text: str, expected: Any) -> None:
    assert decode_yaml(f"a: {text}".encode()) == {"a": expected}


@pytest.mark.parametrize("body", [b"a: [", b"a: !!python/object:os.system {}", b"\xff\xfe\x00"])
def test_bad_yaml_is_a_sentence(body: bytes) -> None:
    with pytest.raises(DocumentError, match="not YAML"):
        decode_yaml(body)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_bad_json_is_a_sentence(body: bytes) -> None:
    with pytest.raises(DocumentError, match="not JSON"):
        decode_json(body)


def test_fields_are_compared_as_text() -> None:
    document = {"spec": {"unschedulable": True, "replicas": 3, "nodeName": "n"}}
    paths = (
        "spec.unschedulable",
        "spec.replicas",
        "spec.nodeName",
        "spec.none.deeper",
        "spec.nodeName.deeper",
    )
    assert [read_text(document, path) for path in paths] == ["true", "3", "n", "", ""]
