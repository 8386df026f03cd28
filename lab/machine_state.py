"""A picture of the machine, and the difference between two: what a lab, or anything, has left behind.

`read_machine_state` is a shell that only reads; `diff_states` and `changes_of_lab` are pure. Used by the demo
and the tests. An item is one line of text that names it; whatever changes by itself (counters, lifetimes) is
left out of it. Other programs change a machine too, so a change is a lab's only if it carries the lab's mark.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab.cgroups import list_cgroups
from lab.errors import LabError
from lab.names import PREFIX, find_lab_mark
from lab.process_search import LAB_VARIABLE, read_command_line, read_start_ticks
from lab.processes import build_environment, find_program
from lab.teardown import CNI_RESULTS

# Where a node's programs write when nobody tells them otherwise.
WATCHED_DIRECTORIES = (
    Path("/etc/cni"),
    Path("/opt/cni"),
    Path("/opt/containerd"),
    Path("/run/containerd"),
    Path("/run/nri"),
    Path("/run/runc"),
    Path("/var/lib/berth"),
    Path("/var/lib/cni"),
    Path("/var/lib/containerd"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
    Path("/var/log/pods"),
)
_LAB_PARENTS = (Path("/run"), Path("/var/lib"))
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
)
_LEGACY_TABLES = (
    ("iptables-legacy-save", Path("/proc/net/ip_tables_names")),
    ("ip6tables-legacy-save", Path("/proc/net/ip6_tables_names")),
)


class Aspect(StrEnum):
    LINKS = "links"
    ADDRESSES = "addresses"
    ROUTES = "routes"
    RULES = "rules"
    SETTINGS = "settings"
    NAMESPACES = "namespaces"
    MOUNTS = "mounts"
    PROCESSES = "processes"
    CGROUPS = "cgroups"
    FILES = "files"


MachineState = Mapping[Aspect, frozenset[str]]


@dataclass(frozen=True, slots=True, order=True)
class Change:
    aspect: Aspect
    item: str
    appeared: bool  # else it vanished

    def __str__(self) -> str:
        return f"{self.aspect.value}: {'+' if self.appeared else '-'} {self.item}"


def diff_states(before: MachineState, after: MachineState) -> tuple[Change, ...]:
    """Everything that appeared or vanished, sorted; empty when both show the same."""
    changes = [
        Change(aspect, item, appeared)
        for aspect in Aspect
        for old, new, appeared in (
            (before[aspect], after[aspect], True),
            (after[aspect], before[aspect], False),
        )
        for item in new - old
    ]
    return tuple(sorted(changes))


def changes_of_lab(changes: Iterable[Change], lab: str) -> tuple[Change, ...]:
    """Those that carry the lab's mark, and all to the host's links, addresses, routes, rules, settings."""
    host_network = (Aspect.LINKS, Aspect.ADDRESSES, Aspect.ROUTES, Aspect.RULES, Aspect.SETTINGS)
    return tuple(
        change for change in changes if change.aspect in host_network or find_lab_mark(change.item) == lab
    )


def read_machine_state(directories: Iterable[Path] = WATCHED_DIRECTORIES) -> MachineState:
    """The machine as seen from the caller's network and mount namespaces; some 100 ms."""
    return {
        Aspect.LINKS: frozenset(_read_links()),
        Aspect.ADDRESSES: frozenset(_read_addresses()),
        Aspect.ROUTES: frozenset(_read_routes()),
        Aspect.RULES: frozenset(_read_rules()),
        Aspect.SETTINGS: frozenset(_read_settings()),
        Aspect.NAMESPACES: frozenset(_read_namespaces()),
        Aspect.MOUNTS: frozenset(_read_mounts()),
        Aspect.PROCESSES: frozenset(_read_processes()),
        Aspect.CGROUPS: frozenset(list_cgroups()),
        Aspect.FILES: frozenset(_read_files(directories)),
    }


def _read_links() -> Iterator[str]:
    for link in _run_ip("link"):
        yield f"{link['ifname']} ({link['link_type']}, index {link['ifindex']}, {link.get('address', '')})"


def _read_addresses() -> Iterator[str]:
    for link in _run_ip("address"):
        for address in link["addr_info"]:
            yield f"{address['local']}/{address['prefixlen']} dev {link['ifname']}"


def _read_routes() -> Iterator[str]:
    for family in ("-4", "-6"):
        for route in _run_ip(family, "route", "show", "table", "all"):
            kept = ("type", "dst", "gateway", "dev", "table", "protocol", "prefsrc", "metric")
            yield " ".join(f"{key} {route[key]}" for key in kept if key in route)


def _read_rules() -> Iterator[str]:
    if find_program("nft"):
        table = ""
        for line in _run("nft", "--stateless", "list", "ruleset").splitlines():
            table = line if line.startswith("table") else table
            if line.strip() not in ("", "}"):
                yield f"{table.removesuffix(' {')}: {line.strip()}"
    for program, names in _LEGACY_TABLES:
        # Asking for tables would load them; the kernel lists those that are loaded.
        if find_program(program) and names.exists() and names.read_text().strip():
            for line in _run(program).splitlines():
                if line.startswith("-A"):
                    yield f"{program}: {line}"


def _read_settings() -> Iterator[str]:
    for name in _SYSCTLS:
        path = Path("/proc/sys") / name
        if path.exists():
            yield f"{name} = {path.read_text().strip()}"


def _read_namespaces() -> Iterator[str]:
    """Those that a mount keeps alive; the others live as long as their processes."""
    for point, filesystem in _read_mount_table():
        if filesystem == "nsfs":
            yield point


def _read_mounts() -> Iterator[str]:
    for point, filesystem in _read_mount_table():
        if filesystem != "nsfs":
            yield f"{point} ({filesystem})"


def _read_mount_table() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        yield before.split(" ")[4], after.split(" ")[0]


def _read_processes() -> Iterator[str]:
    """Name, pid and the lab it belongs to; never its arguments, which may hold secrets."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and read_start_ticks(int(entry)) is not None:
            argv = read_command_line(int(entry))
            lab = _find_lab_of(int(entry), argv)
            mark = f" of {PREFIX}{lab}" if lab else ""
            yield f"{Path(argv[0]).name if argv else '[kernel]'} (pid {entry}){mark}"


def _find_lab_of(pid: int, argv: tuple[str, ...]) -> str:
    """From its cgroup, its environment, or the paths that containerd and its shims are given."""
    for path in (f"/proc/{pid}/cgroup", f"/proc/{pid}/environ"):
        try:
            text = Path(path).read_bytes().decode(errors="replace")
        except OSError:
            continue
        if found := find_lab_mark(text):
            return found
        for variable in text.split("\0"):
            if variable.startswith(f"{LAB_VARIABLE}="):
                return variable.partition("=")[2]
    is_containerd = bool(argv) and Path(argv[0]).name.startswith("containerd")
    return find_lab_mark(" ".join(argv)) if is_containerd else ""


def _read_files(directories: Iterable[Path]) -> Iterator[str]:
    for parent in _LAB_PARENTS:
        yield from (str(path) for path in parent.glob(f"{PREFIX}*"))
    for directory in directories:
        for path, subdirectories, files in os.walk(directory):
            yield from (f"{path}/{name}{_find_mark_inside(Path(path) / name)}" for name in files)
            yield from (f"{path}/{name}" for name in subdirectories)


def _find_mark_inside(path: Path) -> str:
    """CNI's records of pods have names that say nothing of the lab; what is in them does."""
    if path.parent != CNI_RESULTS:
        return ""
    try:
        lab = find_lab_mark(path.read_bytes().decode(errors="replace"))
    except OSError:
        return ""
    return f" of {PREFIX}{lab}" if lab else ""


def _run_ip(*arguments: str) -> list[Any]:
    output = _run("ip", "-j", *arguments)
    return [entry for entry in json.loads(output or "[]") if entry]


def _run(*argv: str) -> str:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=20, env=build_environment(), check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"the machine's state can't be read: `{' '.join(argv)}` failed ({error})") from error
