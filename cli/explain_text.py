"""What `berth explain pod` prints for people: who, what it waits for, how long things took, what happened.

Pure: `now` arrives as an argument. Times are UTC, as in the API. Colours are for a terminal; where there is
none, whoever prints takes them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from agent.journal.entry import Entry, Heartbeat
from agent.journal.read import PodStory
from agent.journal.timeline import Phase, compute_phases
from agent.pods.waits import Wait

_ALIVE_SECONDS: Final = 25.0  # the agent gives a sign of life every ten
_SHOWN_ENTRIES: Final = 40
_DETAIL_LENGTH: Final = 150  # of a line of the timeline; the waits above it are shown whole


def render_stories(
    stories: Sequence[PodStory], known: int, heartbeat: Heartbeat | None, now: float, *, wide: bool
) -> str:
    """One after the other; `known` is how many pods of this name there are in all."""
    texts = ["\n".join(_render_story(story, heartbeat, now, wide)) for story in stories]
    if known > len(stories):
        texts.append(f"{known - len(stories)} older of this name: --all shows them, too.")
    return "\n\n".join(texts)


def format_duration(seconds: float) -> str:
    """`7ms`, `1.24s`, `38s`, `4m12s`, `3h5m`, `2d7h`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1000:.0f}ms"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    whole = round(seconds)
    for unit, size, smaller, small_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // small_size}{smaller}"
    return f"{whole}s"


def _render_story(story: PodStory, heartbeat: Heartbeat | None, now: float, wide: bool) -> Iterator[str]:
    as_of = _choose_as_of(heartbeat, now)
    yield click.style(f"Pod {story.pod.namespace}/{story.pod.name}", bold=True) + _describe_pod(
        story, heartbeat
    )
    yield _describe_state(story, as_of)
    yield _describe_agent(heartbeat, now)
    yield from _render_waits(story, as_of)
    yield from _render_phases(compute_phases(story.entries))
    yield from _render_timeline(story, wide)


def _choose_as_of(heartbeat: Heartbeat | None, now: float) -> float:
    """Durations of what goes on count until now, or until the agent was last heard of."""
    if heartbeat is None or now - heartbeat.at <= _ALIVE_SECONDS:
        return now
    return heartbeat.at


def _describe_pod(story: PodStory, heartbeat: Heartbeat | None) -> str:
    node = f", node {heartbeat.node}" if heartbeat is not None and heartbeat.node else ""
    static = "" if story.pod.source == "api" else ", static"
    return f"  uid {story.pod.uid}{node}{static}"


def _describe_state(story: PodStory, as_of: float) -> str:
    picture = story.picture
    if picture is None:
        last = f" at {_format_time(story.last_at, dated=True)}" if story.entries else ""
        return f"Gone from this node{last}."
    ready = "ready" if picture.ready else "not ready"
    phase = picture.phase or "not begun"
    return f"{phase}, {ready}; unchanged for {format_duration(as_of - picture.at)}."


def _describe_agent(heartbeat: Heartbeat | None, now: float) -> str:
    if heartbeat is None:
        return "The agent has not given a sign of life yet."
    ago = format_duration(now - heartbeat.at)
    if now - heartbeat.at <= _ALIVE_SECONDS:
        return f"The agent runs: its last sign of life was {ago} ago."
    when = _format_time(heartbeat.at, dated=True)
    return click.style(
        f"The agent was last heard of at {when}, {ago} ago: all below is as of then.", fg="yellow"
    )


def _render_waits(story: PodStory, as_of: float) -> Iterator[str]:
    if story.picture is None:
        return
    yield ""
    if not story.picture.waits:
        yield "It waits for nothing."
        return
    yield click.style("It waits for", bold=True)
    for wait in story.picture.waits:
        yield from _render_wait(wait, as_of)


def _render_wait(wait: Wait, as_of: float) -> Iterator[str]:
    lasting = f"for {format_duration(as_of - wait.since)}, since {_format_time(wait.since)}"
    yield f"  {wait.what}: {click.style(wait.reason, fg='yellow')}, {lasting}{_describe_retry(wait, as_of)}"
    yield f"    {wait.message}"
    if wait.call is not None:
        yield f"    in flight: {wait.call.name}, for {format_duration(as_of - wait.call.since)}"


def _describe_retry(wait: Wait, as_of: float) -> str:
    if wait.next_retry is None:
        return ""
    when = _format_time(wait.next_retry)
    remaining = wait.next_retry - as_of
    return f"; next at {when}, in {format_duration(remaining)}" if remaining > 0 else f"; next at {when}"


def _render_phases(phases: Sequence[Phase]) -> Iterator[str]:
    if not phases:
        return
    rows = [("PHASE", "TOOK", "BEGAN", "TRIES")]
    rows += [
        (f"{phase.name} {phase.target}".rstrip(), _describe_took(phase), _format_time(phase.began_at),
         _describe_tries(phase))
        for phase in phases
    ]  # fmt: skip
    yield ""
    yield from _render_table(rows)


def _describe_took(phase: Phase) -> str:
    if phase.coarse:
        return f"{phase.seconds:.0f}s" if phase.seconds >= 1 else "< 1s"
    return format_duration(phase.seconds) + ("" if phase.done else " so far")


def _describe_tries(phase: Phase) -> str:
    tries = str(phase.tries) if phase.tries > 1 or not phase.done else ""
    runs = f"the newest of {phase.runs}" if phase.runs > 1 else ""
    return ", ".join(part for part in (tries, runs) if part)


def _render_timeline(story: PodStory, wide: bool) -> Iterator[str]:
    if not story.entries:
        return
    shown = story.entries if wide else story.entries[-_SHOWN_ENTRIES:]
    hidden = len(story.entries) - len(shown)
    yield ""
    yield click.style("TIMELINE", bold=True) + f" (UTC, {_format_date(shown[0].at)})"
    if hidden:
        yield f"  … {hidden} before that; -o wide shows them"
    elif story.cut:
        yield "  … what came before is no longer kept"
    yield from _render_entries(shown, wide)


def _render_entries(entries: Sequence[Entry], wide: bool) -> Iterator[str]:
    width = max(len(_name(entry)) for entry in entries)
    before: float | None = None
    for entry in entries:
        gap = f"+{format_duration(entry.at - before)}" if before is not None else ""
        before = entry.at
        detail = _describe_entry(entry)
        if not wide and len(detail) > _DETAIL_LENGTH:
            detail = detail[: _DETAIL_LENGTH - 1] + "…"
        line = f"  {_format_time(entry.at, dated=wide)}  {gap:>7}  {_name(entry):<{width}}  {detail}".rstrip()
        yield click.style(line, fg="red") if entry.failed else line


def _name(entry: Entry) -> str:
    return f"{entry.what} {entry.target}".rstrip()


def _describe_entry(entry: Entry) -> str:
    said = ": ".join(part for part in (entry.reason, entry.message) if part)
    if entry.seconds is None:
        return said
    took = f"{'failed after' if entry.failed else 'took'} {format_duration(entry.seconds)}"
    return f"{took}, {said}" if said else took


def _render_table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for index, row in enumerate(rows):
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield click.style(line, bold=True) if index == 0 else f"{line}"


def _format_time(seconds: float, *, dated: bool = False) -> str:
    instant = datetime.fromtimestamp(seconds, UTC)
    day = instant.strftime("%Y-%m-%d ") if dated else ""
    return day + instant.strftime("%H:%M:%S.%f")[:-3]


def _format_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
