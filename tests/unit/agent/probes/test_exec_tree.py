"""Which processes belong to a command, one changed fact at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.probes.exec_tree import (
    Process,
    choose_doomed,
    find_commands,
    find_leaderless,
    parse_process,
)

_SHIM = 7
_MAIN = Process(100, _SHIM, 100, 1000)
_WORKER = Process(101, 100, 100, 5050)  # begun while the command ran, but the container's own
_COMMAND = Process(200, _SHIM, 200, 5000)
_CHILD = Process(201, 200, 200, 5001)
_AWAY = Process(202, 200, 202, 5001)  # left the session
_GRANDCHILD = Process(203, 202, 202, 5002)
_BEFORE = (_MAIN, _WORKER, _COMMAND, _CHILD, _AWAY, _GRANDCHILD)
_SINCE = 4999


def _by_pid(*processes: Process) -> dict[int, Process]:
    return {process.pid: process for process in processes}


def _adopt(process: Process) -> Process:
    """By the container's first process, as its parent has ended."""
    return replace(process, parent=100)


_AFTER = (_MAIN, _WORKER, _adopt(_CHILD), _adopt(_AWAY), _GRANDCHILD)


def test_nothing_is_left_of_a_command_without_children() -> None:
    assert choose_doomed([_COMMAND], (_MAIN, _COMMAND), _by_pid(_MAIN), due=1) == ()


def test_the_session_and_those_that_left_it_are_doomed_and_nobody_else() -> None:
    doomed = choose_doomed([_COMMAND], _BEFORE, _by_pid(*_AFTER), due=1)
    assert {process.pid for process in doomed} == {201, 202, 203}


def test_nothing_is_doomed_while_the_command_runs() -> None:
    assert choose_doomed([_COMMAND], _BEFORE, _by_pid(*_BEFORE), due=1) == ()


def test_a_zombie_has_ended() -> None:
    zombie = replace(_COMMAND, ended=True)
    doomed = choose_doomed([_COMMAND], _BEFORE, _by_pid(*_AFTER, zombie), due=1)
    assert {process.pid for process in doomed} == {201, 202, 203}


def test_a_number_that_another_process_has_by_now_is_not_doomed() -> None:
    reused = Process(201, 100, 100, 6000)
    doomed = choose_doomed([_COMMAND], (_COMMAND, _CHILD), _by_pid(_MAIN, reused), due=1)
    assert doomed == ()


def test_two_commands_that_ended_but_one_call_that_is_due_are_left_alone() -> None:
    other, its_child = Process(300, _SHIM, 300, 5003), Process(301, 100, 300, 5004)
    present = _by_pid(*_AFTER, its_child)
    assert choose_doomed([_COMMAND, other], _BEFORE, present, due=1) == ()
    doomed = choose_doomed([_COMMAND, other], _BEFORE, present, due=2)
    assert {process.pid for process in doomed} == {201, 202, 203, 301}


def test_another_command_that_left_nothing_is_no_obstacle() -> None:
    other = Process(300, _SHIM, 300, 5003)
    doomed = choose_doomed([_COMMAND, other], _BEFORE, _by_pid(*_AFTER), due=1)
    assert {process.pid for process in doomed} == {201, 202, 203}


def test_commands_are_begun_by_the_runtime_since_then() -> None:
    older = Process(150, _SHIM, 150, 4000)
    assert find_commands(_by_pid(*_BEFORE, older), _SINCE) == {_COMMAND}


def test_a_session_without_its_leader() -> None:
    """Its members tell when it began; one with an older member isn't the command's."""
    present = _by_pid(_MAIN, _adopt(_CHILD), Process(400, 100, 399, 900), Process(401, 400, 399, 5002))
    assert find_leaderless(present, _SINCE) == {Process(200, 0, 200, 5001, ended=True): (_adopt(_CHILD),)}


def test_stat_files() -> None:
    stat = "42 (a) R (b) S 7 42 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5001 2 3"
    assert parse_process(stat) == Process(42, 7, 40, 5001)
    assert parse_process(stat.replace(") S ", ") Z ")).ended
    with pytest.raises(ValueError, match="stat"):
        parse_process("42 (sh) S 1")
