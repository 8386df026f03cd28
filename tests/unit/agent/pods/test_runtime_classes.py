"""From a RuntimeClass to the runtime's handler."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.pods.ports import Unavailable
from agent.pods.security.runtime_class import NamedHandlers
from agent.pods.security.runtime_class_source import ClassHandlers
from agent.standalone.local_objects import LocalObjects
from kubeapi.meta import ObjectMeta
from kubeapi.node_classes import RuntimeClass
from tests import builders

KATA = RuntimeClass(metadata=ObjectMeta(name="kata"), handler="kata-qemu")
POD = builders.pod(spec={"runtime_class_name": "kata"})
PLAIN = builders.pod()


async def write(handlers: ClassHandlers) -> None:
    """Cancelled, it writes what is left."""
    task = asyncio.create_task(handlers.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_class_names_the_handler(tmp_path: Path) -> None:
    classes: LocalObjects[RuntimeClass] = LocalObjects()
    classes.replace([KATA])
    handlers = ClassHandlers(classes, tmp_path)
    assert await handlers.find_handler(POD) == "kata-qemu"
    assert handlers.peek_handler(POD) == "kata-qemu"
    assert await handlers.find_handler(PLAIN) == ""


async def test_a_class_that_isnt_there_is_named_as_upstream_does(tmp_path: Path) -> None:
    classes: LocalObjects[RuntimeClass] = LocalObjects()
    classes.replace([])
    with pytest.raises(Unavailable) as raised:
        await ClassHandlers(classes, tmp_path).find_handler(POD)
    assert raised.value.reason == "FailedCreatePodSandBox"
    assert raised.value.message == 'runtimeclass.node.k8s.io "kata" not found'


async def test_without_an_api_server_the_remembered_handler_is_taken(tmp_path: Path) -> None:
    known: LocalObjects[RuntimeClass] = LocalObjects()
    known.replace([KATA])
    before = ClassHandlers(known, tmp_path)
    before.read_all()
    await before.find_handler(POD)
    await write(before)

    after = ClassHandlers(LocalObjects(), tmp_path, answer_seconds=0.01)
    with pytest.raises(Unavailable, match="failed to lookup RuntimeClass kata"):
        await after.find_handler(POD)
    after.read_all()
    assert after.peek_handler(POD) == "kata-qemu"
    assert await after.find_handler(POD) == "kata-qemu"


async def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    classes: LocalObjects[RuntimeClass] = LocalObjects()
    classes.replace([KATA])
    handlers = ClassHandlers(classes, tmp_path)
    handlers.read_all()
    await handlers.find_handler(POD)
    await write(handlers)
    classes.replace([])
    with pytest.raises(Unavailable):
        await handlers.find_handler(POD)
    await write(handlers)
    after = ClassHandlers(LocalObjects(), tmp_path)
    after.read_all()
    assert after.peek_handler(POD) is None


async def test_a_node_alone_takes_the_name() -> None:
    assert await NamedHandlers().find_handler(POD) == "kata"
    assert NamedHandlers().peek_handler(PLAIN) == ""
