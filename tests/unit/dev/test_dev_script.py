"""`./dev`: what it answers before it installs anything."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parents[3] / "dev"


def run_dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DEV, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command_with_an_example() -> None:
    done = run_dev("--help")
    assert done.returncode == 0
    for command in ("demo", "test", "check", "bench", "soak", "setup", "runtimes", "lock", "generate"):
        assert f"./dev {command}" in done.stdout
    assert "Example: sudo ./dev demo" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Usage: ./dev COMMAND"),
        (("magic",), "dev: 'magic' is not a command"),
        (("test", "magic"), "dev: 'magic' is not a tier of tests; choose from: unit property"),
        (("test", "runtime", "--runtime"), "dev: --runtime needs a name, such as containerd-2"),
    ],
)
def test_misuse_ends_with_2_and_says_what_to_do(arguments: tuple[str, ...], message: str) -> None:
    done = run_dev(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Anybody may enter it, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("command", ["demo", "bench", "soak", "runtimes"])
def test_what_needs_root_says_so(command: str, public_directory: Path) -> None:
    script = shutil.copy(DEV, public_directory)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "--", script, command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "needs root; run it as: sudo ./dev" in done.stderr
