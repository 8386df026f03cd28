"""The objects in the files of the static pod directory: reading them, and putting the files together.

Pure. Called by `sources` with the text of each file. A file may hold several documents, and Lists of objects.
An object of a kind that can't be used here is named and left out; a file with a malformed object is refused
as a whole. What makes a pod of these different from the API's is in `static_pods`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
import yaml

from agent.pods.sources.static_pods import (
    ManifestError,
    ManifestRules,
    StaticPod,
    check_name,
    complete_pod,
    get_mapping,
)
from kubeapi.core import ConfigMap, Secret, Service
from kubeapi.meta import ObjectKey
from kubeapi.pod import PodUID

ManifestObject = StaticPod | ConfigMap | Secret | Service
FoundT = TypeVar("FoundT", bound=ManifestObject)

_VIEWS: Final[Mapping[str, type[ConfigMap] | type[Secret] | type[Service]]] = MappingProxyType(
    {"ConfigMap": ConfigMap, "Secret": Secret, "Service": Service}
)
_PEOPLE_WRITE: Final = ("namespace", "name", "labels", "annotations")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one file holds; `complaints` are sentences about what of it can't be used."""

    objects: tuple[ManifestObject, ...] = ()
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestObjects:
    """All files together."""

    pods: Mapping[PodUID, StaticPod] = field(default_factory=dict)
    config_maps: Mapping[ObjectKey, ConfigMap] = field(default_factory=dict)
    secrets: Mapping[ObjectKey, Secret] = field(default_factory=dict)
    services: Mapping[ObjectKey, Service] = field(default_factory=dict)


def parse_manifest(path: str, text: str, node_name: str, seen: str, rules: ManifestRules) -> Manifest:
    """The objects of one file, YAML or JSON; raises ManifestError when the file can't be used at all."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"{path} is neither YAML nor JSON ({_describe(error)}); mend it") from error
    except RecursionError as error:
        raise ManifestError(f"{path} is nested too deeply; that is no manifest") from error
    except (ValueError, TypeError, AttributeError) as error:
        # What PyYAML's constructors raise for a value that an explicit tag (!!int, !!timestamp) doesn't fit.
        raise ManifestError(f"{path} has a value that its tag doesn't fit; mend it") from error
    if not documents:
        raise ManifestError(f"{path} is empty; remove the file to end its pods")
    objects: list[ManifestObject] = []
    complaints = []
    for document in _iterate_objects(path, documents):
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        if kind not in {f"v1 {usable}" for usable in rules.kinds}:
            complaints.append(f"{path} holds a {kind}, but {rules.describe_kinds()}; take it out")
        else:
            objects.append(_parse_object(path, document, node_name, seen, rules))
    return Manifest(tuple(objects), tuple(complaints))


def _iterate_objects(path: str, documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for document in documents:
        if not isinstance(document, dict):
            raise ManifestError(f"{path} holds no Kubernetes object; write a Pod with apiVersion and kind")
        kind = str(document.get("kind", ""))
        if kind.endswith("List") and isinstance(items := document.get("items"), list):
            # Items of a typed list (PodList) may leave out what the list says.
            known = {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")}
            whole = [{**known, **item} if isinstance(item, dict) else item for item in items]
            yield from _iterate_objects(path, whole)
        else:
            yield _without_nulls(document)


def _without_nulls(value: Any) -> Any:
    """A null is a field that was left out."""
    match value:
        case dict():
            return {key: _without_nulls(each) for key, each in value.items() if each is not None}
        case list():
            return [_without_nulls(each) for each in value]
        case _:
            return value


def _parse_object(
    path: str, document: dict[str, Any], node_name: str, seen: str, rules: ManifestRules
) -> ManifestObject:
    kind = document["kind"]
    try:
        if kind == "Pod":
            return complete_pod(path, document, node_name, seen, rules)
        return _convert(path, kind, document)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{path} holds no valid {kind}: {error}") from error
    except TypeError as error:
        # A key that JSON doesn't have, such as a list.
        raise ManifestError(f"{path} has a key in its {kind} that is no text; put it in quotes") from error


def _convert(path: str, kind: str, document: dict[str, Any]) -> ConfigMap | Secret | Service:
    written = get_mapping(path, document, "metadata")
    check_name(path, kind, written.get("name"))
    check_name(path, "namespace", written.get("namespace") or "default")
    metadata = {"namespace": "default", **{key: written[key] for key in _PEOPLE_WRITE if written.get(key)}}
    found: ConfigMap | Secret | Service = msgspec.convert(
        {**document, "metadata": metadata}, _VIEWS[kind], strict=True
    )
    texts = document.get("stringData")
    if isinstance(found, Secret) and texts:
        plain = msgspec.convert(texts, dict[str, str], strict=True)
        data = {**found.data, **{key: text.encode() for key, text in plain.items()}}
        return msgspec.structs.replace(found, data=data)
    return found


# --- all files together -------------------------------------------------------------------------------------


def merge_manifests(manifests: Mapping[str, Manifest]) -> tuple[ManifestObjects, tuple[str, ...]]:
    """The objects of all files by path, and a sentence for each object whose name an earlier file has."""
    taken: dict[tuple[str, ObjectKey], tuple[str, ManifestObject]] = {}
    complaints = []
    for path in sorted(manifests):
        for found in manifests[path].objects:
            place = (_name_kind(found), found.pod.key if isinstance(found, StaticPod) else found.key)
            owner, _ = taken.setdefault(place, (path, found))
            if taken[place][1] is not found:
                kind, key = place
                complaints.append(
                    f"{path} has the {kind} {key}, which {owner} has already and which counts; rename one"
                )
    pods = {pod.pod.uid: pod for pod in _select(taken, StaticPod)}
    return (
        ManifestObjects(
            pods,
            {each.key: each for each in _select(taken, ConfigMap)},
            {each.key: each for each in _select(taken, Secret)},
            {each.key: each for each in _select(taken, Service)},
        ),
        tuple(complaints),
    )


def _select(
    taken: Mapping[tuple[str, ObjectKey], tuple[str, ManifestObject]], kind: type[FoundT]
) -> Iterator[FoundT]:
    return (found for _, found in taken.values() if isinstance(found, kind))


def _name_kind(found: ManifestObject) -> str:
    return "Pod" if isinstance(found, StaticPod) else type(found).__name__


# --- YAML ---------------------------------------------------------------------------------------------------


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "unreadable"
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)


class _Loader(yaml.CSafeLoader):
    """YAML 1.2's booleans and numbers, as Kubernetes reads them: `yes` and `22:22` are texts."""


def _build_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    patterns = (
        ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("tag:yaml.org,2002:int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
        (
            "tag:yaml.org,2002:float",
            r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
            "-+.0123456789",
        ),
        ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)$", "~nN\0"),
        ("tag:yaml.org,2002:merge", r"<<$", "<"),
    )
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in patterns:
        for character in first:
            resolvers.setdefault("" if character == "\0" else character, []).append(
                (tag, re.compile(pattern))
            )
    return resolvers


_Loader.yaml_implicit_resolvers = _build_resolvers()
