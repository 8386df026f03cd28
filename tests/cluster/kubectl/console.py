"""A person's console: one kubectl, one cluster, one namespace.

Subprocess IO through `lab.kubectl`. What a test types stands in its lines as it would in a terminal.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from subprocess import CompletedProcess

from lab.kubectl import Kubectl
from tests.cluster.kubectl.running_command import RunningCommand, running, running_on_terminal
from tests.cluster.kubectl.stock_kubectl import read_minor_version


@dataclass(frozen=True, slots=True)
class Console:
    """`line` is what stands behind `kubectl` in a shell; the namespace is added."""

    kubectl: Kubectl
    namespace: str

    @property
    def minor_version(self) -> int:
        return read_minor_version(self.kubectl.binary)

    def run(self, line: str, stdin: str | None = None) -> str:
        """Standard output; LabError when it fails."""
        return self.kubectl.run(*self._arguments(line), stdin=stdin)

    def outcome(self, line: str, stdin: str | None = None) -> CompletedProcess[str]:
        """Whatever becomes of it."""
        return self.kubectl.try_run(*self._arguments(line), stdin=stdin)

    def refusal(self, line: str, stdin: str | None = None) -> str:
        """What kubectl says as it fails; AssertionError when it doesn't."""
        outcome = self.outcome(line, stdin)
        assert outcome.returncode != 0, f"kubectl {line} succeeded: {outcome.stdout}"
        return outcome.stderr.strip()

    def wait_for(self, line: str) -> None:
        """A command that waits; AssertionError with what the namespace looks like when it waits in vain."""
        outcome = self.outcome(line)
        assert outcome.returncode == 0, "\n".join(
            [
                outcome.stdout,
                outcome.stderr,
                self.run("get all -o wide"),
                self.run("describe pods"),
                self.run("get events"),
            ]
        )

    def start(self, line: str) -> AbstractContextManager[RunningCommand]:
        """The command while the block runs."""
        return running(self._command(line), self._environment())

    def start_on_terminal(
        self, line: str, rows: int = 24, columns: int = 80
    ) -> AbstractContextManager[RunningCommand]:
        return running_on_terminal(self._command(line), self._environment(), rows, columns)

    def _arguments(self, line: str) -> tuple[str, ...]:
        return (f"--namespace={self.namespace}", *shlex.split(line))

    def _command(self, line: str) -> list[str]:
        return self.kubectl.command(*self._arguments(line))

    def _environment(self) -> Mapping[str, str]:
        return os.environ | {"HOME": str(self.kubectl.cache_dir), "TERM": "dumb"}


@contextmanager
def console_in_namespace(kubectl: Kubectl, namespace: str) -> Iterator[Console]:
    """In a new namespace, which is deleted when the block ends, without waiting for it."""
    kubectl.run("create", "namespace", namespace)
    try:
        yield Console(kubectl, namespace)
    finally:
        kubectl.run("delete", "namespace", namespace, "--wait=false")
