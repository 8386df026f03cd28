"""Reads objects that clients send as protocol buffers: kubectl create and the kubelet prefer them to JSON.

Pure. Called by `body_decoding`. The result is the document that the same object is in JSON. Types come from
the kinds' schemas, field numbers from `numbers`. Go's encoder writes plain fields even when they are zero,
which JSON leaves out: what is known to be plain and zero vanishes, what may be a chosen zero stays. Follows
"Kubernetes Protobuf encoding" in the API concepts page and the protocol buffers' encoding page.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final, assert_never

from controlplane.apiserver.documents import Document, DocumentError, decode_json
from controlplane.apiserver.openapi.schema import (
    FieldType,
    ListOf,
    MapOf,
    ObjectSchema,
    Reference,
    Scalar,
    find_kind_schema,
    find_schema,
)
from controlplane.apiserver.protobuf.numbers import NUMBERS
from kubeapi.meta import format_micro_time, format_time

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\x00"

_DEPTH_LIMIT: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# A zero in one of these was chosen; any other whole number's zero means that it was not given.
_CHOSEN_ZEROS: Final = frozenset(
    {
        "activeDeadlineSeconds",
        "defaultMode",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "gracePeriodSeconds",
        "mode",
        "priority",
        "progressDeadlineSeconds",
        "replicas",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsUser",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
        "value",
    }
)
# A false in one of these means that it was not given; any other false was chosen.
_UNSET_FALSES: Final = frozenset(
    {
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "paused",
        "publishNotReadyAddresses",
        "readOnly",
        "stdin",
        "stdinOnce",
        "tty",
        "unschedulable",
    }
)


@dataclass(frozen=True, slots=True)
class _Member:
    """What a field number stands for; `inline` names the message whose fields stand beside the others."""

    name: str
    inline: str = ""


def decode_protobuf(body: bytes) -> Document:
    """The document in an enveloped object; DocumentError if it is none or of a kind without schema."""
    if not body.startswith(MAGIC):
        raise DocumentError("the body is not protobuf as Kubernetes writes it: its first bytes differ")
    try:
        return _decode_envelope(body[len(MAGIC) :])
    except (ValueError, IndexError, struct.error, OverflowError) as error:
        raise DocumentError(f"the body is not well-formed protobuf: {error}") from error


def _decode_envelope(body: bytes) -> Document:
    parts = {number: value for number, value in _read_fields(body) if isinstance(value, bytes)}
    if parts.get(3):
        raise DocumentError("the body is compressed, which is not supported")
    names = {number: _text(value) for number, value in _read_fields(parts.get(1, b""))}
    kind = names.get(2, "")
    if parts.get(4) == b"application/json":
        document = decode_json(parts.get(2, b""))
        return document if isinstance(document, dict) else {}
    schema = find_kind_schema(kind)
    if schema is None or schema.name not in _members():
        raise DocumentError(f"there is no {kind or 'kind'} that can be read from protobuf; send JSON")
    document = _read_message(parts.get(2, b""), schema.name, schema, 0)
    return {"kind": kind, "apiVersion": names.get(1, ""), **document}


def _read_message(body: bytes, type_name: str, schema: ObjectSchema, depth: int) -> Document:
    if depth > _DEPTH_LIMIT:
        raise ValueError(f"messages are nested deeper than {_DEPTH_LIMIT} levels")
    document: Document = {}
    members = _members()[type_name]
    for number, value in _read_fields(body):
        member = members.get(number)
        if member is None:
            continue
        if member.inline:
            document.update(_read_message(_bytes(value), member.inline, schema, depth + 1))
        elif member.name in schema.fields:
            _add(document, member.name, schema.fields[member.name].type, value, depth)
    return document


def _add(document: Document, name: str, kind: FieldType, value: int | bytes, depth: int) -> None:
    match kind:
        case ListOf():
            document.setdefault(name, []).extend(_read_items(kind, value, depth))
        case MapOf():
            entry = dict(_read_fields(_bytes(value)))
            key = _text(entry.get(1, b""))
            document.setdefault(name, {})[key] = _read_value(kind.item, entry.get(2, b""), depth)
        case Reference() | Scalar():
            read = _read_value(kind, value, depth)
            if not _means_absent(name, read):
                document[name] = read
        case _:
            assert_never(kind)


def _read_items(kind: ListOf, value: int | bytes, depth: int) -> Iterator[Any]:
    if kind.item is Scalar.INTEGER and isinstance(value, bytes):
        position = 0
        while position < len(value):
            number, position = _read_varint(value, position)
            yield _signed(number)
    else:
        yield _read_value(kind.item, value, depth)


def _means_absent(name: str, value: Any) -> bool:
    match value:
        case None | "":
            return True
        case bool():
            return not value and name in _UNSET_FALSES
        case int():
            return value == 0 and name not in _CHOSEN_ZEROS
        case _:
            return False


def _read_value(kind: FieldType, value: int | bytes, depth: int) -> Any:
    match kind:
        case Reference():
            schema = find_schema(kind.name)
            return _read_message(_bytes(value), schema.name, schema, depth + 1)
        case Scalar():
            return _SCALARS[kind](value)
        case ListOf() | MapOf():
            raise ValueError("a list of lists has no protobuf form")
        case _:
            assert_never(kind)


# --- scalars ------------------------------------------------------------------------------------------------


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a text or a message belongs")
    return value


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text stands where a number belongs")
    return _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _boolean(value: int | bytes) -> bool:
    return bool(_integer(value))


def _number(value: int | bytes) -> float:
    if isinstance(value, bytes):
        raise ValueError("a text stands where a number belongs")
    return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])


def _wrapped_text(value: int | bytes) -> str:
    """A Quantity: a message around its text."""
    return _text(dict(_read_fields(_bytes(value))).get(1, b""))


def _int_or_string(value: int | bytes) -> int | str:
    fields = dict(_read_fields(_bytes(value)))
    return _text(fields.get(3, b"")) if _integer(fields.get(1, 0)) == 1 else _integer(fields.get(2, 0))


def _instant(value: int | bytes) -> datetime | None:
    """Seconds and nanoseconds since 1970; an empty message is the zero time, which JSON calls null."""
    fields = dict(_read_fields(_bytes(value)))
    if not fields:
        return None
    microseconds = _integer(fields.get(2, 0)) // 1000
    return _EPOCH + timedelta(seconds=_integer(fields.get(1, 0)), microseconds=microseconds)


def _time(value: int | bytes) -> str | None:
    instant = _instant(value)
    return None if instant is None else format_time(instant)


def _micro_time(value: int | bytes) -> str | None:
    instant = _instant(value)
    return None if instant is None else format_micro_time(instant)


def _raw_object(value: int | bytes) -> Any:
    """A RawExtension or FieldsV1: JSON within."""
    raw = _bytes(dict(_read_fields(_bytes(value))).get(1, b""))
    return decode_json(raw) if raw else None


_SCALARS: Final[Mapping[Scalar, Callable[[int | bytes], Any]]] = MappingProxyType(
    {
        Scalar.STRING: _text,
        Scalar.INTEGER: _integer,
        Scalar.BOOLEAN: _boolean,
        Scalar.NUMBER: _number,
        Scalar.BYTES: lambda value: base64.b64encode(_bytes(value)).decode("ascii"),
        Scalar.TIME: _time,
        Scalar.MICRO_TIME: _micro_time,
        Scalar.QUANTITY: _wrapped_text,
        Scalar.INT_OR_STRING: _int_or_string,
        Scalar.OBJECT: _raw_object,
    }
)

# --- the wire -----------------------------------------------------------------------------------------------


def _read_fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: numbers as they are, everything else as bytes."""
    position = 0
    while position < len(body):
        tag, position = _read_varint(body, position)
        match tag & 7:
            case 0:
                value, position = _read_varint(body, position)
                yield tag >> 3, value
            case 2:
                length, position = _read_varint(body, position)
                yield tag >> 3, _slice(body, position, length)
                position += length
            case 1:
                yield tag >> 3, int.from_bytes(_slice(body, position, 8), "little")
                position += 8
            case 5:
                yield tag >> 3, int.from_bytes(_slice(body, position, 4), "little")
                position += 4
            case other:
                raise ValueError(f"there is no wire type {other}")


def _slice(body: bytes, position: int, length: int) -> bytes:
    if position + length > len(body):
        raise ValueError("it ends within a field")
    return body[position : position + length]


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = body[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


# --- the table ----------------------------------------------------------------------------------------------


@cache
def _members() -> Mapping[str, Mapping[int, _Member]]:
    """Field numbers by type."""
    return MappingProxyType(dict(_parse_numbers(NUMBERS)))


def _parse_numbers(text: str) -> Iterator[tuple[str, Mapping[int, _Member]]]:
    package = ""
    for line in text.replace("\n ", " ").splitlines():
        if line.startswith("["):
            package = line.strip("[]")
            continue
        name, *tokens = line.split()
        yield f"{package}.{name}", MappingProxyType(dict(_parse_member(each, package) for each in tokens))


def _parse_member(token: str, package: str) -> tuple[int, _Member]:
    name, _, rest = token.partition("=")
    number, _, inline = rest.partition("~")
    return int(number), _Member(name, f"{package}.{inline}" if inline else "")
