from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.names import LabNames, check_node_name, find_lab_mark, parse_lab_name

SOCKET_PATH_LIMIT = 107


def test_everything_of_a_lab_starts_with_its_mark() -> None:
    node = LabNames("blue").node("n1")

    assert str(node.netns) == "/run/berth-lab-blue/netns/n1"
    assert node.cgroup_root == "/berth-lab-blue/n1"
    assert node.runtime_endpoint == "unix:///run/berth-lab-blue/n1/containerd.sock"
    assert str(node.agent_root) == "/var/lib/berth-lab-blue/n1/agent"


def test_the_longest_names_still_fit_a_socket_path() -> None:
    names = parse_lab_name("a" * 24)
    socket = names.node(check_node_name("n" * 15)).containerd_socket

    assert len(f"{socket}.ttrpc") <= SOCKET_PATH_LIMIT


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a/b", "a" * 25, "a b", "a\n"])
def test_a_bad_lab_name_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(LabError, match="can't name a lab"):
        parse_lab_name(text)


@pytest.mark.parametrize("text", ["server", "bridge", "netns", "n" * 16, "N1", ""])
def test_a_bad_node_name_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="can't name a node"):
        check_node_name(text)


@pytest.mark.parametrize(
    ("text", "lab"),
    [
        ("0::/berth-lab-blue/n1/kubepods", "blue"),
        ("/run/berth-lab-two-words/netns/n1", "two-words"),
        ("/run/containerd/s/4f2", ""),
        ("-address /run/berth-lab-x/n1/containerd.sock", "x"),
    ],
)
def test_the_mark_is_found_in_any_text(text: str, lab: str) -> None:
    assert find_lab_mark(text) == lab


def test_no_lab_finds_what_belongs_to_a_lab_whose_name_begins_with_its_own() -> None:
    other = LabNames("a-b")

    assert not other.netns("n1").is_relative_to(LabNames("a").run_directory)
    assert not other.data_directory.is_relative_to(LabNames("a").data_directory)
    assert find_lab_mark(str(other.netns("n1"))) == "a-b"
