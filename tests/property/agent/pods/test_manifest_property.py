"""Whatever a file in the directory holds: objects, or one sentence that names the file."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.pods.sources.manifests import merge_manifests, parse_manifest
from agent.pods.sources.static_pods import ALONE, ManifestError

SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "web", "v1", "Pod", "A b", "\x00"])
)
KEYS = st.sampled_from(
    ["name", "namespace", "annotations", "labels", "containers", "volumes", "image", "data", "ports", "env"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.fixed_dictionaries(
    {
        "apiVersion": st.just("v1"),
        "kind": st.sampled_from(["Pod", "ConfigMap", "Secret", "Service", "List", 3]),
    },
    optional={"metadata": VALUES, "spec": VALUES, "data": VALUES, "stringData": VALUES, "items": VALUES},
)


def read(text: str) -> str:
    """The complaint about it, if there is one."""
    try:
        manifest = parse_manifest("/m/x.yaml", text, "n1", "2026-01-02T03:04:05Z", ALONE)
    except ManifestError as error:
        return str(error)
    merge_manifests({"/m/x.yaml": manifest, "/m/y.yaml": manifest})
    return ""


def is_one_sentence(complaint: str) -> bool:
    return not complaint or ("/m/x.yaml" in complaint and "\n" not in complaint)


@given(OBJECTS | VALUES)
def test_any_document_is_objects_or_one_sentence(document: Any) -> None:
    assert is_one_sentence(read(msgspec.json.encode(document).decode()))


@given(st.text(alphabet="{}[]:-!&*,\"'\n \tab1~|>#", max_size=40))
def test_any_text_is_objects_or_one_sentence(text: str) -> None:
    assert is_one_sentence(read(text))
