"""Defaults of a pod's volumes.

Pure; changes the documents it is given, which the caller has just made. Called for pods and pod templates.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.defaults.containers import choose_image_pull_policy, default_field_reference
from controlplane.apiserver.openapi.schema import Document

_FILE_MODE: Final = 0o644
_TOKEN_SECONDS: Final = 3600
_MODED_SOURCES: Final = ("secret", "configMap", "downwardAPI", "projected")


def default_volume(volume: Document) -> None:
    """Defaults of one volume; without a source it is an emptyDir."""
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in _MODED_SOURCES:
        if source in volume:
            volume[source].setdefault("defaultMode", _FILE_MODE)
    for item in volume.get("downwardAPI", {}).get("items", ()):
        default_field_reference(item)
    for source in volume.get("projected", {}).get("sources", ()):
        _default_projection(source)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "image" in volume:
        image = volume["image"]
        image.setdefault("pullPolicy", choose_image_pull_policy(image.get("reference", "")))
    if "iscsi" in volume:
        volume["iscsi"].setdefault("iscsiInterface", "default")
    if "ephemeral" in volume:
        claim = volume["ephemeral"].get("volumeClaimTemplate", {})
        claim.get("spec", {}).setdefault("volumeMode", "Filesystem")


def _default_projection(source: Document) -> None:
    if "serviceAccountToken" in source:
        token = source["serviceAccountToken"]
        token["expirationSeconds"] = token.get("expirationSeconds") or _TOKEN_SECONDS
    for item in source.get("downwardAPI", {}).get("items", ()):
        default_field_reference(item)
