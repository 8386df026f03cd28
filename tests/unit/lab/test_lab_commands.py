"""What `berth lab` prints, and what it says to bad input."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.lab_commands import build_status_document, exec_command, lab, render_status_table
from lab.cluster import ClusterStatus, NodeStatus
from lab.errors import LabError

STATUS = ClusterStatus(
    nodes=(
        NodeStatus("n1", "10.99.0.11", True, "unix:///run/berth-lab-x/n1/containerd.sock", "/var/lib/x/n1"),
        NodeStatus("n2", "10.99.0.12", False, "unix:///run/berth-lab-x/n2/containerd.sock", "/var/lib/x/n2"),
    ),
    server_url="https://127.0.0.1:40001",
    kubeconfig="/var/lib/berth-lab-x/kubeconfig",
)


def test_the_json_status_has_the_promised_shape() -> None:
    assert json.loads(json.dumps(build_status_document(STATUS))) == {
        "nodes": [
            {
                "name": "n1",
                "ip": "10.99.0.11",
                "ready": True,
                "runtime_endpoint": "unix:///run/berth-lab-x/n1/containerd.sock",
                "root_dir": "/var/lib/x/n1",
            },
            {
                "name": "n2",
                "ip": "10.99.0.12",
                "ready": False,
                "runtime_endpoint": "unix:///run/berth-lab-x/n2/containerd.sock",
                "root_dir": "/var/lib/x/n2",
            },
        ],
        "server": {"url": "https://127.0.0.1:40001"},
        "kubeconfig": "/var/lib/berth-lab-x/kubeconfig",
    }


def test_the_table_is_narrow_unless_asked() -> None:
    narrow = render_status_table(STATUS, wide=False).splitlines()
    wide = render_status_table(STATUS, wide=True)

    assert narrow == [
        "NAME   IP           READY",
        "n1     10.99.0.11   True",
        "n2     10.99.0.12   False",
        "server: https://127.0.0.1:40001",
        "kubeconfig: /var/lib/berth-lab-x/kubeconfig",
    ]
    assert "unix:///run/berth-lab-x/n2/containerd.sock" in wide


@pytest.mark.parametrize(
    "command", ["up", "status", "kubeconfig", "exec", "kill", "restart", "cut", "heal", "down"]
)
def test_every_command_s_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(lab, [command, "--help"])

    assert result.exit_code == 0
    assert "Example: " in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--nodes", "0"],
        ["up", "--proxy-mode", "ipvs"],
        ["exec", "n1"],
        ["kill"],
        ["status", "-o", "xml"],
    ],
)
def test_misuse_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(lab, arguments).exit_code == 2


def test_exec_takes_the_command_after_two_dashes_as_it_is() -> None:
    context = exec_command.make_context("exec", ["n1", "--name", "x", "--", "ctr", "--name", "y", "-h"])

    assert context.params == {"node": "n1", "name": "x", "command": ("ctr", "--name", "y", "-h")}


@pytest.mark.parametrize(
    "arguments", [["status"], ["kubeconfig"], ["exec", "n1", "--", "true"], ["kill", "server"], ["cut", "n1"]]
)
def test_a_lab_that_is_not_there_is_a_sentence(arguments: list[str]) -> None:
    result = CliRunner().invoke(lab, [arguments[0], "--name", "nobody-made-this", *arguments[1:]])

    assert isinstance(result.exception, LabError)
    assert str(result.exception) == "there is no lab 'nobody-made-this' here; start it with `berth lab up`"
