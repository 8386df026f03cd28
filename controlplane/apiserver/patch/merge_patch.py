"""JSON Merge Patch: objects merge, null deletes, everything else replaces.

Pure; the document given is never changed. Follows RFC 7386.
"""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.patch.errors import require_depth


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """The document merged with the patch; PatchError only when the patch nests absurdly deep."""
    return _merge(document, patch, 0)


def _merge(document: Any, patch: Any, depth: int) -> Any:
    require_depth(depth)
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value, depth + 1)
    return merged
