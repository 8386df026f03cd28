"""The journal on disk: what is written, how much of it is kept, and what a sudden death costs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.journal.entry import Entry, Picture, PodName
from agent.journal.files import (
    OLD_TIMELINE,
    PICTURE,
    TIMELINE,
    JournalBounds,
    JournalFiles,
    build_directory,
    build_stem,
)
from agent.journal.read import PodStory, read_heartbeat, read_pod_names, read_story
from agent.journal.store import FileJournal
from agent.pods.waits import CallInFlight, Wait

POD = PodName(namespace="default", name="web-1", uid="0a1b-2c3d")
WAIT = Wait("sandbox", "ContainerCreating", "it is made", 5.0, 9.0, CallInFlight("RunPodSandbox", 5.0))


def entry(number: int, message: str = "") -> Entry:
    return Entry(at=float(number), what=f"step {number}", message=message)


def story(root: Path, pod: PodName = POD) -> PodStory:
    return read_story(root, pod, build_stem(pod.uid))


def steps(root: Path, pod: PodName = POD) -> list[str]:
    return [found.what for found in story(root, pod).entries]


async def write(journal: FileJournal) -> None:
    """Runs the journal and ends it: what was noted is on disk then."""
    task = asyncio.create_task(journal.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_was_noted_is_read_back_in_order(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "n1", lambda: 77.0)
    for number in range(5):
        journal.note(POD, entry(number))
    journal.show(POD, Picture(at=3.0, phase="Pending", waits=(WAIT,)))
    await write(journal)

    assert read_pod_names(tmp_path) == (POD,)
    assert steps(tmp_path) == [f"step {number}" for number in range(5)]
    assert story(tmp_path).picture == Picture(at=3.0, phase="Pending", waits=(WAIT,))
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert (beat.at, beat.node, beat.pid) == (77.0, "n1", os.getpid())


async def test_nobody_but_root_reads_it(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "n1", lambda: 0.0)
    journal.note(POD, entry(1))
    journal.show(POD, Picture(at=0.0))
    await write(journal)
    directory = build_directory(tmp_path)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


async def test_a_batch_is_on_disk_within_a_second_while_it_runs(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "n1", time.time)
    task = asyncio.create_task(journal.run())
    try:
        for number in range(3):
            journal.note(POD, entry(number))
            assert await is_on_disk(tmp_path, f"step {number}")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def is_on_disk(root: Path, step: str, seconds: float = 1.0) -> bool:
    for _ in range(round(seconds / 0.02)):
        if read_pod_names(root) and step in steps(root):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_pod_that_is_gone_keeps_its_timeline_and_loses_its_picture(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "n1", lambda: 0.0)
    journal.note(POD, entry(1))
    journal.show(POD, Picture(at=1.0))
    journal.close(POD)
    await write(journal)
    assert story(tmp_path).picture is None
    assert steps(tmp_path) == ["step 1"]


async def test_a_new_process_forgets_the_pictures_of_pods_that_it_does_not_have(tmp_path: Path) -> None:
    other = PodName(namespace="default", name="web-2", uid="2222")
    earlier = FileJournal(tmp_path, "n1", lambda: 0.0)
    for pod in (POD, other):
        earlier.note(pod, entry(1))
        earlier.show(pod, Picture(at=1.0))
    await write(earlier)
    later = FileJournal(tmp_path, "n1", lambda: 9.0)
    later.note(other, entry(2))
    await write(later)
    assert story(tmp_path).picture is None
    assert story(tmp_path, other).picture == Picture(at=1.0)


def test_a_timeline_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, JournalBounds(timeline_bytes=2000))
    files.prepare()
    for number in range(200):
        files.append(POD, [entry(number, "x" * 50)])
    directory = build_directory(tmp_path)
    sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert set(sizes) == {POD.uid + TIMELINE, POD.uid + OLD_TIMELINE}
    assert all(size <= 2000 for size in sizes.values())
    found = story(tmp_path)
    assert found.cut
    assert found.entries[-1].what == "step 199"
    numbers = [int(each.at) for each in found.entries]
    assert numbers == list(range(numbers[0], 200))
    assert read_pod_names(tmp_path) == (POD,)


def test_pods_that_left_are_forgotten_the_oldest_first_and_those_here_never(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, JournalBounds(gone_pods=3))
    files.prepare()
    pods = [PodName(namespace="default", name=f"web-{number}", uid=f"uid{number}") for number in range(8)]
    for age, pod in enumerate(pods):
        files.append(pod, [entry(1)])
        os.utime(build_directory(tmp_path) / (pod.uid + TIMELINE), (age, age))
    files.prune({"uid0", "uid1"})
    assert {pod.uid for pod in read_pod_names(tmp_path)} == {"uid0", "uid1", "uid5", "uid6", "uid7"}


def test_the_whole_is_bounded_too(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, JournalBounds(timeline_bytes=1000, total_bytes=4000))
    files.prepare()
    for number in range(10):
        pod = PodName(namespace="default", name=f"web-{number}", uid=f"uid{number}")
        for line in range(20):
            files.append(pod, [entry(line, "x" * 50)])
    files.prune({f"uid{number}" for number in range(3)})
    directory = build_directory(tmp_path)
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 4000
    assert {pod.uid for pod in read_pod_names(tmp_path)} >= {"uid0", "uid1", "uid2"}


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, JournalBounds())
    files.prepare()
    files.append(POD, [entry(1), entry(2)])
    path = build_directory(tmp_path) / (POD.uid + TIMELINE)
    path.write_bytes(path.read_bytes()[:-9])
    assert steps(tmp_path) == ["step 1"]
    files.append(POD, [entry(3)])
    assert steps(tmp_path) == ["step 1", "step 3"]


def test_a_picture_of_which_only_a_draft_was_written_is_the_one_before(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path, JournalBounds())
    files.prepare()
    files.append(POD, [entry(1)])
    files.write_picture(POD.uid, Picture(at=1.0))
    draft = build_directory(tmp_path) / (POD.uid + PICTURE + ".new")
    draft.write_bytes(b'{"at":2.')
    assert story(tmp_path).picture == Picture(at=1.0)
    files.prepare()
    assert not draft.exists()


async def test_a_disk_that_takes_nothing_is_logged_once_and_fails_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal").write_text("in the way")
    journal = FileJournal(tmp_path, "n1", time.time)
    task = asyncio.create_task(journal.run())
    with caplog.at_level(logging.INFO, "agent.journal.store"):
        for number in range(4):
            journal.note(POD, entry(number))
            await asyncio.sleep(0.4)  # longer than a batch
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        (tmp_path / "journal").unlink()
        journal.note(POD, entry(9))
        journal.show(POD, Picture(at=1.0))
        assert await is_on_disk(tmp_path, "step 9")
        await asyncio.sleep(0.05)  # the writer's thread hands its result back
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert steps(tmp_path) == ["step 9"]


async def test_more_than_it_can_hold_is_dropped_and_counted(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "n1", lambda: 0.0)
    for number in range(10_050):
        journal.note(POD, entry(number))
    await write(journal)
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat.dropped == 50


_WRITER = """
import asyncio, sys, time
from pathlib import Path
from agent.journal.entry import Entry, Picture, PodName
from agent.journal.store import FileJournal

async def main():
    journal = FileJournal(Path(sys.argv[1]), "n1", time.time)
    task = asyncio.create_task(journal.run())
    pod = PodName(namespace="default", name="web-1", uid="0a1b-2c3d")
    number = 0
    while True:
        journal.note(pod, Entry(at=time.time(), what=f"step {number}", message="x" * 100))
        journal.show(pod, Picture(at=time.time(), phase=f"{number}"))
        number += 1
        print(time.time(), flush=True)
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


def test_a_sigkill_costs_the_last_second_at_most(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    for seconds in (0.9, 1.3, 1.7):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
        ) as writer:
            assert writer.stdout is not None
            first = float(writer.stdout.readline())
            last = first
            while last < first + seconds:
                last = float(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            told = [float(line) for line in writer.stdout.read().split()]
        last = max([last, *told])
        found = story(tmp_path)
        assert found.picture is not None
        assert last - found.entries[-1].at < 1.0
        numbers = [int(each.what.removeprefix("step ")) for each in found.entries if each.at >= first]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
