"""Which files a configMap, secret, downwardAPI or projected volume holds.

Pure: the contents of ConfigMaps, Secrets and tokens arrive as arguments. Called by `source`; `atomic_writer`
puts the result on disk. Follows the "Volumes" and "Projected Volumes" pages and the kubelet's messages for
what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, assert_never

from agent.volumes.downward import FieldRefused, compute_field, compute_resource
from kubeapi.meta import QuantityText
from kubeapi.pod import Pod
from kubeapi.volume import DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection

DEFAULT_MODE: Final = 0o644
_OWNER_ONLY: Final = 0o600
_PROJECTIONS: Final = "use configMap, secret, downwardAPI or serviceAccountToken"
_MAX_PATH: Final = 4096
_MAX_COMPONENT: Final = 255


@dataclass(frozen=True, slots=True)
class ConfigMapRef:
    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SecretRef:
    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TokenRef:
    """A service-account token bound to the pod; an empty audience means the API server's own."""

    audience: str
    expiration_seconds: int


SourceRef = ConfigMapRef | SecretRef | TokenRef

TOKEN_KEY: Final = "token"
"""The key under which a token's contents are given for a TokenRef."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One file of a volume; the content never shows in a `repr`."""

    path: PurePosixPath
    content: bytes = field(repr=False)
    mode: int = DEFAULT_MODE
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeRefused:
    """Why the volume can't be filled now, in one sentence without secrets."""

    message: str


Contents = Mapping[SourceRef, Mapping[str, bytes] | None]
"""What each source holds; None: it doesn't exist."""


def list_sources(volume: Volume) -> tuple[SourceRef, ...]:
    """What must be read before the volume's files can be planned, each once."""
    return tuple(dict.fromkeys(part.source for part in _parts(volume) if isinstance(part, _Keys | _Token)))


def plan_volume_files(
    volume: Volume, pod: Pod, contents: Contents, allocatable: Mapping[str, QuantityText]
) -> tuple[VolumeFile, ...] | VolumeRefused:
    """The volume's files, sorted by path; of two sources that write one path the later wins."""
    files: dict[PurePosixPath, VolumeFile] = {}
    for part in _parts(volume):
        planned = _plan_part(part, pod, contents, allocatable)
        if isinstance(planned, VolumeRefused):
            return planned
        files.update((file.path, file) for file in planned)
    for path in files:
        if not _is_safe(path):
            return VolumeRefused(
                f"the path {str(path)!r} leaves the volume; use a relative path without '..'"
            )
        if any(parent in files for parent in path.parents):
            return VolumeRefused(
                f"the path {str(path)!r} lies below a path that is itself a file; rename one of them"
            )
    return tuple(files[path] for path in sorted(files))


# --- the parts of a volume: one for the simple kinds, several for a projected one ---------------------------


@dataclass(frozen=True, slots=True)
class _Keys:
    source: ConfigMapRef | SecretRef
    items: tuple[KeyToPath, ...]
    mode: int


@dataclass(frozen=True, slots=True)
class _Downward:
    items: tuple[DownwardAPIVolumeFile, ...]
    mode: int


@dataclass(frozen=True, slots=True)
class _Token:
    source: TokenRef
    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class _Refused:
    why: str


_Part = _Keys | _Downward | _Token | _Refused


def _parts(volume: Volume) -> Iterator[_Part]:
    if volume.config_map is not None:
        config_map = volume.config_map
        reference = ConfigMapRef(config_map.name, bool(config_map.optional))
        yield _Keys(reference, config_map.items, _mode(config_map.default_mode))
    elif volume.secret is not None:
        secret = volume.secret
        yield _Keys(
            SecretRef(secret.secret_name, bool(secret.optional)), secret.items, _mode(secret.default_mode)
        )
    elif volume.downward_api is not None:
        yield _Downward(volume.downward_api.items, _mode(volume.downward_api.default_mode))
    elif volume.projected is not None:
        mode = _mode(volume.projected.default_mode)
        for projection in volume.projected.sources:
            yield from _projected_parts(projection, mode)


def _projected_parts(projection: VolumeProjection, mode: int) -> Iterator[_Part]:
    if (config_map := projection.config_map) is not None:
        yield _Keys(ConfigMapRef(config_map.name, bool(config_map.optional)), config_map.items, mode)
    if (secret := projection.secret) is not None:
        yield _Keys(SecretRef(secret.name, bool(secret.optional)), secret.items, mode)
    if (downward := projection.downward_api) is not None:
        yield _Downward(downward.items, mode)
    if (token := projection.service_account_token) is not None:
        yield _Token(TokenRef(token.audience, token.expiration_seconds), token.path, mode)
    if not any((config_map, secret, downward, token)):
        yield _Refused(f"{_name_projection(projection)} isn't supported by this agent; {_PROJECTIONS}")


def _name_projection(projection: VolumeProjection) -> str:
    if projection.cluster_trust_bundle is not None:
        return "the projected source clusterTrustBundle"
    if projection.pod_certificate is not None:
        return "the projected source podCertificate"
    return "a projected source of an unknown kind"


def _mode(default_mode: int | None) -> int:
    return DEFAULT_MODE if default_mode is None else default_mode


# --- files of one part --------------------------------------------------------------------------------------


def _plan_part(
    part: _Part, pod: Pod, contents: Contents, allocatable: Mapping[str, QuantityText]
) -> tuple[VolumeFile, ...] | VolumeRefused:
    match part:
        case _Keys():
            return _plan_keys(part, contents)
        case _Downward():
            return _plan_downward(part, pod, allocatable)
        case _Token():
            return _plan_token(part, pod, contents)
        case _Refused():
            return VolumeRefused(part.why)
        case _:
            assert_never(part)


def _plan_keys(part: _Keys, contents: Contents) -> tuple[VolumeFile, ...] | VolumeRefused:
    data = contents.get(part.source)
    if data is None:
        missing = VolumeRefused(f'{_kind(part.source)} "{part.source.name}" not found')
        return () if part.source.optional else missing
    if not part.items:
        return tuple(VolumeFile(PurePosixPath(key), data[key], part.mode) for key in sorted(data))
    files = []
    for item in part.items:
        if item.key in data:
            mode = part.mode if item.mode is None else item.mode
            files.append(VolumeFile(PurePosixPath(item.path), data[item.key], mode))
        elif not part.source.optional:
            return VolumeRefused(_missing_key(part.source, item.key))
    return tuple(files)


def _missing_key(source: ConfigMapRef | SecretRef, key: str) -> str:
    noun = "config" if isinstance(source, ConfigMapRef) else "secret"
    return f'{_kind(source)} "{source.name}" references non-existent {noun} key: {key}'


def _kind(source: ConfigMapRef | SecretRef) -> str:
    return "configmap" if isinstance(source, ConfigMapRef) else "secret"


def _plan_downward(
    part: _Downward, pod: Pod, allocatable: Mapping[str, QuantityText]
) -> tuple[VolumeFile, ...] | VolumeRefused:
    files = []
    for item in part.items:
        value: str | FieldRefused
        if item.field_ref is not None:
            value = compute_field(pod, item.field_ref.field_path)
        elif item.resource_field_ref is not None:
            value = compute_resource(pod, item.resource_field_ref, allocatable)
        else:
            value = FieldRefused(f"the file {item.path!r} names neither fieldRef nor resourceFieldRef")
        if isinstance(value, FieldRefused):
            return VolumeRefused(value.message)
        mode = part.mode if item.mode is None else item.mode
        files.append(VolumeFile(PurePosixPath(item.path), value.encode(), mode))
    return tuple(files)


def _plan_token(part: _Token, pod: Pod, contents: Contents) -> tuple[VolumeFile, ...] | VolumeRefused:
    data = contents.get(part.source)
    if data is None:
        return VolumeRefused(f"no token for service account {pod.spec.service_account_name!r}")
    user_id = compute_sole_user(pod)
    has_fs_group = pod.spec.security_context is not None and pod.spec.security_context.fs_group is not None
    mode = _OWNER_ONLY if user_id is not None or has_fs_group else part.mode
    return (VolumeFile(PurePosixPath(part.path), data[TOKEN_KEY], mode, user_id),)


def compute_sole_user(pod: Pod) -> int | None:
    """The user that every container of the pod runs as by its spec, or None."""
    outer = pod.spec.security_context.run_as_user if pod.spec.security_context is not None else None
    users = {
        outer
        if container.security_context is None or container.security_context.run_as_user is None
        else container.security_context.run_as_user
        for container in (*pod.spec.init_containers, *pod.spec.containers)
    }
    return users.pop() if len(users) == 1 else None


def _is_safe(path: PurePosixPath) -> bool:
    """A path that a volume may hold: relative, no way up, and nothing that looks like the writer's own
    entries.
    """
    parts = path.parts
    return (
        bool(parts)
        and not path.is_absolute()
        and ".." not in parts
        and not parts[0].startswith("..")
        and len(str(path)) <= _MAX_PATH
        and all(len(part) <= _MAX_COMPONENT for part in parts)
    )
