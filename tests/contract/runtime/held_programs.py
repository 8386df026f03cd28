"""CNI's bridge plugin and runc behind scripts that may be told to wait first.

Files in a directory of the test's own. Used by the contract tests to see what a runtime does with a call
whose caller has stopped waiting. A script waits as long as the file of its step says, then becomes the real
program.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.prerequisites import find_cni_plugins
from lab.processes import find_program

ADD_NETWORK = "cni-ADD"
REMOVE_NETWORK = "cni-DEL"
CREATE_PROCESS = "runc-create"
START_PROCESS = "runc-start"

# The sleeping child holds none of the plugin's pipes: who kills the script must not wait for the child.
_WAIT = 'wait_for() { [ ! -e "$1" ] || sleep "$(cat "$1")" <&- >&- 2>&-; }'


@dataclass(frozen=True, slots=True)
class HeldPrograms:
    directory: Path

    @property
    def cni_plugins(self) -> Path:
        return self.directory / "cni"

    @property
    def runc(self) -> Path:
        return self.directory / "runc"

    def make(self, runc: Path | None) -> None:
        """The scripts, in front of that runc, or of this machine's."""
        self.cni_plugins.mkdir(parents=True)
        plugins = find_cni_plugins()
        for plugin in plugins.iterdir():
            if plugin.name != "bridge":
                (self.cni_plugins / plugin.name).symlink_to(plugin)
        hold = shlex.quote(str(self.directory))
        _write(
            self.cni_plugins / "bridge",
            f"{_WAIT}\nwait_for {hold}/cni-$CNI_COMMAND\nexec {shlex.quote(str(plugins / 'bridge'))}\n",
        )
        real = runc or find_program("runc")
        assert real is not None, "these tests need runc"
        _write(
            self.runc,
            f"{_WAIT}\nfor word; do case $word in\n"
            f"  create) wait_for {hold}/runc-create; break;;\n"
            f"  start) wait_for {hold}/runc-start; break;;\n"
            f'esac; done\nexec {shlex.quote(str(real))} "$@"\n',
        )

    @contextlib.contextmanager
    def hold(self, step: str, seconds: float) -> Iterator[None]:
        """While the block runs, each such step begins with a pause."""
        file = self.directory / step
        file.write_text(f"{seconds:g}\n")
        try:
            yield
        finally:
            file.unlink()


def _write(path: Path, script: str) -> None:
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
