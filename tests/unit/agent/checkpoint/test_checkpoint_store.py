"""Pod records on disk: written soon, read back whole, broken ones set aside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from agent.checkpoint.records import PodRecord, RecordError, decode_record, encode_record
from agent.checkpoint.store import FileCheckpoint
from kubeapi.pod import PodUID
from tests import builders

RECORD = PodRecord(
    pod=builders.pod(),
    start_time=5.0,
    terminating_since=7.0,
    gone=True,
    rejection=("OutOfcpu", "no"),
)


async def write(root: Path, *changes: PodRecord | PodUID) -> None:
    store = FileCheckpoint(root)
    store.read_all()
    for change in changes:
        if isinstance(change, PodRecord):
            store.save(change)
        else:
            store.remove(change)
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_record_survives_the_disk() -> None:
    assert decode_record(encode_record(RECORD)) == RECORD


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"version":2,"pod":{},"start_time":1}'])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode_record(data)


def test_a_record_of_another_version_is_refused() -> None:
    newer = encode_record(msgspec.structs.replace(RECORD, version=99))
    with pytest.raises(RecordError, match="version 99"):
        decode_record(newer)


async def test_what_was_saved_is_read_by_the_next_process(tmp_path: Path) -> None:
    await write(tmp_path, RECORD)
    assert FileCheckpoint(tmp_path).read_all() == (RECORD,)
    (path,) = (tmp_path / "checkpoint" / "pods").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_newest_record_wins_and_a_removed_one_is_gone(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(RECORD, gone=False)
    await write(tmp_path, RECORD, newer)
    assert FileCheckpoint(tmp_path).read_all() == (newer,)
    await write(tmp_path, RECORD.pod.uid)
    assert FileCheckpoint(tmp_path).read_all() == ()
    await write(tmp_path, RECORD.pod.uid)


async def test_a_broken_record_is_set_aside_and_the_rest_is_read(tmp_path: Path) -> None:
    await write(tmp_path, RECORD)
    directory = tmp_path / "checkpoint" / "pods"
    (directory / "broken.json").write_bytes(b"{")
    assert FileCheckpoint(tmp_path).read_all() == (RECORD,)
    assert (directory / "broken.unreadable").exists()
    assert not (directory / "broken.json").exists()


async def test_records_are_written_while_it_runs(tmp_path: Path) -> None:
    store = FileCheckpoint(tmp_path)
    store.read_all()
    task = asyncio.create_task(store.run())
    store.save(RECORD)
    async with asyncio.timeout(5):
        directory = tmp_path / "checkpoint" / "pods"
        while not any(directory.glob("*.json")):  # noqa: ASYNC110 - the disk tells nobody
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert FileCheckpoint(tmp_path).read_all() == (RECORD,)


async def test_a_uid_that_is_no_file_name_is_kept_all_the_same(tmp_path: Path) -> None:
    pod = builders.pod(metadata={"uid": "../../escape"})
    await write(tmp_path, msgspec.structs.replace(RECORD, pod=pod))
    assert [record.pod.uid for record in FileCheckpoint(tmp_path).read_all()] == ["../../escape"]
    assert not list(tmp_path.parent.glob("escape*"))


async def test_an_end_in_the_middle_of_a_write_leaves_whole_records(tmp_path: Path) -> None:
    for round_ in range(60):
        store = FileCheckpoint(tmp_path)
        store.read_all()
        task = asyncio.create_task(store.run())
        store.save(msgspec.structs.replace(RECORD, start_time=float(round_)))
        await asyncio.sleep(0.0002 * (round_ % 10))
        newest = msgspec.structs.replace(RECORD, start_time=float(-round_), gone=False)
        store.save(newest)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        assert FileCheckpoint(tmp_path).read_all() == (newest,)


FIRST_RELEASE = b"""{"version": 1, "start_time": 5.0, "rejection": ["OutOfcpu", "no"],
 "pod": {"metadata": {"name": "web", "uid": "u1"}, "spec": {"containers": [{"name": "main"}]}}}"""


def test_a_record_of_an_older_agent_is_read() -> None:
    record = decode_record(FIRST_RELEASE)
    assert (record.pod.metadata.name, record.start_time, record.rejection) == ("web", 5.0, ("OutOfcpu", "no"))
    assert (record.terminating_since, record.gone) == (None, False)


def test_fields_of_a_newer_agent_are_ignored() -> None:
    newer = FIRST_RELEASE.replace(b'"version": 1', b'"version": 1, "invented_later": {"a": [1]}')
    assert decode_record(newer) == decode_record(FIRST_RELEASE)


async def test_what_cannot_be_written_at_the_end_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileCheckpoint(tmp_path)
    store.read_all()
    (tmp_path / "checkpoint" / "pods").rmdir()
    (tmp_path / "checkpoint" / "pods").write_text("a file in its place")
    store.save(RECORD)
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert "a state file can't be written" in {record.message for record in caplog.records}
