"""ConfigMaps outlive the API server's absence; tokens of rebooted pods don't hold them up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agent.volumes.config_objects import ConfigMapName, ConfigName, ObjectWatch, SecretName
from agent.volumes.files import TokenRef
from agent.volumes.offline_tokens import OfflineTokens
from agent.volumes.remembered_config import RememberedConfig
from agent.volumes.tokens import IssuedToken
from kubeapi.errors import ApiStatusError, KubeAPIError, Unreachable
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.volume import ConfigMapVolumeSource, Volume
from tests import builders

SETTINGS = ConfigMapName(ObjectKey("default", "settings"))
KEYS = SecretName(ObjectKey("default", "keys"))
AWAY = Unreachable("connection refused")


class Watch:
    def __init__(self, api: Api, name: ConfigName) -> None:
        self._api = api
        self._name = name

    async def run(self) -> None:
        await asyncio.Event().wait()

    def is_synced(self) -> bool:
        return True

    def current(self) -> Mapping[str, bytes] | None:
        return self._api.objects.get(self._name)


class Api:
    """An API server with these objects, or in trouble."""

    def __init__(self, objects: Mapping[ConfigName, Mapping[str, bytes]] | None = None) -> None:
        self.objects = dict(objects or {})
        self.trouble: KubeAPIError | None = None
        self.notify: Callable[[], None] = lambda: None

    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> ObjectWatch:
        self.notify = on_change
        return Watch(self, name)

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        if self.trouble is not None:
            raise self.trouble
        return self.objects.get(name)


async def write_out(config: RememberedConfig) -> None:
    task = asyncio.create_task(config.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def open_config(api: Api, root: Path) -> RememberedConfig:
    config = RememberedConfig(api, root)
    config.read_all()
    return config


async def remember(root: Path, **data: bytes) -> None:
    config = open_config(Api({SETTINGS: data, KEYS: {"key": b"sesame"}}), root)
    await config.read_object(SETTINGS)
    await config.read_object(KEYS)
    await write_out(config)


def build_api_in_trouble(trouble: KubeAPIError) -> Api:
    api = Api({SETTINGS: {"color": b"new"}})
    api.trouble = trouble
    return api


@pytest.mark.parametrize("code", [0, 500, 503, 429])
async def test_what_was_seen_is_used_while_the_server_gives_no_answer(tmp_path: Path, code: int) -> None:
    await remember(tmp_path, color=b"red", binary=b"\x00\xff")
    trouble = ApiStatusError(code, "Trouble", "no") if code else AWAY
    config = open_config(build_api_in_trouble(trouble), tmp_path)
    assert await config.read_object(SETTINGS) == {"color": b"red", "binary": b"\x00\xff"}


async def test_an_answer_counts_more_than_memory(tmp_path: Path) -> None:
    await remember(tmp_path, color=b"red")
    assert await open_config(Api({SETTINGS: {"color": b"new"}}), tmp_path).read_object(SETTINGS) == {
        "color": b"new"
    }
    forbidden = ApiStatusError(403, "Forbidden", "no")
    with pytest.raises(ApiStatusError):
        await open_config(build_api_in_trouble(forbidden), tmp_path).read_object(SETTINGS)
    assert await open_config(Api(), tmp_path).read_object(SETTINGS) is None


async def test_secrets_are_never_remembered(tmp_path: Path) -> None:
    await remember(tmp_path, color=b"red")
    config = open_config(build_api_in_trouble(AWAY), tmp_path)
    with pytest.raises(Unreachable):
        await config.read_object(KEYS)
    files = list((tmp_path / "checkpoint" / "config-maps").iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]


async def test_a_change_and_a_deletion_that_a_watch_shows_are_remembered(tmp_path: Path) -> None:
    await remember(tmp_path, color=b"red")
    api, told = Api({SETTINGS: {"color": b"blue"}}), []
    config = open_config(api, tmp_path)
    config.watch_object(SETTINGS, lambda: told.append("changed"))
    api.notify()
    await write_out(config)
    away = build_api_in_trouble(AWAY)
    assert await open_config(away, tmp_path).read_object(SETTINGS) == {"color": b"blue"}
    del api.objects[SETTINGS]
    api.notify()
    await write_out(config)
    with pytest.raises(Unreachable):
        await open_config(away, tmp_path).read_object(SETTINGS)
    assert told == ["changed", "changed"]


async def test_what_no_pod_names_any_more_is_forgotten(tmp_path: Path) -> None:
    await remember(tmp_path, color=b"red")
    volumes = (Volume(name="v", config_map=ConfigMapVolumeSource(name="settings")),)
    for pods, left in (((builders.pod(spec={"volumes": volumes}),), 1), ((builders.pod(),), 0)):
        config = open_config(Api(), tmp_path)
        config.keep_only(pods)
        await write_out(config)
        assert len(list((tmp_path / "checkpoint" / "config-maps").iterdir())) == left


async def test_a_torn_file_is_set_aside_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await remember(tmp_path, color=b"red")
    (path,) = (tmp_path / "checkpoint" / "config-maps").iterdir()
    path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        config = open_config(build_api_in_trouble(AWAY), tmp_path)
    assert [record.message for record in caplog.records] == ["a state file was set aside"]
    assert path.with_suffix(".unreadable").exists()
    with pytest.raises(Unreachable):
        await config.read_object(SETTINGS)


async def test_what_no_pod_names_any_more_leaves_no_file(tmp_path: Path) -> None:
    await remember(tmp_path, color=b"red")
    config = open_config(Api(), tmp_path)
    for _ in range(2):
        config.forget(SETTINGS)
        config.forget(KEYS)
    await write_out(config)
    assert list((tmp_path / "checkpoint/config-maps").iterdir()) == []


# --- tokens -------------------------------------------------------------------------------------------------

REFERENCE = TokenRef(audience="", expiration_seconds=3600)


class Tokens:
    def __init__(self, trouble: KubeAPIError | None = None) -> None:
        self.trouble = trouble

    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        if self.trouble is not None:
            raise self.trouble
        return IssuedToken("good", 3600.0)


async def test_a_rebooted_pod_gets_an_empty_token_for_a_while() -> None:
    source = Tokens(AWAY)
    tokens = OfflineTokens(source, lambda: 100.0)
    pod = builders.pod()
    with pytest.raises(Unreachable):
        await tokens.request_token(pod, REFERENCE)
    tokens.remember([pod])
    assert await tokens.request_token(pod, REFERENCE) == IssuedToken("", 110.0)
    source.trouble = None
    assert await tokens.request_token(pod, REFERENCE) == IssuedToken("good", 3600.0)


async def test_a_refusal_is_no_absence() -> None:
    tokens = OfflineTokens(Tokens(ApiStatusError(403, "Forbidden", "no")))
    tokens.remember([builders.pod()])
    with pytest.raises(ApiStatusError):
        await tokens.request_token(builders.pod(), REFERENCE)
