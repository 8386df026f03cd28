"""Pods from manifests in a directory: reading them, and what makes them different from the API's.

Pure. Called by `sources` with the text of each file. The name gets the node's name as its end, and the uid
follows from the content, so that a changed file is another pod. Follows the "Create static Pods" page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import yaml

from agent.pods.goal import HASH_ANNOTATION, MIRROR_ANNOTATION, SEEN_ANNOTATION, SOURCE_ANNOTATION
from kubeapi.pod import Pod

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_MAX_NAME: Final = 253


class ManifestError(Exception):
    """One sentence: which file, what is wrong with it, what to do."""


@dataclass(frozen=True, slots=True)
class StaticPod:
    """`document` is the pod as a whole in JSON's own names, for the mirror pod."""

    pod: Pod
    document: Mapping[str, Any]


def parse_manifest(path: str, text: str, node_name: str, seen: str) -> tuple[StaticPod, ...]:
    """The pods of one file, YAML or JSON, of which a file usually holds one; raises ManifestError."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"{path} is neither YAML nor JSON ({_describe(error)}); mend it") from error
    return tuple(pod for document in documents for pod in _parse_document(path, document, node_name, seen))


def _parse_document(path: str, document: Any, node_name: str, seen: str) -> Iterator[StaticPod]:
    if not isinstance(document, dict):
        raise ManifestError(f"{path} holds no Kubernetes object; write a Pod with apiVersion and kind")
    if (document.get("apiVersion"), document.get("kind")) != ("v1", "Pod"):
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        raise ManifestError(f"{path} holds a {kind}, but only v1 Pods can be static; take it out")
    try:
        yield _complete(path, document, node_name, seen)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{path} is no valid Pod: {error}") from error


def _complete(path: str, document: dict[str, Any], node_name: str, seen: str) -> StaticPod:
    metadata = {**(document.get("metadata") or {})}
    name = metadata.get("name") or ""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) + len(node_name) >= _MAX_NAME:
        raise ManifestError(
            f"{path} names its Pod {name!r}, which is no DNS subdomain; "
            "use lower case letters, digits and '-'"
        )
    digest = _digest(document, node_name)
    metadata |= {
        "name": f"{name}-{node_name.lower()}",
        "namespace": metadata.get("namespace") or "default",
        "uid": digest,
        "annotations": {
            **(metadata.get("annotations") or {}),
            HASH_ANNOTATION: digest,
            SEEN_ANNOTATION: seen,
            SOURCE_ANNOTATION: "file",
        },
    }
    spec = {**(document.get("spec") or {}), "nodeName": node_name}
    whole = {**document, "metadata": metadata, "spec": _with_defaults(spec)}
    whole.pop("status", None)
    pod = msgspec.convert(whole, Pod, strict=True)
    _check(path, pod)
    return StaticPod(pod, whole)


def _check(path: str, pod: Pod) -> None:
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    names = [container.name for container in containers]
    if not pod.spec.containers:
        raise ManifestError(f"{path} has no containers; add at least one to spec.containers")
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise ManifestError(f"{path} has containers without a name of their own; name each differently")
    if not all(container.image for container in containers):
        raise ManifestError(f"{path} has a container without an image; name one")


def _with_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    """Static pods run whatever is tainted; the pull policy is what the API server would have set."""
    everything = {"operator": "Exists", "effect": "NoExecute"}
    tolerations = [*(spec.get("tolerations") or []), everything]
    return {**spec, "tolerations": tolerations}


def _digest(document: Mapping[str, Any], node_name: str) -> str:
    canonical = msgspec.json.encode([node_name, document], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:32]


def build_mirror_document(static: StaticPod, node_uid: str) -> Mapping[str, Any]:
    """The mirror pod to create: the same pod, owned by the node, without the uid that the API gives out
    itself.
    """
    metadata = {key: value for key, value in static.document["metadata"].items() if key != "uid"}
    digest = static.pod.metadata.uid
    metadata["annotations"] = {**metadata["annotations"], MIRROR_ANNOTATION: digest}
    if node_uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "name": static.pod.spec.node_name,
                "uid": node_uid,
                "controller": True,
            }
        ]
    return {**static.document, "metadata": metadata}


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
    )
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in patterns:
        for character in first:
            resolvers.setdefault("" if character == "\0" else character, []).append(
                (tag, re.compile(pattern))
            )
    return resolvers


_Loader.yaml_implicit_resolvers = _build_resolvers()
