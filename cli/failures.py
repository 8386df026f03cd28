"""Expected failures become one line on standard error and exit code 1, misuse of a command one line and 2;
nobody sees a traceback for bad input.

The packages' root errors are known by name here so that nothing is imported just to be caught.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

_EXPECTED: Final = frozenset(
    {
        "agent.errors.AgentError",
        "controlplane.errors.ServerError",
        "controlplane.certificates.errors.CertificatesError",
        "kubeapi.errors.KubeAPIError",
        "lab.errors.LabError",
        "netrules.errors.RulesError",
    }
)


def is_expected(error: BaseException) -> bool:
    """Whether the error is one of the packages' root errors, whose text is a sentence for people."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in _EXPECTED for kind in type(error).__mro__)


def find_expected(error: BaseException) -> BaseException | None:
    """The expected error in `error`, looking into the groups that task groups raise, or None."""
    if is_expected(error):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [find_expected(part) for part in error.exceptions]
        return next((part for part in found if part is not None), None) if all(found) else None
    return None


def describe_misuse(error: click.ClickException) -> str:
    """What is wrong with a command line, and where to read how it is meant."""
    complaint = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return complaint if context is None else f"{complaint}; see `{context.command_path} --help`"


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """Ends the process with 1 or 2 and one line when an expected error leaves the block; others pass."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"berth: {describe_misuse(error)}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("berth: interrupted", err=True)
        sys.exit(1)
    except Exception as error:
        expected = find_expected(error)
        if expected is None:
            raise
        click.echo(f"berth: {expected}", err=True)
        sys.exit(1)
