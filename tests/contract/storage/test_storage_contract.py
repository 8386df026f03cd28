"""The storage contract, run on every backend: what the API server may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from controlplane.storage.contract import FIRST_REVISION, Change, Storage
from controlplane.storage.errors import (
    CompactedError,
    FutureRevisionError,
    KeyExistsError,
    RevisionConflictError,
    StorageClosedError,
)
from controlplane.storage.memory import MemoryStorage
from controlplane.storage.sqlite.backend import open_sqlite_storage

PODS = "/registry/core/pods/"


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened: Storage = (
        MemoryStorage() if request.param == "memory" else await open_sqlite_storage(tmp_path / "db")
    )
    yield opened
    await opened.close()


async def take(storage: Storage, prefix: str, after: int, count: int) -> list[Change]:
    taken: list[Change] = []
    async with asyncio.timeout(10), aclosing(storage.watch(prefix, after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            taken.extend(batch)
            if len(taken) >= count:
                break
    return taken


async def keys(storage: Storage, prefix: str = PODS, **options: int) -> list[str]:
    listing = await storage.list_prefix(prefix, **options)  # type: ignore[arg-type]
    return [item.key.removeprefix(prefix) for item in listing.items]


async def test_an_unwritten_storage_is_empty_at_the_first_revision(storage: Storage) -> None:
    assert storage.revision == FIRST_REVISION
    listing = await storage.list_prefix("/")
    assert listing.items == ()
    assert listing.revision == FIRST_REVISION


async def test_created_value_is_read_back_with_its_revision(storage: Storage) -> None:
    revision = await storage.create(PODS + "a/x", b"one")
    stored = await storage.read(PODS + "a/x")
    assert stored is not None
    assert (stored.value, stored.revision) == (b"one", revision)
    assert revision == FIRST_REVISION + 1 == storage.revision


async def test_read_of_an_absent_key_is_none(storage: Storage) -> None:
    assert await storage.read(PODS + "a/x") is None


async def test_create_refuses_an_existing_key_and_takes_no_revision(storage: Storage) -> None:
    revision = await storage.create(PODS + "a/x", b"one")
    with pytest.raises(KeyExistsError):
        await storage.create(PODS + "a/x", b"two")
    assert storage.revision == revision
    assert await storage.create(PODS + "a/y", b"") == revision + 1


async def test_update_compares_the_revision(storage: Storage) -> None:
    first = await storage.create(PODS + "a/x", b"one")
    second = await storage.update(PODS + "a/x", b"two", first)
    with pytest.raises(RevisionConflictError) as refusal:
        await storage.update(PODS + "a/x", b"three", first)
    assert refusal.value.actual == second
    stored = await storage.read(PODS + "a/x")
    assert stored is not None
    assert stored.value == b"two"


@pytest.mark.parametrize("verb", ["update", "delete"])
async def test_an_absent_key_conflicts_with_any_revision(storage: Storage, verb: str) -> None:
    key = PODS + "a/x"
    writing = storage.update(key, b"", 5) if verb == "update" else storage.delete(key, 5)
    with pytest.raises(RevisionConflictError) as refusal:
        await writing
    assert refusal.value.actual == 0


async def test_delete_compares_then_removes_and_the_key_can_come_back(storage: Storage) -> None:
    first = await storage.create(PODS + "a/x", b"one")
    with pytest.raises(RevisionConflictError):
        await storage.delete(PODS + "a/x", first + 7)
    assert await storage.delete(PODS + "a/x", first) == first + 1
    assert await storage.read(PODS + "a/x") is None
    assert await storage.create(PODS + "a/x", b"again") == first + 2


async def test_of_many_racing_updates_exactly_one_wins(storage: Storage) -> None:
    first = await storage.create(PODS + "a/x", b"0")
    results = await asyncio.gather(
        *(storage.update(PODS + "a/x", str(n).encode(), first) for n in range(50)), return_exceptions=True
    )
    winners = [n for n, result in enumerate(results) if isinstance(result, int)]
    assert len(winners) == 1
    assert sum(isinstance(result, RevisionConflictError) for result in results) == 49
    stored = await storage.read(PODS + "a/x")
    assert stored is not None
    assert stored.value == str(winners[0]).encode()


async def test_list_is_in_key_order_and_only_below_the_prefix(storage: Storage) -> None:
    for key in ("b/x", "a/y", "a/x"):
        await storage.create(PODS + key, b"")
    await storage.create("/registry/core/podtemplates/a/x", b"")
    assert await keys(storage) == ["a/x", "a/y", "b/x"]
    assert await keys(storage, PODS + "a/") == ["x", "y"]


async def test_list_continues_after_a_key(storage: Storage) -> None:
    for n in range(5):
        await storage.create(f"{PODS}a/{n}", b"")
    first = await storage.list_prefix(PODS, limit=2)
    assert [item.key for item in first.items] == [PODS + "a/0", PODS + "a/1"]
    assert first.more
    rest = await storage.list_prefix(PODS, limit=3, after_key=first.items[-1].key, revision=first.revision)
    assert [item.key for item in rest.items] == [PODS + "a/2", PODS + "a/3", PODS + "a/4"]
    assert not rest.more


async def test_list_at_an_older_revision_sees_what_was_there(storage: Storage) -> None:
    kept = await storage.create(PODS + "a/kept", b"1")
    changed = await storage.create(PODS + "a/changed", b"1")
    removed = await storage.create(PODS + "a/removed", b"1")
    reborn = await storage.create(PODS + "a/reborn", b"1")
    at = storage.revision
    changed = await storage.update(PODS + "a/changed", b"2", changed)
    await storage.update(PODS + "a/changed", b"3", changed)
    await storage.delete(PODS + "a/removed", removed)
    await storage.delete(PODS + "a/reborn", reborn)
    await storage.create(PODS + "a/reborn", b"2")
    await storage.create(PODS + "a/new", b"1")
    listing = await storage.list_prefix(PODS, revision=at)
    assert listing.revision == at
    names = [item.key.rpartition("/")[2] for item in listing.items]
    assert names == ["changed", "kept", "reborn", "removed"]
    assert {item.value for item in listing.items} == {b"1"}
    assert listing.items[1].revision == kept


async def test_list_in_the_future_is_refused(storage: Storage) -> None:
    with pytest.raises(FutureRevisionError):
        await storage.list_prefix(PODS, revision=storage.revision + 1)


async def test_watch_replays_history_then_follows(storage: Storage) -> None:
    start = storage.revision
    first = await storage.create(PODS + "a/x", b"one")
    await storage.create("/registry/core/nodes/n", b"not ours")
    second = await storage.update(PODS + "a/x", b"two", first)

    async def write_later() -> None:
        await storage.delete(PODS + "a/x", second)

    changes, _ = await asyncio.gather(take(storage, PODS, start, 3), write_later())
    assert [(change.revision, change.value) for change in changes] == [
        (first, b"one"),
        (second, b"two"),
        (second + 1, None),
    ]
    assert changes[0].previous is None
    assert changes[1].previous is not None
    assert (changes[1].previous.value, changes[1].previous.revision) == (b"one", first)
    assert changes[2].previous is not None
    assert changes[2].previous.value == b"two"


async def test_watch_starts_beyond_the_revision_it_is_given(storage: Storage) -> None:
    first = await storage.create(PODS + "a/x", b"one")
    await storage.create(PODS + "a/y", b"two")
    assert [change.key for change in await take(storage, PODS, first, 1)] == [PODS + "a/y"]


async def test_watch_misses_nothing_under_concurrent_writes(storage: Storage) -> None:
    start = storage.revision

    async def write(lane: int) -> None:
        for n in range(20):
            await storage.create(f"{PODS}{lane}/{n}", b"")

    watching = asyncio.ensure_future(take(storage, PODS, start, 200))
    await asyncio.gather(*(write(lane) for lane in range(10)))
    changes = await watching
    assert [change.revision for change in changes] == list(range(start + 1, start + 201))


async def test_watch_of_compacted_history_is_refused(storage: Storage) -> None:
    first = await storage.create(PODS + "a/x", b"one")
    second = await storage.update(PODS + "a/x", b"two", first)
    await storage.compact(second)
    with pytest.raises(CompactedError) as refusal:
        await take(storage, PODS, first, 1)
    assert refusal.value.compacted == second
    await storage.update(PODS + "a/x", b"three", second)
    assert [change.value for change in await take(storage, PODS, second, 1)] == [b"three"]


async def test_compaction_keeps_what_is_current_and_what_came_later(storage: Storage) -> None:
    old = await storage.create(PODS + "a/old", b"1")
    gone = await storage.create(PODS + "a/gone", b"1")
    changed = await storage.create(PODS + "a/changed", b"1")
    await storage.delete(PODS + "a/gone", gone)
    changed = await storage.update(PODS + "a/changed", b"2", changed)
    at = storage.revision
    await storage.update(PODS + "a/changed", b"3", changed)
    await storage.delete(PODS + "a/old", old)
    await storage.compact(at)
    assert await keys(storage) == ["a/changed"]
    assert await keys(storage, revision=at) == ["a/changed", "a/old"]
    with pytest.raises(CompactedError):
        await storage.list_prefix(PODS, revision=at - 1)
    assert [change.value for change in await take(storage, PODS, at, 2)] == [b"3", None]


async def test_compaction_never_goes_back_nor_ahead(storage: Storage) -> None:
    await storage.create(PODS + "a/x", b"")
    await storage.compact(storage.revision)
    await storage.compact(FIRST_REVISION)
    assert storage.compacted == storage.revision
    with pytest.raises(FutureRevisionError):
        await storage.compact(storage.revision + 1)


async def test_closing_ends_watches_and_refuses_the_rest(storage: Storage) -> None:
    watching = asyncio.ensure_future(take(storage, PODS, storage.revision, 1))
    await asyncio.sleep(0)
    await storage.create("/registry/core/nodes/n", b"")
    await storage.close()
    assert await watching == []
    refused: tuple[Callable[[], object], ...] = (
        lambda: storage.create(PODS + "a/x", b""),
        lambda: storage.read(PODS + "a/x"),
        lambda: storage.list_prefix(PODS),
    )
    for call in refused:
        with pytest.raises(StorageClosedError):
            await call()  # type: ignore[misc]


async def test_values_stay_out_of_reprs(storage: Storage) -> None:
    await storage.create(PODS + "a/x", b"hush")
    assert "hush" not in repr(await storage.read(PODS + "a/x"))
    assert "hush" not in repr(await storage.list_prefix(PODS))
