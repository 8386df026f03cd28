"""Everything on a lab's node in which a pod can leave something, and what is new at a later look.

`read_node_traces` is a shell that only reads (some 200 ms); `find_new_traces` is pure. Used by the tests and
the soak runs; what a whole lab leaves on the machine is `lab.machine_state`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lab import cgroups
from lab.process_search import read_command_line, read_program_name
from lab.runtime_node import RuntimeNode

Traces = Mapping[str, frozenset[str]]


def read_node_traces(node: RuntimeNode) -> Traces:
    """Items by what they are; an item that stays the same thing has the same name in each picture."""
    paths = node.paths
    return {
        "mounts": frozenset(_list_mounts(node)),
        "cgroups": frozenset(
            each for each in cgroups.list_cgroups() if f"{node.cgroup_root}/kubepods/" in each
        ),
        "agent's files": frozenset(map(str, _list_agent_files(paths.agent_root))),
        "logs": frozenset(map(str, paths.pod_logs_directory.rglob("*"))),
        "addresses": frozenset(map(str, paths.cni_state_directory.glob("*/10.*"))),
        "containers": frozenset(node.run(["ctr", "containers", "ls", "-q"]).stdout.split()),
        "snapshots": frozenset(_list_first_words(node, "ctr", "snapshots", "ls")),
        "shims": frozenset(_list_shims(node)),
        "network namespaces": frozenset(map(str, paths.containerd_state.glob("*/netns/*"))),
        "links": frozenset(_list_links(node)),
        "rules": frozenset(node.run(["nft", "list", "ruleset"]).stdout.splitlines()),
    }


def find_new_traces(before: Traces, after: Traces) -> Mapping[str, list[str]]:
    """What the later picture shows and the earlier doesn't; empty when nothing was left."""
    return {what: sorted(items - before[what]) for what, items in after.items() if items - before[what]}


def _list_agent_files(root: Path) -> Iterator[Path]:
    """But the journal, which keeps the timelines of gone pods for a while, so many and so large."""
    return (path for path in root.rglob("*") if path.relative_to(root).parts[0] != "journal")


def _list_mounts(node: RuntimeNode) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target = line.split()[1]
        if f"/{node.paths.lab.mark}/{node.name}/" in target:
            yield target


def _list_links(node: RuntimeNode) -> Iterator[str]:
    for line in node.run(["ip", "-brief", "link"]).stdout.splitlines():
        yield line.split()[0]


def _list_first_words(node: RuntimeNode, *argv: str) -> Iterator[str]:
    for line in node.run(argv).stdout.splitlines()[1:]:
        yield line.split()[0]


def _list_shims(node: RuntimeNode) -> Iterator[str]:
    """By the sandbox that each is for."""
    for pid in cgroups.read_pids(node.cgroup_root):
        if read_program_name(pid).startswith("containerd-shim"):
            argv = read_command_line(pid)
            yield " ".join(argv[argv.index("-id") : argv.index("-id") + 2] if "-id" in argv else argv)
