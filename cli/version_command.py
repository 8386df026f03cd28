"""`berth version`."""

from __future__ import annotations

from importlib.metadata import version as read_distribution_version

import click


@click.command(epilog="Example: berth version")
def version() -> None:
    """Print Berth's version."""
    click.echo(f"berth {read_distribution_version('berth')}")
