"""The OpenAPI documents: what kubectl looks for in them, and that they hold together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.apiserver.openapi import (
    build_openapi_v2,
    build_openapi_v3,
    build_openapi_v3_index,
    encode_openapi_v2,
)
from controlplane.apiserver.openapi.merge_keys import PATCH_STRATEGIES
from controlplane.apiserver.openapi.schema import (
    ListOf,
    MapOf,
    Reference,
    Scalar,
    find_kind_schema,
    find_schema,
    parse_facts,
    read_schemas,
)


@dataclass(frozen=True, slots=True)
class Subresource:
    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    subresources: tuple[Subresource, ...] = ()


KINDS = (
    Kind("", "v1", "Pod", "pods", subresources=(Subresource("status", "Pod", ("get", "patch", "update")),
                                                 Subresource("exec", "PodExecOptions", ("create", "get")))),
    Kind("", "v1", "Node", "nodes", namespaced=False),
    Kind("apps", "v1", "Deployment", "deployments",
         subresources=(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling"),)),
    Kind("example.com", "v1", "Widget", "widgets"),
)  # fmt: skip
POD = "io.k8s.api.core.v1.Pod"
V2 = build_openapi_v2(KINDS)
V3 = build_openapi_v3(KINDS)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def operations(paths: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in paths.items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def test_every_reference_of_version_2_leads_somewhere() -> None:
    targets = {f"#/definitions/{name}" for name in V2["definitions"]}
    assert set(references(V2)) <= targets


@pytest.mark.parametrize("path", V3)
def test_every_reference_of_version_3_leads_somewhere(path: str) -> None:
    document = V3[path]
    targets = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= targets


def test_a_definition() -> None:
    definition = V2["definitions"]["io.k8s.api.core.v1.ContainerPort"]
    assert definition == {
        "type": "object",
        "properties": {
            "containerPort": {"type": "integer", "format": "int64"},
            "hostIP": {"type": "string"},
            "hostPort": {"type": "integer", "format": "int64"},
            "name": {"type": "string"},
            "protocol": {"type": "string"},
        },
        "required": ["containerPort"],
    }


def test_kinds_are_marked_with_their_group_version_and_kind() -> None:
    mark = "x-kubernetes-group-version-kind"
    assert V2["definitions"][POD][mark] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert V2["definitions"][f"{POD}List"][mark] == [{"group": "", "kind": "PodList", "version": "v1"}]
    scale = V3["apis/apps/v1"]["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"]
    assert scale[mark] == [{"group": "autoscaling", "kind": "Scale", "version": "v1"}]


def test_merge_keys_travel_along() -> None:
    containers = V2["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    volumes = V2["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"]
    assert volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    schemas = V3["apis/apps/v1"]["components"]["schemas"]
    strategy = schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert strategy == {
        "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}],
        "x-kubernetes-patch-strategy": "retainKeys",
    }


@pytest.mark.parametrize("parameter", ["dryRun", "fieldValidation", "fieldManager"])
def test_patch_says_which_parameters_it_knows(parameter: str) -> None:
    """What kubectl looks for before it leaves validation or a dry run to the server."""
    for document in (V2, V3["api/v1"]):
        patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
        assert patch["x-kubernetes-group-version-kind"] == {"group": "", "kind": "Pod", "version": "v1"}
        assert [item for item in patch["parameters"] if item["name"] == parameter and item["in"] == "query"]


def test_paths() -> None:
    assert set(V3["api/v1"]["paths"]) == {
        "/api/v1/pods",
        "/api/v1/namespaces/{namespace}/pods",
        "/api/v1/namespaces/{namespace}/pods/{name}",
        "/api/v1/namespaces/{namespace}/pods/{name}/exec",
        "/api/v1/namespaces/{namespace}/pods/{name}/status",
        "/api/v1/nodes",
        "/api/v1/nodes/{name}",
    }
    assert set(V3["api/v1"]["paths"]["/api/v1/pods"]) == {"get", "parameters"} - {"parameters"}
    assert set(
        V3["apis/apps/v1"]["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
    ) == {
        "parameters",
        "get",
        "put",
        "patch",
    }


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in operations(V2["paths"])]
    assert len(names) == len(set(names))


def test_path_parameters_are_those_of_the_path() -> None:
    for path, item in V2["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", ())}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_the_index_changes_with_the_documents() -> None:
    index = build_openapi_v3_index(V3)["paths"]
    assert set(index) == {"api/v1", "apis/apps/v1", "apis/example.com/v1"}
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    other = build_openapi_v3_index(build_openapi_v3(KINDS[1:]))["paths"]
    assert other["api/v1"] != index["api/v1"]
    assert other["apis/apps/v1"] == index["apis/apps/v1"]


def test_a_kind_without_schema_is_any_object() -> None:
    assert V3["apis/example.com/v1"]["components"]["schemas"]["Widget"]["type"] == "object"


# --- protobuf


def decode(message: bytes) -> dict[int, list[Any]]:
    """The fields of one protobuf message: numbers to varints and byte strings."""
    fields: dict[int, list[Any]] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        key = varint()
        if key & 7 == 0:
            fields.setdefault(key >> 3, []).append(varint())
        else:
            assert key & 7 == 2
            length = varint()
            fields.setdefault(key >> 3, []).append(message[position : position + length])
            position += length
    assert position == len(message)
    return fields


def named(entries: list[bytes]) -> dict[str, dict[int, list[Any]]]:
    decoded = [decode(entry) for entry in entries]
    return {entry[1][0].decode(): decode(entry[2][0]) for entry in decoded}


def test_the_message_holds_all_definitions() -> None:
    document = decode(encode_openapi_v2(V2))
    assert document[1] == [b"2.0"]
    definitions = named(decode(document[9][0])[1])
    assert set(definitions) == set(V2["definitions"])


def test_a_definition_in_the_message() -> None:
    definitions = named(decode(decode(encode_openapi_v2(V2))[9][0])[1])
    spec = definitions["io.k8s.api.core.v1.PodSpec"]
    assert decode(spec[22][0])[1] == [b"object"]
    assert spec[19] == [b"containers"]
    properties = named(decode(spec[25][0])[1])
    containers = properties["containers"]
    assert decode(containers[22][0])[1] == [b"array"]
    items = decode(decode(containers[23][0])[1][0])
    assert items[1] == [b"#/definitions/io.k8s.api.core.v1.Container"]
    extensions = {name: any_value[2][0].decode() for name, any_value in named(containers[31]).items()}
    assert extensions == {"x-kubernetes-patch-merge-key": '"name"', "x-kubernetes-patch-strategy": '"merge"'}
    selector = properties["nodeSelector"]
    assert decode(decode(decode(selector[21][0])[1][0])[22][0])[1] == [b"string"]


def test_an_operation_in_the_message() -> None:
    paths = named(decode(decode(encode_openapi_v2(V2))[8][0])[2])
    assert set(paths) == set(V2["paths"])
    patch = decode(paths["/api/v1/namespaces/{namespace}/pods/{name}"][8][0])
    query = [decode(decode(item)[1][0]) for item in patch[8]]
    names = {decode(decode(item[2][0])[3][0])[4][0] for item in query if 2 in item}
    assert names >= {b"dryRun", b"fieldValidation"}
    extensions = {name: value[2][0].decode() for name, value in named(patch[13]).items()}
    assert extensions["x-kubernetes-action"] == '"patch"'


# --- the table


def test_every_type_referred_to_is_in_the_table() -> None:
    for schema in read_schemas().values():
        for field in schema.fields.values():
            kind = field.type
            while isinstance(kind, ListOf | MapOf):
                kind = kind.item
            if isinstance(kind, Reference):
                assert find_schema(kind.name)


def test_every_merge_key_is_a_field_of_its_items() -> None:
    for type_name, fields in PATCH_STRATEGIES.items():
        schema = find_schema(type_name)
        for field_name, strategy in fields.items():
            kind = schema.fields[field_name].type
            if not strategy.merge:
                assert isinstance(kind, Reference)
            elif strategy.merge_key:
                assert isinstance(kind, ListOf)
                assert isinstance(kind.item, Reference)
                assert strategy.merge_key in find_schema(kind.item.name).fields
            else:
                assert kind == ListOf(Scalar.STRING)


@pytest.mark.parametrize(
    "kind",
    ["Pod", "Node", "Service", "EndpointSlice", "Deployment", "ReplicaSet", "ConfigMap", "Secret",
     "ServiceAccount", "Namespace", "Endpoints", "Event", "Lease", "Binding", "Scale", "Eviction"],
)  # fmt: skip
def test_every_served_kind_has_a_schema(kind: str) -> None:
    schema = find_kind_schema(kind)
    assert schema is not None
    assert {"apiVersion", "kind", "metadata"} <= schema.fields.keys()


def test_the_notation_of_the_table() -> None:
    schemas = {
        schema.name: schema
        for schema in parse_facts("[a.v1]\nThing\n x=[]string! y={}Other\n z=b.v1.It\nOther\n")
    }
    fields = schemas["a.v1.Thing"].fields
    assert (fields["x"].type, fields["x"].required) == (ListOf(Scalar.STRING), True)
    assert fields["y"].type == MapOf(Reference("a.v1.Other"))
    assert fields["z"].type == Reference("b.v1.It")
    assert schemas["a.v1.Other"].fields == {}


def test_a_broken_table_is_refused() -> None:
    with pytest.raises(ValueError, match="which is no name=type"):
        list(parse_facts("[a]\nThing\n nonsense\n"))
