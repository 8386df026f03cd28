"""Which files a volume of files holds: the plan, one changed fact at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

from agent.volumes.files import (
    ConfigMapRef,
    SecretRef,
    SourceRef,
    TokenRef,
    VolumeFile,
    VolumeRefused,
    list_sources,
    plan_volume_files,
)
from kubeapi.pod import PodSecurityContext, ResourceRequirements, SecurityContext
from kubeapi.volume import (
    ConfigMapVolumeSource,
    DownwardAPIVolumeFile,
    DownwardAPIVolumeSource,
    FieldRef,
    KeyToPath,
    NamedProjection,
    ProjectedVolumeSource,
    ResourceFieldRef,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from tests.builders import container, pod

_DATA = {"a": b"one", "b": b"two"}
_CONTENTS: Mapping[SourceRef, Mapping[str, bytes] | None] = {ConfigMapRef("settings"): _DATA}


def _volume(**source: Any) -> Volume:
    return Volume(name="v", config_map=ConfigMapVolumeSource(name="settings", **source))


def _plan(volume: Volume, contents: Mapping[SourceRef, Mapping[str, bytes] | None] = _CONTENTS) -> object:
    return plan_volume_files(volume, pod(), contents, {"cpu": "4", "memory": "8Gi"})


def test_a_config_map_becomes_one_file_for_each_key() -> None:
    assert _plan(_volume()) == (
        VolumeFile(PurePosixPath("a"), b"one", 0o644),
        VolumeFile(PurePosixPath("b"), b"two", 0o644),
    )
    assert list_sources(_volume()) == (ConfigMapRef("settings"),)


def test_items_choose_paths_and_modes() -> None:
    items = (KeyToPath(key="b", path="deep/er/b", mode=0o400), KeyToPath(key="a", path="x"))
    assert _plan(_volume(items=items, default_mode=0o600)) == (
        VolumeFile(PurePosixPath("deep/er/b"), b"two", 0o400),
        VolumeFile(PurePosixPath("x"), b"one", 0o600),
    )


def test_a_missing_config_map_is_named_unless_it_is_optional() -> None:
    refused = _plan(_volume(), {ConfigMapRef("settings"): None})
    assert refused == VolumeRefused('configmap "settings" not found')
    assert _plan(_volume(optional=True), {ConfigMapRef("settings", optional=True): None}) == ()


def test_a_missing_key_is_named_unless_the_source_is_optional() -> None:
    items = (KeyToPath(key="c", path="c"),)
    assert _plan(_volume(items=items)) == VolumeRefused(
        'configmap "settings" references non-existent config key: c'
    )
    assert _plan(_volume(items=items, optional=True), {ConfigMapRef("settings", optional=True): _DATA}) == ()


@pytest.mark.parametrize("path", ["../up", "a/../../b", "/etc/passwd", "..data/x", "x" * 256])
def test_a_path_that_leaves_the_volume_is_refused(path: str) -> None:
    planned = _plan(_volume(items=(KeyToPath(key="a", path=path),)))
    assert isinstance(planned, VolumeRefused)
    assert "leaves the volume" in planned.message


def test_a_file_below_a_file_is_refused() -> None:
    items = (KeyToPath(key="a", path="x"), KeyToPath(key="b", path="x/y"))
    assert isinstance(_plan(_volume(items=items)), VolumeRefused)


def test_a_secret_never_shows_in_a_repr() -> None:
    volume = Volume(name="v", secret=SecretVolumeSource(secret_name="s", default_mode=0o400))
    planned = _plan(volume, {SecretRef("s"): {"password": b"hunter2"}})
    assert planned == (VolumeFile(PurePosixPath("password"), b"hunter2", 0o400),)
    assert "hunter2" not in repr(planned)


def test_the_downward_api_offers_the_pods_fields_and_resources() -> None:
    items = (
        DownwardAPIVolumeFile(path="labels", field_ref=FieldRef(field_path="metadata.labels")),
        DownwardAPIVolumeFile(path="app", field_ref=FieldRef(field_path="metadata.labels['app']")),
        DownwardAPIVolumeFile(
            path="cpu",
            resource_field_ref=ResourceFieldRef(container_name="web", resource="limits.cpu", divisor="1m"),
        ),
        DownwardAPIVolumeFile(
            path="memory",
            resource_field_ref=ResourceFieldRef(
                container_name="web", resource="limits.memory", divisor="1Mi"
            ),
        ),
    )
    subject = pod(
        metadata={"labels": {"b": "2", "app": 'w"b'}},
        spec={"containers": (container(resources=ResourceRequirements(limits={"cpu": "250m"})),)},
    )
    planned = plan_volume_files(
        Volume(name="v", downward_api=DownwardAPIVolumeSource(items=items)), subject, {}, {"memory": "8Gi"}
    )
    assert isinstance(planned, tuple)
    assert {str(file.path): file.content for file in planned} == {
        "labels": b'app="w\\"b"\nb="2"',
        "app": b'w"b',
        "cpu": b"250",
        "memory": b"8192",
    }


def test_a_field_that_the_downward_api_lacks_is_refused() -> None:
    items = (DownwardAPIVolumeFile(path="x", field_ref=FieldRef(field_path="spec.secret")),)
    planned = _plan(Volume(name="v", downward_api=DownwardAPIVolumeSource(items=items)))
    assert isinstance(planned, VolumeRefused)
    assert "spec.secret" in planned.message


def _access_volume() -> Volume:
    sources = (
        VolumeProjection(
            service_account_token=ServiceAccountTokenProjection(path="token", expiration_seconds=3607)
        ),
        VolumeProjection(config_map=NamedProjection(name="kube-root-ca.crt")),
    )
    return Volume(name="v", projected=ProjectedVolumeSource(sources=sources, default_mode=0o640))


_ACCESS: Mapping[SourceRef, Mapping[str, bytes] | None] = {
    TokenRef("", 3607): {"token": b"jwt"},
    ConfigMapRef("kube-root-ca.crt"): {"ca.crt": b"pem"},
}


def test_a_projected_volume_joins_its_sources() -> None:
    assert _plan(_access_volume(), _ACCESS) == (
        VolumeFile(PurePosixPath("ca.crt"), b"pem", 0o640),
        VolumeFile(PurePosixPath("token"), b"jwt", 0o640),
    )
    assert list_sources(_access_volume()) == tuple(_ACCESS)


def test_a_token_belongs_to_the_only_user_of_the_pod() -> None:
    as_user = container(security_context=SecurityContext(run_as_user=1000))
    planned = plan_volume_files(_access_volume(), pod(spec={"containers": (as_user,)}), _ACCESS, {})
    assert isinstance(planned, tuple)
    assert planned[1] == VolumeFile(PurePosixPath("token"), b"jwt", 0o600, 1000)
    grouped = pod(spec={"security_context": PodSecurityContext(fs_group=2000)})
    planned = plan_volume_files(_access_volume(), grouped, _ACCESS, {})
    assert isinstance(planned, tuple)
    assert planned[1].mode == 0o600


def test_without_the_service_account_there_is_no_token() -> None:
    contents = {**_ACCESS, TokenRef("", 3607): None}
    planned = plan_volume_files(_access_volume(), pod(spec={"service_account_name": "robot"}), contents, {})
    assert planned == VolumeRefused("no token for service account 'robot'")
