"""What is remembered of pods' user namespaces."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.pods.security.user_ids import IDPool, IDRange
from agent.pods.security.user_namespaces import LocalUserNamespaces, NoUserNamespaces
from kubeapi.pod import PodUID

POOL = IDPool(65536, 3)
ONE, TWO = PodUID("one"), PodUID("two")


def opened(root: Path) -> LocalUserNamespaces:
    namespaces = LocalUserNamespaces(root, POOL)
    namespaces.read_all()
    return namespaces


async def test_pods_never_share_ids(tmp_path: Path) -> None:
    namespaces = opened(tmp_path)
    uids = [PodUID(name) for name in "abc"]
    given = await asyncio.gather(*map(namespaces.allocate, uids))
    assert set(given) == set(POOL)
    assert await namespaces.allocate(uids[1]) == given[1]
    with pytest.raises(Unavailable, match="all 3 ranges of user ids"):
        await namespaces.allocate(PodUID("d"))
    namespaces.release(uids[1])
    assert await namespaces.allocate(PodUID("d")) == given[1]


async def test_a_restart_keeps_them(tmp_path: Path) -> None:
    before = opened(tmp_path)
    first, second = await before.allocate(ONE), await before.allocate(TWO)
    after = opened(tmp_path)
    assert await after.allocate(TWO) == second
    assert await after.allocate(ONE) == first
    assert await after.allocate(PodUID("new")) not in (first, second)


async def test_the_file_is_the_kubelets(tmp_path: Path) -> None:
    await opened(tmp_path).allocate(ONE)
    mapping = {"hostId": 65536, "containerId": 0, "length": 65536}
    found = json.loads((tmp_path / "pods" / "one" / "userns").read_text())
    assert found == {"uidMappings": [mapping], "gidMappings": [mapping]}


async def test_a_broken_file_is_named_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pods" / "one" / "userns"
    path.parent.mkdir(parents=True)
    path.write_text('{"uidMappings": [], "gidMappings": []}')
    namespaces = opened(tmp_path)
    assert "can't be read" in caplog.text
    assert await namespaces.allocate(ONE) == IDRange(65536)
    assert LocalUserNamespaces(tmp_path, POOL).read_all() == {ONE: IDRange(65536)}


async def test_an_agent_without_them_says_so() -> None:
    with pytest.raises(Unavailable, match="FailedCreatePodSandBox"):
        await NoUserNamespaces().allocate(ONE)
