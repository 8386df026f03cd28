"""Writes `numbers.py`: the protobuf field numbers of the API's types, as one compact table.

A development tool, run by hand when the Kubernetes version moves; it reads and writes files. The source is
any Go program that links the API's types, such as a kubectl: it carries the descriptors of its messages,
compressed. Only facts are taken: type names, field names, field numbers.

    python -m controlplane.apiserver.protobuf.generate /usr/bin/kubectl "Kubernetes 1.32"
"""

from __future__ import annotations

import sys
import textwrap
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from controlplane.apiserver.openapi.schema import ObjectSchema, read_schemas

_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
_LARGEST_DESCRIPTOR_BYTES: Final = 2_000_000
_PROTO_PREFIX: Final = "k8s.io."
_SCHEMA_PREFIX: Final = "io.k8s."
_JSON_NAMES: Final = {"uID": "uid"}
"""Where a field is called otherwise in JSON."""

_HEAD: Final = '''\
"""The protobuf field numbers of the API's types: made by `generate.py` from {version}; do not edit.

Pure data, read by `decode.py`. A line in brackets opens a package; each further line names a type and its
fields as name=number. A "~" and a type's name behind the number: the message's fields stand in JSON beside
the others.
"""

NUMBERS = """\\
{table}"""
'''


def read_descriptors(program: bytes) -> Iterator[FileDescriptorProto]:
    """The descriptors that a Go program carries."""
    position = program.find(_GZIP_HEAD)
    while position >= 0:
        try:
            text = zlib.decompressobj(31).decompress(program[position : position + _LARGEST_DESCRIPTOR_BYTES])
            descriptor = FileDescriptorProto.FromString(text)
        except (zlib.error, DecodeError):
            descriptor = FileDescriptorProto()
        if descriptor.package.startswith(_PROTO_PREFIX):
            yield descriptor
        position = program.find(_GZIP_HEAD, position + 1)


def render_numbers(files: Iterator[FileDescriptorProto], schemas: Mapping[str, ObjectSchema]) -> str:
    """The table for the types that have a schema, and for those that stand inline in them."""
    messages = {
        f"{_SCHEMA_PREFIX}{file.package.removeprefix(_PROTO_PREFIX)}.{message.name}": message
        for file in files
        for message in file.message_type
    }
    wanted = {name for name in schemas if name in messages}
    wanted |= {inline for name in wanted for inline in _list_inline(messages[name], schemas[name])}
    lines, package = [], ""
    for name in sorted(wanted):
        own_package, _, short = name.rpartition(".")
        if own_package != package:
            package = own_package
            lines.append(f"[{package}]")
        fields = " ".join(_render_field(field, schemas.get(name)) for field in messages[name].field)
        lines += textwrap.wrap(f"{short} {fields}", 108, subsequent_indent=" ", break_long_words=False)
    return "\n".join(lines) + "\n"


def _list_inline(message: DescriptorProto, schema: ObjectSchema) -> Iterator[str]:
    return (_schema_name(field) for field in message.field if _is_inline(field, schema))


def _is_inline(field: FieldDescriptorProto, schema: ObjectSchema | None) -> bool:
    return (
        schema is not None
        and field.type == FieldDescriptorProto.TYPE_MESSAGE
        and field.label != FieldDescriptorProto.LABEL_REPEATED
        and field.name not in schema.fields
        and field.name != "metadata"
    )


def _render_field(field: FieldDescriptorProto, schema: ObjectSchema | None) -> str:
    inline = f"~{field.type_name.rpartition('.')[2]}" if _is_inline(field, schema) else ""
    return f"{_JSON_NAMES.get(field.name, field.name)}={field.number}{inline}"


def _schema_name(field: FieldDescriptorProto) -> str:
    return _SCHEMA_PREFIX + field.type_name.lstrip(".").removeprefix(_PROTO_PREFIX)


def main() -> None:
    program, version = Path(sys.argv[1]), sys.argv[2]
    table = render_numbers(read_descriptors(program.read_bytes()), read_schemas())
    target = Path(__file__).with_name("numbers.py")
    target.write_text(_HEAD.format(version=version, table=table))


if __name__ == "__main__":
    main()
