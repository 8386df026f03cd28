"""The `--config FILE` option: YAML with the settings of the same command, by flag name; flags win.

The file's values become click's defaults, so they are converted and checked exactly as flags are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def read_configuration(path: Path) -> dict[str, object]:
    """The mapping in a YAML file; click.UsageError in one sentence when it isn't one."""
    try:
        document = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise click.UsageError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise click.UsageError(f"the configuration file {path} is not YAML: {reason}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise click.UsageError(
            f"the configuration file {path} holds a {type(document).__name__}; "
            "write one setting a line, for example `node-name: n1`"
        )
    return {str(key): value for key, value in document.items()}


def _apply_configuration(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    settings = read_configuration(value)
    known = {
        option.removeprefix("--"): parameter.name
        for parameter in ctx.command.params
        for option in parameter.opts
        if parameter.name not in {param.name, "help"}
    }
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise click.UsageError(
            f"the configuration file {value} has unknown settings: {', '.join(unknown)}; "
            f"settings are named as the flags of `{ctx.command_path} --help`"
        )
    ctx.default_map = {known[key] or key: setting for key, setting in settings.items()}


def configuration_option(command: CommandT) -> CommandT:
    """Adds `--config FILE` to a command."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_apply_configuration,
        help="YAML file with these same settings by flag name, for example `node-name: n1`; flags win.",
    )(command)
