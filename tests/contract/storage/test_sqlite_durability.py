"""What SQLite storage promises beyond the contract: acknowledged writes survive, refusals are sentences."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.storage.errors import StorageOpenError
from controlplane.storage.sqlite.backend import open_sqlite_storage

WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.storage.sqlite.backend import open_sqlite_storage

async def lane(storage, number):
    revision, n = await storage.create(f"/registry/core/leases/{number}", b"0"), 0
    while True:
        n += 1
        revision = await storage.update(f"/registry/core/leases/{number}", str(n).encode(), revision)
        sys.stdout.write(f"{number} {n} {revision}\\n")
        sys.stdout.flush()

async def main():
    storage = await open_sqlite_storage(Path(sys.argv[1]))
    await asyncio.gather(*(lane(storage, number) for number in range(8)))

asyncio.run(main())
"""

ROOT = Path(__file__).parents[3]


def write_until_killed(path: Path, acknowledged: int) -> dict[int, tuple[int, int]]:
    """What the killed child had been told was on disk: lane → (number, revision)."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(acknowledged)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL
    seen: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.endswith("\n"):
            lane, number, revision = map(int, line.split())
            seen[lane] = (number, revision)
    return seen


@pytest.mark.parametrize("acknowledged", [1, 40, 400])
async def test_acknowledged_writes_survive_sigkill(tmp_path: Path, acknowledged: int) -> None:
    seen = write_until_killed(tmp_path / "db", acknowledged)
    assert seen
    storage = await open_sqlite_storage(tmp_path / "db")
    try:
        for lane, (number, revision) in seen.items():
            stored = await storage.read(f"/registry/core/leases/{lane}")
            assert stored is not None
            assert int(stored.value) >= number
            assert stored.revision >= revision
        assert storage.revision >= max(revision for _, revision in seen.values())
    finally:
        await storage.close()


async def test_revisions_go_on_after_reopening_even_if_the_last_change_was_compacted(tmp_path: Path) -> None:
    storage = await open_sqlite_storage(tmp_path / "db")
    revision = await storage.create("/registry/core/nodes/n", b"")
    await storage.compact(await storage.delete("/registry/core/nodes/n", revision))
    await storage.close()
    again = await open_sqlite_storage(tmp_path / "db")
    assert (again.revision, again.compacted) == (revision + 1, revision + 1)
    assert await again.create("/registry/core/nodes/n", b"") == revision + 2
    await again.close()


async def test_a_database_in_use_is_refused_with_a_sentence(tmp_path: Path) -> None:
    storage = await open_sqlite_storage(tmp_path / "db")
    with pytest.raises(StorageOpenError, match="in use by another server"):
        await open_sqlite_storage(tmp_path / "db")
    await storage.close()
    await (await open_sqlite_storage(tmp_path / "db")).close()


@pytest.mark.parametrize(
    "content", [b"this is not a database at all" * 200, b"SQLite format 3\0" + b"\xff" * 8000]
)
async def test_a_damaged_database_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(StorageOpenError, match="damaged"):
        await open_sqlite_storage(tmp_path / "db")


async def test_a_missing_directory_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageOpenError, match="--data-dir"):
        await open_sqlite_storage(tmp_path / "absent" / "db")


async def test_compaction_frees_rows_in_slices(tmp_path: Path) -> None:
    storage = await open_sqlite_storage(tmp_path / "db")
    revision = await storage.create("/registry/core/nodes/n", b"0")
    for n in range(1200):
        revision = await storage.update("/registry/core/nodes/n", str(n).encode(), revision)
    await storage.compact(revision)
    listing = await storage.list_prefix("/")
    await storage.close()
    assert [item.value for item in listing.items] == [b"1199"]
    connection = sqlite3.connect(tmp_path / "db")
    assert connection.execute("SELECT count(*) FROM log").fetchone() == (1,)
    connection.close()
