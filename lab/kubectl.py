"""Runs a stock kubectl against a lab's cluster, for the demo, the tests and the benches.

Subprocess IO. The binary is the first `kubectl` on the PATH, or $BERTH_KUBECTL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl with one kubeconfig; it caches discovery under `cache_dir`, not in the home directory."""

    binary: str
    kubeconfig: Path
    cache_dir: Path

    def run(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Standard output of one command; LabError with its own words when it fails or takes too long."""
        result = self.try_run(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)
        if result.returncode != 0:
            raise LabError(
                f"kubectl {' '.join(arguments)} failed: {result.stderr.strip() or result.stdout.strip()}"
            )
        return result.stdout

    def try_run(
        self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """One command's outcome, whatever its exit code; LabError when it takes too long."""
        try:
            return subprocess.run(
                self.command(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
                env=os.environ | {"HOME": str(self.cache_dir)},
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"kubectl {' '.join(arguments)} gave no answer in {timeout_seconds:g} s"
            ) from error

    def command(self, *arguments: str) -> list[str]:
        """The whole command line, for those who run it themselves."""
        return [
            self.binary,
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.cache_dir}",
            *arguments,
        ]


def find_kubectl(kubeconfig: Path, cache_dir: Path) -> Kubectl:
    """The kubectl of this machine; LabError when there is none."""
    binary = os.environ.get("BERTH_KUBECTL") or shutil.which("kubectl")
    if binary is None:
        raise LabError("there is no kubectl on the PATH; run `sudo ./dev setup`, which brings one")
    return Kubectl(binary, kubeconfig, cache_dir)
