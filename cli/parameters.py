"""Parameter types of the command line: text from a person, checked, as values. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

# Whether they can be read is for whoever reads them to say: click would complain of defaults nobody typed.
DIRECTORY = click.Path(path_type=Path, file_okay=False, readable=False)
FILE = click.Path(path_type=Path, dir_okay=False, readable=False)
PORT = click.IntRange(1, 65535)


class AddressType(click.ParamType[str]):
    """An IP address without a prefix length."""

    name = "IP"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(ip_address(value)) if value else ""
        except ValueError:
            self.fail(f"{value!r} is not an IP address; write one such as 192.168.56.11", param, ctx)


class AddressPairType(click.ParamType[str]):
    """An IP address, or one of each family with a comma between and the primary first."""

    name = "IP[,IP]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            ips = tuple(ip_address(part.strip()) for part in value.split(",")) if value else ()
        except ValueError:
            self.fail(f"{value!r} is not an IP address; write one such as 192.168.56.11", param, ctx)
        if len({ip.version for ip in ips}) != len(ips):
            self.fail(f"{value!r} has two addresses of one family; write one of each", param, ctx)
        return ",".join(map(str, ips))


class NetworkType(click.ParamType[str]):
    """An IP network with its prefix length; the empty text is none."""

    name = "CIDR"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(ip_network(value)) if value else ""
        except ValueError as error:
            self.fail(f"{value!r} is not a network ({error}); write one such as 10.244.0.0/16", param, ctx)


class ServerURLType(click.ParamType[str]):
    """Where an API server is: https, a host, and nothing behind the port."""

    name = "URL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
            self.fail(f"{value!r} is no server; write one such as https://192.168.56.10:6443", param, ctx)
        return value


_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NODE_NAME_LIMIT: Final = 253


class NodeNameType(click.ParamType[str]):
    """The name of an API object: a DNS subdomain."""

    name = "NAME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if len(value) > _NODE_NAME_LIMIT or not _NODE_NAME.fullmatch(value):
            self.fail(f"{value!r} is not a name; use lower case letters, digits, '-' and '.'", param, ctx)
        return value


class LabelType(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not a label; write KEY=VALUE", param, ctx)
        return key, text
