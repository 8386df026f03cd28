"""One node with a container runtime and an agent that knows no API server, and its manifest directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.checkpoint.records import PodRecord
from lab.agents import HEALTHZ_PORT, PROGRAM, kill_agent, read_agent, start_standalone_agent
from lab.cluster_readiness import wait_for_agent
from lab.control_plane import build_berth_argv
from lab.runtime_node import RuntimeNode, running_runtime_node
from tests.cluster.node_memory import read_records

Document = dict[str, Any]

_WAIT_SECONDS = 20.0
_HEALTHY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lone:
    """The node, driven as a person would: by files, and by looking at what runs."""

    node: RuntimeNode

    @property
    def directory(self) -> Path:
        return self.node.paths.static_pod_directory

    def write(self, name: str, *documents: Document) -> Path:
        """The file in one step, however many documents it has."""
        path = self.directory / name
        draft = path.with_suffix(".draft")
        draft.write_text("\n---\n".join(json.dumps({"apiVersion": "v1", **each}) for each in documents))
        os.replace(draft, path)
        return path

    def start_agent(self) -> None:
        process = start_standalone_agent(self.node)
        log_file = self.node.paths.lab.log_file(self.node.name, PROGRAM)
        wait_for_agent(self.node.netns, HEALTHZ_PORT, process, log_file, _HEALTHY_SECONDS)

    def kill_agent(self) -> None:
        kill_agent(self.node)

    def read_log(self) -> str:
        return self.node.paths.lab.log_file(self.node.name, PROGRAM).read_text()

    # --- what runs ------------------------------------------------------------------------------------------

    def read_records(self) -> Mapping[str, PodRecord]:
        """The pods that the node remembers, by name."""
        return read_records(self.node)

    def wait_for_pod(self, name: str, is_wanted: Callable[[PodRecord], bool]) -> PodRecord:
        found: list[PodRecord] = []

        def look() -> bool:
            found[:] = [
                record for key, record in self.read_records().items() if key == f"{name}-{self.node.name}"
            ]
            return bool(found) and is_wanted(found[0])

        wait_until(look, f"the pod {name} is {found}")
        return found[0]

    def wait_until_gone(self, name: str) -> None:
        wait_until(lambda: f"{name}-{self.node.name}" not in self.read_records(), f"the pod {name} is there")

    def run_in(self, record: PodRecord, *command: str) -> str:
        """What the command prints in the pod's first container."""
        container = record.pod.status.container_statuses[0].container_id.removeprefix("containerd://")
        done = self.node.run(
            ["ctr", "tasks", "exec", "--exec-id", f"x{time.monotonic_ns()}", container, *command]
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def explain(self, name: str) -> str:
        """What `berth explain pod` says on the node."""
        done = self.node.run([*build_berth_argv("explain"), "pod", f"default/{name}"])
        return done.stdout + done.stderr

    def ask(self, url: str) -> str:
        """The answer to a request from the node itself, empty when there is none."""
        done = self.node.run(["curl", "-s", "--max-time", "2", url])
        return done.stdout


def wait_until(is_so: Callable[[], bool], otherwise: str, seconds: float = _WAIT_SECONDS) -> None:
    """Nobody tells what an agent without an API server has done, so this looks again and again."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def is_ready(record: PodRecord) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in record.pod.status.conditions)


@pytest.fixture(scope="module")
def lone_node() -> Iterator[Lone]:
    with running_runtime_node(f"alone-{os.getpid()}") as node:
        lone = Lone(node)
        try:
            lone.start_agent()
            yield lone
        finally:
            kill_agent(node)


@pytest.fixture
def lone(lone_node: Lone) -> Iterator[Lone]:
    """An agent that runs, an empty directory, and afterwards no pods again."""
    if read_agent(lone_node.node) is None:
        lone_node.start_agent()
    yield lone_node
    if read_agent(lone_node.node) is None:
        lone_node.start_agent()
    for path in lone_node.directory.iterdir():
        path.unlink()
    wait_until(lambda: not lone_node.read_records(), f"pods are left: {list(lone_node.read_records())}")
