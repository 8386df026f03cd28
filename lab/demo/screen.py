"""What the demo shows: a list of steps with the time of each, live on a terminal, a line each elsewhere.

Does terminal output only; the steps themselves know nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class StepList:
    """Steps as they run: `with steps.step("…") as note:` times one; `note("…")` adds what it found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=10) if console.is_terminal else None
        self._done: list[tuple[str, str, float]] = []
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._build_table(None))
            self._live.stop()

    @property
    def total_seconds(self) -> float:
        return time.monotonic() - self._started

    @contextmanager
    def step(self, title: str) -> Iterator[_Note]:
        note = _Note()
        started = time.monotonic()
        if self._live is not None:
            self._live.update(self._build_table(title))
        yield note
        took = time.monotonic() - started
        self._done.append((title, note.text, took))
        if self._live is None:
            self._console.print(f"  ok  {title:<46} {took:6.2f} s  {note.text}", highlight=False)
        else:
            self._live.update(self._build_table(None))

    def _build_table(self, running: str | None) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1))
        for title, text, took in self._done:
            table.add_row(Text("✔", "green"), title, Text(f"{took:.2f} s", "cyan"), Text(text, "dim"))
        if running is not None:
            table.add_row(Spinner("dots"), Text(running, "bold"), "", "")
        return table


class _Note:
    """What a step wants to say beside its time."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text = text
