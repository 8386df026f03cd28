"""`berth explain …`: why something on this node is as it is.

Only parses and prints; reads the agent's journal, so that neither the agent nor the API server need run.
Meanings of the options and the shape of `-o json` are promises to scripts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from cli.parameters import DIRECTORY

if TYPE_CHECKING:
    from agent.journal.read import PodStory


_root_option = click.option(
    "--root-dir",
    type=DIRECTORY,
    default=Path("/var/lib/berth"),
    envvar="BERTH_ROOT_DIR",
    show_default=True,
    show_envvar=True,
    help="Where the agent keeps its state.",
)
_output_option = click.option(
    "-o",
    "output",
    type=click.Choice(("wide", "json", "yaml")),
    help="json and yaml for programs; wide shows the whole timeline, with dates.",
)


@click.group(epilog="Example: sudo berth explain pod default/web-1")
def explain() -> None:
    """Say why something on this node is as it is: what it waits for, and what happened before."""


@explain.command(epilog="Example: sudo berth explain pod default/web-1")
@click.argument("pod", metavar="NS/NAME")
@_root_option
@_output_option
@click.option("--all", "every", is_flag=True, help="Every pod of that name there was, not just the newest.")
def pod(pod: str, root_dir: Path, output: str | None, every: bool) -> None:
    """Show a pod's timeline, how long each phase took, and what it waits for now.

    Run it on the pod's node. It reads what the agent has written down: the agent may be dead and the API
    server away, and pods that are gone are remembered for a while. A static pod may be named as its manifest
    has it.
    """
    from agent.journal.read import read_heartbeat
    from cli.explain_document import build_document
    from cli.explain_text import render_stories

    stories = _read_stories(root_dir, pod)
    chosen = stories if every else stories[:1]
    heartbeat, now = read_heartbeat(root_dir), time.time()
    documents = [build_document(story, heartbeat) for story in chosen]
    document = {"items": documents} if every else documents[0]
    match output:
        case "json":
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        case "yaml":
            click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
        case _:
            text = render_stories(chosen, len(stories), heartbeat, now, wide=output == "wide")
            click.echo(text)


def _read_stories(root_dir: Path, wanted: str) -> list[PodStory]:
    """The newest first; one that is on this node now before those that are gone."""
    from agent.journal.files import build_stem
    from agent.journal.find import find_pods
    from agent.journal.read import read_heartbeat, read_pod_names, read_story

    known = read_pod_names(root_dir)
    heartbeat = read_heartbeat(root_dir)
    found = find_pods(known, wanted, heartbeat.node if heartbeat is not None else "")
    if not found:
        raise _build_unknown(root_dir, wanted)
    stories = [read_story(root_dir, name, build_stem(name.uid)) for name in found]
    return sorted(stories, key=lambda story: (story.picture is not None, story.last_at), reverse=True)


def _build_unknown(root_dir: Path, wanted: str) -> Exception:
    from agent.errors import AgentError
    from agent.journal.find import find_near
    from agent.journal.read import read_heartbeat, read_pod_names

    known = read_pod_names(root_dir)
    if not known and read_heartbeat(root_dir) is None:
        return AgentError(
            f"there is no journal below {root_dir}: no agent has run with this directory; "
            "name the agent's own with --root-dir"
        )
    near = find_near(known, wanted)
    hint = f"it knows {', '.join(near)}" if near else f"it knows {len(known)} pods, none of a name like it"
    return AgentError(f"this node has had no pod {wanted} that its journal remembers; {hint}")
