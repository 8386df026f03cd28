"""Volumes of a pod (core/v1) as frozen views.

Pure. A source this project doesn't know leaves all fields None. Follows the Volume page of the API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kubeapi.meta import QuantityText, View


class KeyToPath(View, frozen=True, kw_only=True):
    key: str = ""
    path: str = ""
    mode: int | None = None


class EmptyDirVolumeSource(View, frozen=True, kw_only=True):
    medium: str = ""
    size_limit: QuantityText | None = None


class HostPathVolumeSource(View, frozen=True, kw_only=True):
    path: str = ""
    type: str = ""


class ConfigMapVolumeSource(View, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolumeSource(View, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class FieldRef(View, frozen=True, kw_only=True):
    api_version: str = "v1"
    field_path: str = ""


class ResourceFieldRef(View, frozen=True, kw_only=True):
    container_name: str = ""
    resource: str = ""
    divisor: QuantityText = "0"


class DownwardAPIVolumeFile(View, frozen=True, kw_only=True):
    path: str = ""
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardAPIVolumeSource(View, frozen=True, kw_only=True):
    items: tuple[DownwardAPIVolumeFile, ...] = ()
    default_mode: int | None = None


class ServiceAccountTokenProjection(View, frozen=True, kw_only=True):
    audience: str = ""
    expiration_seconds: int = 3600
    path: str = ""


class NamedProjection(View, frozen=True, kw_only=True):
    """A configMap or secret inside a projected volume."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class VolumeProjection(View, frozen=True, kw_only=True):
    config_map: NamedProjection | None = None
    secret: NamedProjection | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: Mapping[str, object] | None = None
    pod_certificate: Mapping[str, object] | None = None


class ProjectedVolumeSource(View, frozen=True, kw_only=True):
    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int | None = None


class PersistentVolumeClaimVolumeSource(View, frozen=True, kw_only=True):
    claim_name: str = ""
    read_only: bool = False


class ImageVolumeSource(View, frozen=True, kw_only=True):
    reference: str = ""
    pull_policy: str = ""


class Volume(View, frozen=True, kw_only=True):
    name: str = ""
    empty_dir: EmptyDirVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(default=None, name="downwardAPI")
    projected: ProjectedVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    image: ImageVolumeSource | None = None
    csi: Mapping[str, object] | None = None
    nfs: Mapping[str, object] | None = None
