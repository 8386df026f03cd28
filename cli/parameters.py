"""Parameter types of the command line: text from a person, checked, as values. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import click

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
PORT = click.IntRange(1, 65535)


class AddressType(click.ParamType[str]):
    """An IP address without a prefix length."""

    name = "IP"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(ip_address(value)) if value else ""
        except ValueError:
            self.fail(f"{value!r} is not an IP address; write one such as 192.168.56.11", param, ctx)


class LabelType(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not a label; write KEY=VALUE", param, ctx)
        return key, text
