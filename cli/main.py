"""The root of the `berth` command line.

Only parses and prints: each command builds one settings value and hands it to a composition root. Commands
live in a module each and are imported when named, so that `berth --help` stays instant. Exit codes: 0 ok,
1 failed, 2 misused.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from cli.failures import exit_on_failure

_COMMANDS: Final = {
    "agent": ("cli.agent_commands", "agent", "Run the node agent: pods, Services and DNS of one machine."),
    "explain": ("cli.explain_commands", "explain", "Say why something on this node is as it is."),
    "lab": ("cli.lab_commands", "lab", "Many real nodes on this one machine, to try things out."),
    "server": ("cli.server_commands", "server", "Run the control plane: API server, scheduler, controllers."),
    "version": ("cli.version_command", "version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are looked up, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: sudo berth lab up --nodes 3",
)
def berth() -> None:
    """Berth: a Kubernetes node agent, and a small control plane to go with it."""


def main() -> None:
    """The console script: runs the command; misuse or an expected failure is one line and an exit code."""
    with exit_on_failure():
        # Not in click's own way, which is to print usage, a hint and the error, each on lines of its own.
        sys.exit(berth.main(prog_name="berth", standalone_mode=False))


if __name__ == "__main__":
    main()
