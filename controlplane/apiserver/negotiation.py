"""Content negotiation: what form an answer takes, and how a body is to be read.

Pure. Called by the HTTP layer. Objects travel as JSON or YAML; a list, an object or a watch may be asked
for as a Table (kubectl get) or as metadata only. Protocol buffers are read but not written, except for the
OpenAPI document. Follows "Alternate representations of resources" in the Kubernetes API concepts page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

JSON: Final = "application/json"
YAML: Final = "application/yaml"
OBJECT_MEDIA_TYPES: Final = (JSON, YAML)


class Shape(Enum):
    """What the objects of an answer are turned into."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"
    DISCOVERY_LIST = "APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str = JSON
    shape: Shape = Shape.OBJECT


_SHAPES_OF_GROUP: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("meta.k8s.io", "v1"): frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}),
    ("apidiscovery.k8s.io", "v2"): frozenset({"APIGroupDiscoveryList"}),
}
_WILDCARDS: Final = frozenset({"*/*", "application/*"})


def choose_format(accept: str) -> Format | None:
    """The first acceptable form that the client prefers most; None means 406."""
    if not accept.strip():
        return Format()
    for media_type, parameters in _preferred(accept):
        shape = _choose_shape(parameters)
        if shape is None:
            continue
        if media_type in _WILDCARDS:
            return Format(JSON, shape)
        if media_type in OBJECT_MEDIA_TYPES:
            return Format(media_type, shape)
    return None


def parse_content_type(header: str) -> str:
    """The media type without its parameters; a body without one is read as JSON."""
    return header.partition(";")[0].strip().lower() or JSON


def _choose_shape(parameters: Mapping[str, str]) -> Shape | None:
    kind = parameters.get("as", "")
    if not kind:
        return Shape.OBJECT
    served = _SHAPES_OF_GROUP.get((parameters.get("g", ""), parameters.get("v", "")), frozenset())
    return Shape(kind) if kind in served else None


def _preferred(accept: str) -> list[tuple[str, Mapping[str, str]]]:
    """The header's ranges, best first; equal weights keep their order."""
    ranges = list(_parse_ranges(accept))
    return sorted((each for each in ranges if _weight(each[1]) > 0), key=lambda each: -_weight(each[1]))


def _parse_ranges(accept: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for item in accept.split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        if media_type:
            yield media_type.lower(), {name.strip().lower(): value.strip('" ') for name, _, value in pairs}


def _weight(parameters: Mapping[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
