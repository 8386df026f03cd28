"""The interface against a statement of its wire format that was written down apart from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from cri_proto.runtime.v1 import api_pb2

FACTS: Final = Path(__file__).with_name("cri_v1_wire_facts.txt")
FILE: Final = api_pb2.DESCRIPTOR

SCALARS: Final = MappingProxyType(
    {
        FieldDescriptor.TYPE_BOOL: "bool",
        FieldDescriptor.TYPE_BYTES: "bytes",
        FieldDescriptor.TYPE_DOUBLE: "double",
        FieldDescriptor.TYPE_INT32: "int32",
        FieldDescriptor.TYPE_INT64: "int64",
        FieldDescriptor.TYPE_STRING: "string",
        FieldDescriptor.TYPE_UINT32: "uint32",
        FieldDescriptor.TYPE_UINT64: "uint64",
    }
)


def read_facts() -> dict[str, set[str]]:
    """Facts by kind; a field is told as `MESSAGE NUMBER NAME TYPE`."""
    facts: dict[str, set[str]] = {"rpc": set(), "enum": set(), "message": set(), "field": set()}
    message = ""
    for line in FACTS.read_text().splitlines():
        if line.startswith("  "):
            facts["field"].add(f"{message} {line.strip()}")
        elif line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            message = rest if kind == "message" else ""
            facts[kind].add(rest)
    return facts


def messages() -> Iterator[Descriptor]:
    """The messages of the interface, nested ones too, without the entries that maps are made of."""
    waiting = list(FILE.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        if not message.GetOptions().map_entry:
            yield message


def enums() -> Iterator[EnumDescriptor]:
    yield from FILE.enum_types_by_name.values()
    for message in messages():
        yield from message.enum_types


def short(full_name: str) -> str:
    return full_name.removeprefix("runtime.v1.")


def type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{type_of(key)}, {type_of(value)}>"
    if field.message_type is not None:
        name = short(field.message_type.full_name)
    elif field.enum_type is not None:
        name = short(field.enum_type.full_name)
    else:
        name = SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


def test_every_rpc() -> None:
    described = {
        f"{service.name}.{method.name} {short(method.input_type.full_name)} -> "
        + ("stream " if method.server_streaming else "")
        + short(method.output_type.full_name)
        for service in FILE.services_by_name.values()
        for method in service.methods
    }
    assert described == read_facts()["rpc"]


def test_no_rpc_takes_a_stream() -> None:
    for service in FILE.services_by_name.values():
        assert not any(method.client_streaming for method in service.methods)


def test_every_enum_value() -> None:
    described = {
        " ".join([short(enum.full_name), *(f"{value.name}={value.number}" for value in enum.values)])
        for enum in enums()
    }
    assert described == read_facts()["enum"]


def test_every_message() -> None:
    assert {short(message.full_name) for message in messages()} == read_facts()["message"]


def test_every_field() -> None:
    described = {
        f"{short(message.full_name)} {field.number} {field.name} {type_of(field)}"
        for message in messages()
        for field in message.fields
    }
    assert described == read_facts()["field"]


def test_no_field_has_presence_that_the_wire_does_not_know() -> None:
    """`optional` and `oneof` would change what runtimes see for a zero."""
    assert [message.full_name for message in messages() if message.oneofs] == []


def test_the_facts_are_all_there() -> None:
    facts = read_facts()
    assert {kind: len(each) for kind, each in facts.items()} == {
        "rpc": 41,
        "enum": 11,
        "message": 170,
        "field": 463,
    }


def test_packages() -> None:
    assert FILE.package == "runtime.v1"
    assert sorted(FILE.services_by_name) == ["ImageService", "RuntimeService"]
