"""The three patches of the Kubernetes API, on decoded documents.

Pure. Called by the API server's PATCH; what a patch may change is validation's business. JSON Patch is RFC
6902, merge patch RFC 7386, strategic merge patch Kubernetes' own (its page in the sig-api-machinery
documents).
"""

from __future__ import annotations

from controlplane.apiserver.patch.errors import PatchError, PatchNotApplicable
from controlplane.apiserver.patch.json_patch import apply_json_patch
from controlplane.apiserver.patch.merge_patch import apply_merge_patch
from controlplane.apiserver.patch.strategic_merge_patch import apply_strategic_merge_patch

__all__ = [
    "PatchError",
    "PatchNotApplicable",
    "apply_json_patch",
    "apply_merge_patch",
    "apply_strategic_merge_patch",
]
