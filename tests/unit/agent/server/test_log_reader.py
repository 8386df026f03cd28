"""Reading and following log files through rotation and the container's end."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from agent.server.log_options import LogOptions
from agent.server.log_reader import find_tail, is_open_for_writing, read_log


def _entry(number: int) -> str:
    return f"2026-01-02T03:04:05.000000001Z stdout F line {number}\n"


def _write(path: Path, *numbers: int) -> None:
    with path.open("a") as target:
        target.writelines(_entry(number) for number in numbers)


async def _read(path: Path, options: LogOptions = LogOptions()) -> bytes:  # noqa: B008 - frozen
    return b"".join([piece async for piece in read_log(path, options, lambda: False)])


def _lines(*numbers: int) -> bytes:
    return b"".join(f"line {number}\n".encode() for number in numbers)


async def test_reads_a_whole_log(tmp_path: Path) -> None:
    _write(tmp_path / "0.log", 1, 2, 3)
    assert await _read(tmp_path / "0.log") == _lines(1, 2, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
async def test_reads_the_tail(tmp_path: Path, count: int) -> None:
    _write(tmp_path / "0.log", 1, 2, 3)
    expected = _lines(*[1, 2, 3][max(3 - count, 0) :]) if count else b""
    assert await _read(tmp_path / "0.log", LogOptions(tail_lines=count)) == expected


async def test_reads_a_large_log_and_its_tail(tmp_path: Path) -> None:
    _write(tmp_path / "0.log", *range(50_000))
    assert await _read(tmp_path / "0.log") == _lines(*range(50_000))
    assert await _read(tmp_path / "0.log", LogOptions(tail_lines=20_000)) == _lines(*range(30_000, 50_000))


async def test_stops_at_the_limit(tmp_path: Path) -> None:
    _write(tmp_path / "0.log", 1, 2, 3)
    assert await _read(tmp_path / "0.log", LogOptions(limit_bytes=10)) == b"line 1\nlin"


async def test_a_last_line_without_its_end_is_shown(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_text(_entry(1) + _entry(2).rstrip("\n"))
    assert await _read(tmp_path / "0.log") == _lines(1, 2)


async def test_an_empty_or_absent_log(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    assert await _read(tmp_path / "0.log") == b""
    with pytest.raises(FileNotFoundError):
        await _read(tmp_path / "1.log")


class _Follower:
    """`logs -f` of a file, and the container whose log it is."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self.running = True
        self.output = b""
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._follow(path, options))

    async def _follow(self, path: Path, options: LogOptions) -> None:
        async for piece in read_log(path, options, lambda: self.running):
            self.output += piece
            self._more.set()

    async def wait_for(self, ending: bytes) -> None:
        async with asyncio.timeout(20):
            while not self.output.endswith(ending):
                await self._more.wait()
                self._more.clear()

    async def end(self) -> bytes:
        self.running = False
        async with asyncio.timeout(20):
            await self.task
        return self.output


_FOLLOW = LogOptions(follow=True)


async def test_follows_until_the_container_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 1)
    follower = _Follower(log, _FOLLOW)
    await follower.wait_for(_lines(1))
    _write(log, 2)
    await follower.wait_for(_lines(2))
    _write(log, 3)
    assert await follower.end() == _lines(1, 2, 3)


async def test_follows_from_the_tail(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 1, 2)
    follower = _Follower(log, LogOptions(follow=True, tail_lines=1))
    await follower.wait_for(_lines(2))
    _write(log, 3)
    assert await follower.end() == _lines(2, 3)


async def test_a_line_written_in_pieces_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 1)
    follower = _Follower(log, _FOLLOW)
    await follower.wait_for(_lines(1))
    with log.open("a") as target:
        target.write(_entry(2)[:40])
        target.flush()
        await asyncio.sleep(0.05)
        target.write(_entry(2)[40:])
    await follower.wait_for(_lines(2))
    assert await follower.end() == _lines(1, 2)


async def test_rotation_loses_and_doubles_no_line(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 0)
    follower = _Follower(log, _FOLLOW)
    await follower.wait_for(_lines(0))
    number = 1
    for rotation in range(20):
        with log.open("a") as writer:
            for _ in range(500):
                writer.write(_entry(number))
                number += 1
            # The runtime goes on writing to the renamed file until it reopens its log.
            log.rename(tmp_path / f"0.log.20260102-0304{rotation:02}")
            for _ in range(50):
                writer.write(_entry(number))
                number += 1
        log.touch()
        await asyncio.sleep(0)
    _write(log, number)
    assert await follower.end() == _lines(*range(number + 1))


async def test_compressed_siblings_are_left_aside(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 1)
    follower = _Follower(log, _FOLLOW)
    await follower.wait_for(_lines(1))
    (tmp_path / "0.log.20260101-000000.gz").write_bytes(b"\x1f\x8b")
    log.rename(tmp_path / "0.log.20260102-000000")
    _write(log, 2)
    await follower.wait_for(_lines(2))
    assert await follower.end() == _lines(1, 2)


async def test_a_rotated_file_that_was_removed_meanwhile_is_skipped(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    _write(log, 1)
    follower = _Follower(log, _FOLLOW)
    await follower.wait_for(_lines(1))
    log.unlink()
    _write(log, 2)
    await follower.wait_for(_lines(2))
    assert await follower.end() == _lines(1, 2)


def test_the_tail_of_lines_longer_than_a_block() -> None:
    import tempfile

    long = b"x" * 700_000 + b"\n"
    with tempfile.TemporaryFile() as file:
        file.write(b"a\n" + long + b"b\n")
        file.flush()
        assert isinstance(file, io.BufferedRandom)
        assert [find_tail(file, count) for count in (1, 2, 3, 4)] == [2 + len(long), 2, 0, 0]


async def test_the_last_lines_of_a_rotated_file_come_before_the_new_file(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    with log.open("a") as writer:
        writer.write(_entry(1))
        writer.flush()
        follower = _Follower(log, _FOLLOW)
        await follower.wait_for(_lines(1))
        log.rename(tmp_path / "0.log.20260102-030405")
        _write(log, 3)
        await asyncio.sleep(0.2)  # time for a reader that left too early to show it
        assert follower.output == _lines(1)
        writer.write(_entry(2))
    await follower.wait_for(_lines(3))
    assert await follower.end() == _lines(1, 2, 3)


def test_a_file_is_open_for_writing_while_somebody_has_it_so(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with path.open("a"), path.open("rb") as reader:
        assert is_open_for_writing(reader)
    with path.open("rb") as reader:
        assert not is_open_for_writing(reader)
