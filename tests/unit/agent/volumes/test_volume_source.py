"""The volumes of a pod on disk: prepared, refreshed, removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.volumes.blocking import BlockingWork
from agent.volumes.files import TokenRef, list_sources
from agent.volumes.source import PodVolumes
from agent.volumes.source_reading import VolumeSources
from agent.volumes.tokens import IssuedToken, ServiceAccountTokens
from kubeapi.errors import Unreachable
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.volume import (
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    NamedProjection,
    PersistentVolumeClaimVolumeSource,
    ProjectedVolumeSource,
    Volume,
    VolumeProjection,
)
from tests.builders import pod


class _Config:
    """A ConfigSource of what a test puts in; `reachable` False: the API server is away."""

    def __init__(self) -> None:
        self.config_maps: dict[ObjectKey, Mapping[str, bytes]] = {}
        self.reachable = True

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        if not self.reachable:
            raise Unreachable("connection refused")
        return self.config_maps.get(key)

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return await self.read_config_map(key)


class _NoTokens:
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None


SETTINGS = ObjectKey("default", "settings")
_CONFIG_MAP = Volume(name="conf", config_map=ConfigMapVolumeSource(name="settings"))
_CLAIM = Volume(name="data", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="c"))
_SCRATCH = Volume(name="scratch", empty_dir=EmptyDirVolumeSource())


@pytest.fixture
def config() -> _Config:
    config = _Config()
    config.config_maps[SETTINGS] = {"a": b"1"}
    return config


@pytest.fixture
def volumes(tmp_path: Path, config: _Config) -> PodVolumes:
    tokens = ServiceAccountTokens(_NoTokens(), lambda: 0.0)
    return PodVolumes(tmp_path / "root", config, tokens, BlockingWork(), lambda: {"memory": "1Gi"})


def _pod(*volumes: Volume) -> Pod:
    return pod(spec={"volumes": volumes})


async def test_a_pod_without_volumes_needs_nothing(volumes: PodVolumes, tmp_path: Path) -> None:
    assert await volumes.prepare_volumes(_pod()) == {}
    assert not (tmp_path / "root").exists()


async def test_prepares_twice_what_it_prepared_once(volumes: PodVolumes, tmp_path: Path) -> None:
    subject = _pod(_CONFIG_MAP, _SCRATCH)
    ready = await volumes.prepare_volumes(subject)
    base = tmp_path / "root/pods/uid-web-1/volumes"
    assert ready["conf"].path == base / "kubernetes.io~configmap/conf"
    assert ready["conf"].read_only
    assert not ready["scratch"].read_only
    assert (ready["conf"].path / "a").read_bytes() == b"1"
    assert ready["scratch"].path.stat().st_mode & 0o777 == 0o777
    (ready["scratch"].path / "work").write_text("kept")
    assert await volumes.prepare_volumes(subject) == ready
    assert (ready["scratch"].path / "work").read_text() == "kept"


async def test_a_refresh_brings_the_new_content(volumes: PodVolumes, config: _Config) -> None:
    subject = _pod(_CONFIG_MAP)
    path = (await volumes.prepare_volumes(subject))["conf"].path
    config.config_maps[SETTINGS] = {"b": b"2"}
    await volumes.refresh_volumes(subject)
    assert not (path / "a").exists()
    assert (path / "b").read_bytes() == b"2"


async def test_what_is_missing_is_said_and_then_found(volumes: PodVolumes, config: _Config) -> None:
    del config.config_maps[SETTINGS]
    with pytest.raises(Unavailable, match=r'volume "conf" : configmap "settings" not found') as caught:
        await volumes.prepare_volumes(_pod(_CONFIG_MAP))
    assert caught.value.reason == "FailedMount"
    config.config_maps[SETTINGS] = {}
    assert set(await volumes.prepare_volumes(_pod(_CONFIG_MAP))) == {"conf"}


async def test_without_the_api_server_what_was_written_serves_on(
    volumes: PodVolumes, config: _Config
) -> None:
    config.reachable = False
    with pytest.raises(Unavailable, match="can't be read"):
        await volumes.prepare_volumes(_pod(_CONFIG_MAP))
    config.reachable = True
    path = (await volumes.prepare_volumes(_pod(_CONFIG_MAP)))["conf"].path
    config.reachable = False
    assert (await volumes.prepare_volumes(_pod(_CONFIG_MAP)))["conf"].path == path
    assert (path / "a").read_bytes() == b"1"


async def test_removal_takes_the_volumes_and_leaves_the_host_path(
    volumes: PodVolumes, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    host = Volume(name="host", host_path=HostPathVolumeSource(path=str(precious), type="Directory"))
    subject = _pod(_CONFIG_MAP, _SCRATCH, host)
    ready = await volumes.prepare_volumes(subject)
    assert ready["host"].path == precious
    # A container's way to make trouble: a link in its own volume that leads to the precious files.
    (ready["scratch"].path / "link").symlink_to(precious)
    await volumes.remove_volumes(subject.uid)
    await volumes.remove_volumes(subject.uid)
    assert not (tmp_path / "root/pods/uid-web-1/volumes").exists()
    assert (precious / "file").read_text() == "x"


async def test_a_kind_without_support_is_refused_with_a_sentence(volumes: PodVolumes) -> None:
    with pytest.raises(Unavailable, match="isn't supported"):
        await volumes.prepare_volumes(_pod(Volume(name="data", nfs={"server": "10.0.0.1"})))
    with pytest.raises(Unavailable, match="needs an API server"):
        await volumes.prepare_volumes(_pod(_CLAIM))
    huge = Volume(name="huge", empty_dir=EmptyDirVolumeSource(medium="HugePages"))
    with pytest.raises(Unavailable, match="HugePages"):
        await volumes.prepare_volumes(_pod(huge))


async def test_a_claim_is_looked_at_again_soon_as_nobody_tells_of_it(volumes: PodVolumes) -> None:
    with pytest.raises(Unavailable) as caught:
        await volumes.prepare_volumes(_pod(_CLAIM, Volume(name="data2", nfs={"server": "10.0.0.1"})))
    assert caught.value.retry_seconds == 3.0


class _ChangingConfig(_Config):
    """Between any two reads the ConfigMap has changed: whoever reads twice sees two versions."""

    reads = 0

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        self.reads += 1
        return {"one": str(self.reads).encode(), "other": str(self.reads).encode()}


async def test_all_volumes_of_one_write_show_one_version(tmp_path: Path) -> None:
    config = _ChangingConfig()
    tokens = ServiceAccountTokens(_NoTokens(), lambda: 0.0)
    volumes = PodVolumes(tmp_path, config, tokens, BlockingWork(), dict)
    first, second = (
        NamedProjection(name="settings", items=(KeyToPath(key=key, path=key),), optional=optional)
        for key, optional in (("one", True), ("other", None))
    )
    source = ConfigMapVolumeSource(name="settings")
    both = ProjectedVolumeSource(
        sources=(VolumeProjection(config_map=first), VolumeProjection(config_map=second)), default_mode=0o600
    )
    subject = _pod(Volume(name="a", config_map=source), Volume(name="b", config_map=source))
    ready = await volumes.prepare_volumes(subject)
    assert (ready["a"].path / "one").read_bytes() == (ready["b"].path / "other").read_bytes()
    assert config.reads == 1
    await volumes.refresh_volumes(subject)
    assert config.reads == 2
    assert len(list_sources(Volume(name="c", projected=both))) == 2
    sources = VolumeSources(config, tokens, None, lambda: None)
    read = await sources.read_sources(subject, [Volume(name="c", projected=both)])
    assert config.reads == 3
    assert len({bytes(found["one"]) for found in read.found.values() if found is not None}) == 1


async def test_volumes_that_can_be_made_are_made_whatever_another_lacks(
    volumes: PodVolumes, config: _Config, tmp_path: Path
) -> None:
    del config.config_maps[SETTINGS]
    other = Volume(name="other", config_map=ConfigMapVolumeSource(name="absent"))
    with pytest.raises(Unavailable) as caught:
        await volumes.prepare_volumes(_pod(_CONFIG_MAP, _SCRATCH, other))
    assert 'configmap "settings" not found; ' in caught.value.message
    assert 'configmap "absent" not found' in caught.value.message
    assert (tmp_path / "root/pods/uid-web-1/volumes/kubernetes.io~empty-dir/scratch").is_dir()


async def test_projected_sources_that_nobody_here_knows_are_refused(volumes: PodVolumes) -> None:
    for projection, words in (
        (VolumeProjection(cluster_trust_bundle={"name": "x"}), "clusterTrustBundle isn't supported"),
        (VolumeProjection(pod_certificate={"signerName": "x"}), "podCertificate isn't supported"),
        (VolumeProjection(), "unknown kind isn't supported"),
    ):
        source = ProjectedVolumeSource(sources=(projection,))
        with pytest.raises(Unavailable, match=words):
            await volumes.prepare_volumes(_pod(Volume(name="v", projected=source)))
