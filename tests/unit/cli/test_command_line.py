"""What a person types: help with examples, configuration files, and one clear line for misuse."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.configuration import configuration_option
from cli.main import berth
from cli.parameters import AddressType

COMMANDS = (
    (),
    ("agent",),
    ("server",),
    ("server", "kubeconfig"),
    ("version",),
    *(
        ("lab", name)
        for name in ("up", "status", "kubeconfig", "exec", "kill", "restart", "cut", "heal", "down")
    ),
)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(berth, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("agent",), "Missing option '--node-name'"),
        (("agent", "--node-name", "n1", "--proxy-mode", "magic"), "'magic' is not one of 'auto', 'nftables'"),
        (("agent", "--node-name", "n1", "--node-ip", "300.1.1.1"), "'300.1.1.1' is not an IP address"),
        (("agent", "--node-name", "n1", "--node-label", "x"), "'x' is not a label; write KEY=VALUE"),
        (("agent", "--node-name", "N_1"), "'N_1' is not a name; use lower case letters"),
        (("agent", "--node-name", "n1", "--cluster-cidr", "10.1.0.1/16"), "has host bits set"),
        (("server",), "--data-dir is missing"),
        (("server", "--data-dir", "x", "--secure-port", "70000"), "70000 is not in the range"),
        (("server", "--data-dir", "x", "--components", "apiserver,magic"), "names an unknown component"),
        (
            ("server", "kubeconfig", "--data-dir", "x", "--server", "https://y:6443"),
            "either --node NAME or --admin",
        ),
        (
            ("server", "kubeconfig", "--data-dir", "x", "--admin", "--server", "ftp://y"),
            "'ftp://y' is no server",
        ),
        (("server", "kubeconfig", "--data-dir", "x", "--node", "Bad_Name"), "'Bad_Name' is not a name"),
        (("magic",), "No such command 'magic'"),
    ],
)
def test_misuse_ends_with_2_and_says_what_to_do(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(berth, arguments)
    assert result.exit_code == 2
    assert message in result.output


@click.command()
@configuration_option
@click.option("--node-name", required=True)
@click.option("--node-ip", type=AddressType(), default="")
@click.option("--port", type=click.IntRange(1, 65535), default=10250)
def echo(node_name: str, node_ip: str, port: int) -> None:
    click.echo(f"{node_name} {node_ip} {port}")


def run_echo(tmp_path: Path, text: str, *flags: str) -> tuple[int, str]:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    result = CliRunner().invoke(echo, ["--config", str(file), *flags])
    return result.exit_code, result.output


def test_a_configuration_file_gives_the_settings_and_flags_win(tmp_path: Path) -> None:
    text = "node-name: n1\nnode-ip: 192.0.2.1\nport: 1234\n"
    assert run_echo(tmp_path, text) == (0, "n1 192.0.2.1 1234\n")
    assert run_echo(tmp_path, text, "--port", "99") == (0, "n1 192.0.2.1 99\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node-nam: n1", "unknown settings: node-nam"),
        ("- a", "holds a list"),
        ("a: [", "is not YAML"),
        ("node-name: n1\nport: 0", "0 is not in the range"),
        ("node-name: n1\nnode-ip: here", "'here' is not an IP address"),
    ],
)
def test_a_bad_configuration_file_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    code, output = run_echo(tmp_path, text)
    assert code == 2
    assert message in output


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(echo, ["--config", str(tmp_path / "absent.yaml")])
    assert result.exit_code == 2
    assert "absent.yaml: No such file or directory" in result.output
