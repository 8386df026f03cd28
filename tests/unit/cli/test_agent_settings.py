"""What becomes of `berth agent`'s flags and its settings file."""

from __future__ import annotations

import socket
from dataclasses import fields
from pathlib import Path

import click
import pytest

from agent.settings import AgentSettings, PodNetworkMode, ProxyMode
from cli.agent_commands import agent, build_settings

ALONE = ("--standalone", "--static-pod-path", "/m")


def build(*arguments: str) -> AgentSettings:
    return build_settings(agent.make_context("agent", list(arguments)))


def test_the_defaults_are_those_of_the_settings() -> None:
    assert build("--node-name", "n1") == AgentSettings(node_name="n1")


def test_every_setting_has_a_flag() -> None:
    flags = {parameter.name for parameter in agent.params}
    assert {field.name for field in fields(AgentSettings)} <= flags


def test_flags_are_converted() -> None:
    found = build(
        "--node-name=n1", "--proxy-mode=nftables", "--pod-network=none", "--max-pods=7", "--node-label=a=b"
    )
    assert (found.proxy_mode, found.pod_network) == (ProxyMode.NFTABLES, PodNetworkMode.NONE)
    assert (found.max_pods, found.node_labels) == (7, (("a", "b"),))


def test_alone_the_machine_has_a_name_and_there_are_no_credentials() -> None:
    found = build(*ALONE, "--pod-cidr", "10.1.0.0/24", "--service-cidr", "10.2.0.0/24")
    assert (found.standalone, found.static_pod_path) == (True, Path("/m"))
    assert found.node_name == socket.gethostname().lower()
    assert (found.pod_cidr, found.service_cidr) == ("10.1.0.0/24", "10.2.0.0/24")
    assert build(*ALONE, "--node-name", "lone").node_name == "lone"


def test_the_settings_file_knows_the_same_names(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "standalone: true\nstatic-pod-path: /m\nnode-name: lone\npod-cidr: 10.1.0.0/24\nmax-pods: 9\n"
    )
    found = build("--config", str(file), "--max-pods", "5")
    assert (found.standalone, found.static_pod_path, found.node_name) == (True, Path("/m"), "lone")
    assert (found.pod_cidr, found.max_pods) == ("10.1.0.0/24", 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--node-name'"),
        (("--standalone",), "name it with --static-pod-path"),
        ((*ALONE, "--kubeconfig", "/k"), "leave out --kubeconfig, or --standalone"),
        (("--node-name", "n1", "--pod-cidr", "10.1.0.0/24"), "--pod-cidr is for --standalone"),
        (("--node-name", "n1", "--service-cidr", "10.1.0.0/24"), "--service-cidr is for --standalone"),
        ((*ALONE, "--pod-cidr", "10.1.0.1/24"), "is not a network"),
        ((*ALONE, "--max-pods", "0"), "0 is not in the range"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        build(*arguments)
    assert message in raised.value.format_message()


def test_a_settings_file_may_not_name_credentials_for_nobody(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("kubeconfig: /k\n")
    with pytest.raises(click.UsageError, match="leave out --kubeconfig"):
        build("--config", str(file), *ALONE)
