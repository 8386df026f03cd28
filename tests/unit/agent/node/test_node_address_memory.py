"""The node's address at a start without name service, and whether the machine was started anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.checkpoint.boot import note_boot
from agent.node.address import NoNodeAddress, choose_lone_ip
from agent.node.address_memory import NodeAddressMemory

NOWHERE = "https://nosuch.invalid:6443"


async def test_an_address_found_once_is_kept_when_the_name_is_unknown(tmp_path: Path) -> None:
    memory = NodeAddressMemory(tmp_path)
    with pytest.raises(NoNodeAddress):
        await memory.choose(NOWHERE)
    assert await memory.choose("https://192.0.2.1:6443", "192.0.2.9") == "192.0.2.9"
    assert await NodeAddressMemory(tmp_path).choose(NOWHERE) == "192.0.2.9"


async def test_a_wrong_address_is_refused_whatever_is_remembered(tmp_path: Path) -> None:
    memory = NodeAddressMemory(tmp_path)
    await memory.choose(NOWHERE, "192.0.2.9")
    with pytest.raises(NoNodeAddress, match="is not an IP address"):
        await memory.choose(NOWHERE, "192.0.2")


async def test_a_torn_memory_is_none(tmp_path: Path) -> None:
    await NodeAddressMemory(tmp_path).choose(NOWHERE, "192.0.2.9")
    (tmp_path / "checkpoint" / "node-address").write_text("192.0.2.")
    with pytest.raises(NoNodeAddress):
        await NodeAddressMemory(tmp_path).choose(NOWHERE)


def test_alone_any_address_of_the_machine_will_do() -> None:
    assert choose_lone_ip("192.0.2.9") == "192.0.2.9"
    assert choose_lone_ip().count(".") == 3
    with pytest.raises(NoNodeAddress):
        choose_lone_ip("here")


def test_a_boot_is_new_when_another_one_was_remembered(tmp_path: Path) -> None:
    assert [note_boot(tmp_path, boot) for boot in ("one", "one", "two", "two")] == [False, False, True, False]
