"""ConfigMaps and Secrets that pods name: watched while named, read from memory once known, changes told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from agent.volumes.config_api import KubeConfigApi, KubeTokens
from agent.volumes.config_objects import (
    ConfigMapName,
    ConfigName,
    ObjectWatch,
    SecretName,
    WatchedConfig,
    list_config_names,
)
from agent.volumes.files import TokenRef
from kubeapi.client import Client
from kubeapi.errors import ApiStatusError, MalformedAnswer
from kubeapi.kubeconfig import ClientConfig
from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    EnvFromSource,
    EnvSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    LocalObjectReference,
    Pod,
    PodUID,
)
from kubeapi.status import Reason
from kubeapi.volume import (
    ConfigMapVolumeSource,
    NamedProjection,
    ProjectedVolumeSource,
    Volume,
    VolumeProjection,
)
from tests.builders import container, pod
from tests.fakes.fake_api import FakeApi

KEY = ObjectKey("default", "settings")


def _pod(name: str = "web-1", *names: str) -> Pod:
    volumes = tuple(
        Volume(name=each, config_map=ConfigMapVolumeSource(name=each)) for each in names or ("settings",)
    )
    return pod(name, spec={"volumes": volumes})


def test_finds_every_name_in_a_pod() -> None:
    variables = (
        EnvVar(name="A", value_from=EnvVarSource(config_map_key_ref=KeySelector(name="m1", key="k"))),
        EnvVar(name="B", value_from=EnvVarSource(secret_key_ref=KeySelector(name="s1", key="k"))),
        EnvVar(name="C", value="literal"),
    )
    sources = (
        EnvFromSource(config_map_ref=EnvSource(name="m2")),
        EnvFromSource(secret_ref=EnvSource(name="s2")),
    )
    projected = ProjectedVolumeSource(
        sources=(
            VolumeProjection(config_map=NamedProjection(name="m3")),
            VolumeProjection(secret=NamedProjection(name="s3")),
        )
    )
    subject = pod(
        spec={
            "containers": (container(env=variables),),
            "init_containers": (container("init", env_from=sources),),
            "volumes": (Volume(name="p", projected=projected),),
            "image_pull_secrets": (LocalObjectReference(name="s4"),),
        }
    )
    maps = {ConfigMapName(ObjectKey("default", name)) for name in ("m1", "m2", "m3")}
    secrets = {SecretName(ObjectKey("default", name)) for name in ("s1", "s2", "s3", "s4")}
    assert list_config_names(subject) == maps | secrets


class _Watch:
    def __init__(self) -> None:
        self.synced = False
        self.data: Mapping[str, bytes] | None = None
        self.running = False

    async def run(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False

    def is_synced(self) -> bool:
        return self.synced

    def current(self) -> Mapping[str, bytes] | None:
        return self.data


class _Api:
    def __init__(self) -> None:
        self.watches: dict[ConfigName, _Watch] = {}
        self.handlers: dict[ConfigName, Callable[[], None]] = {}
        self.reads: list[ConfigName] = []

    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> ObjectWatch:
        self.watches[name], self.handlers[name] = _Watch(), on_change
        return self.watches[name]

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        self.reads.append(name)
        return {"from": b"get"}


async def test_reads_by_get_until_the_watch_is_synced() -> None:
    api = _Api()
    config = WatchedConfig(api)
    config.retain(_pod())
    assert await config.read_config_map(KEY) == {"from": b"get"}
    watch = api.watches[ConfigMapName(KEY)]
    watch.synced, watch.data = True, {"from": b"watch"}
    assert await config.read_config_map(KEY) == {"from": b"watch"}
    assert api.reads == [ConfigMapName(KEY)]
    assert await config.read_secret(KEY) == {"from": b"get"}
    await config.aclose()


async def test_watches_as_long_as_some_pod_names_the_object() -> None:
    api = _Api()
    config = WatchedConfig(api)
    config.retain(_pod("one"))
    config.retain(_pod("two"))
    await asyncio.sleep(0)
    watch = api.watches[ConfigMapName(KEY)]
    config.release(PodUID("uid-one"))
    config.release(PodUID("uid-one"))
    await asyncio.sleep(0)
    assert watch.running
    config.retain(_pod("two", "other"))
    await asyncio.sleep(0)
    assert not watch.running
    assert set(api.watches) == {ConfigMapName(KEY), ConfigMapName(ObjectKey("default", "other"))}
    await config.aclose()


async def test_tells_once_what_no_pod_names_any_more_but_not_at_its_own_end() -> None:
    config = WatchedConfig(_Api())
    unnamed: list[ConfigName] = []
    config.subscribe_unnamed(unnamed.append)
    config.retain(_pod("one"))
    config.retain(_pod("two"))
    config.release(PodUID("uid-one"))
    assert unnamed == []
    config.release(PodUID("uid-two"))
    config.release(PodUID("uid-two"))
    assert unnamed == [ConfigMapName(KEY)]
    config.retain(_pod("three"))
    await config.aclose()
    assert unnamed == [ConfigMapName(KEY)]


async def test_tells_each_pod_that_names_a_changed_object() -> None:
    api, told = _Api(), list[PodUID]()
    config = WatchedConfig(api)
    config.subscribe(told.append)
    for name in ("one", "two"):
        config.retain(_pod(name))
    config.retain(_pod("three", "other"))
    api.handlers[ConfigMapName(KEY)]()
    assert told == ["uid-one", "uid-two"]
    await config.aclose()


# --- through the API ----------------------------------------------------------------------------------------


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    async with api.serve():
        yield api


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with Client(ClientConfig(server=api.url), user_agent="test") as client:
        yield client


def _config_map(data: Mapping[str, str]) -> Mapping[str, object]:
    return {
        "metadata": {"name": "settings", "namespace": "default"},
        "data": data,
        "binaryData": {"b": "AAE="},
    }


async def test_a_change_at_the_api_server_reaches_the_pod(api: FakeApi, client: Client) -> None:
    api.put("v1/configmaps", _config_map({"a": "1"}))
    config, changed = WatchedConfig(KubeConfigApi(client)), asyncio.Event()
    config.subscribe(lambda _: changed.set())
    assert await config.read_config_map(KEY) == {"a": b"1", "b": b"\0\1"}
    assert await config.read_secret(KEY) is None
    config.retain(_pod())
    async with asyncio.timeout(10):
        await changed.wait()
        changed.clear()
        api.put("v1/configmaps", _config_map({"a": "2"}))
        await changed.wait()
    assert await config.read_config_map(KEY) == {"a": b"2", "b": b"\0\1"}
    await config.aclose()


async def test_asks_for_a_token(api: FakeApi, client: Client) -> None:
    reference, tokens = TokenRef("", 3600), KubeTokens(client)
    with pytest.raises(MalformedAnswer, match="token"):
        await tokens.request_token(_pod(), reference)
    assert api.requests[-1].path == "/api/v1/namespaces/default/serviceaccounts/default/token"
    api.fail_next(Reason.NOT_FOUND, 404)
    assert await tokens.request_token(_pod(), reference) is None
    api.fail_next(Reason.FORBIDDEN, 403)
    with pytest.raises(ApiStatusError):
        await tokens.request_token(_pod(), reference)
