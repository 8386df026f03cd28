"""`berth explain pod`: what a person and a script read of a journal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from agent.journal.entry import Entry, Heartbeat, Picture, PodName
from agent.journal.files import JournalBounds, JournalFiles
from agent.pods.waits import CallInFlight, Wait
from cli.explain_text import format_duration
from cli.failures import is_expected
from cli.main import berth

POD = PodName(namespace="default", name="web-1", uid="1111")


def build_wait(now: float) -> Wait:
    return Wait(
        "container web",
        "ImagePullBackOff",
        'Back-off pulling image "a:1": no route to host',
        now - 64,
        now + 20,
        CallInFlight('EnsureImage of image "a:1"', now - 25),
    )


def build_entries(now: float) -> tuple[Entry, ...]:
    return (
        Entry(at=now - 70.2, what="created"),
        Entry(at=now - 69, what="seen", message="from the API server"),
        Entry(at=now - 68, what="RunPodSandbox", kind="action", seconds=0.4),
        Entry(
            at=now - 64,
            what="EnsureImage",
            kind="action",
            target="web",
            seconds=3.0,
            failed=True,
            reason="ErrImagePull",
            message="no route to host",
        ),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A journal of a pod that waits, with an older one of its name, and a static pod that is gone."""
    files, now = JournalFiles(tmp_path, JournalBounds()), time.time()
    files.prepare()
    files.append(PodName(namespace="default", name="web-1", uid="0000"), [Entry(at=now - 900, what="seen")])
    files.append(POD, build_entries(now))
    files.write_picture("1111", Picture(at=now - 64, phase="Pending", waits=(build_wait(now),)))
    static = PodName(namespace="kube-system", name="etcd-n1", uid="2222", source="file")
    files.append(static, [Entry(at=now - 500, what="gone from this node")])
    files.write_heartbeat(Heartbeat(at=now - 2, node="n1", pid=1))
    return tmp_path


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(berth, ["explain", "pod", "--root-dir", str(root), *arguments])


def test_a_person_reads_who_it_is_what_it_waits_for_and_how_long_things_took(root: Path) -> None:
    done = run(root, "default/web-1")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "Pod default/web-1  uid 1111, node n1"
    assert lines[1].startswith("Pending, not ready; unchanged for 1m")
    assert lines[2].startswith("The agent runs: its last sign of life was ")
    assert lines[4] == "It waits for"
    assert lines[5].startswith("  container web: ImagePullBackOff, for 1m")
    assert "; next at " in lines[5]
    assert lines[6] == '    Back-off pulling image "a:1": no route to host'
    assert lines[7].startswith('    in flight: EnsureImage of image "a:1", for ')
    assert any(line.startswith("sandbox ") and " 400ms " in line for line in lines)
    assert any(line.startswith("image web ") and " 3.00s so far " in line for line in lines)
    assert any(line.endswith("failed after 3.00s, ErrImagePull: no route to host") for line in lines)
    assert lines[-1] == "1 older of this name: --all shows them, too."
    assert "\x1b" not in done.output


def test_a_dead_agent_is_said_and_durations_end_with_it(root: Path) -> None:
    JournalFiles(root, JournalBounds()).write_heartbeat(Heartbeat(at=time.time() - 60, node="n1"))
    lines = run(root, "default/web-1").output.splitlines()
    assert lines[1] == "Pending, not ready; unchanged for 4.00s."
    assert lines[2].startswith("The agent was last heard of at ")
    assert lines[2].endswith(" ago: all below is as of then.")


def test_a_script_reads_the_same(root: Path) -> None:
    document = json.loads(run(root, "default/web-1", "-o", "json").output)
    assert document["pod"] == {"namespace": "default", "name": "web-1", "uid": "1111", "source": "api"}
    assert (document["phase"], document["ready"], document["gone"]) == ("Pending", False, False)
    (wait,) = document["waits"]
    assert wait["reason"] == "ImagePullBackOff"
    assert wait["callInFlight"]["name"] == 'EnsureImage of image "a:1"'
    assert wait["since"] < wait["callInFlight"]["since"] < wait["nextRetry"]
    assert [phase["name"] for phase in document["phases"]] == ["sandbox", "image"]
    assert [entry["what"] for entry in document["timeline"]][-1] == "EnsureImage"
    assert yaml.safe_load(run(root, "default/web-1", "-o", "yaml").output) == document


def test_all_shows_every_incarnation_the_newest_first(root: Path) -> None:
    document = json.loads(run(root, "web-1", "--all", "-o", "json").output)
    assert [item["pod"]["uid"] for item in document["items"]] == ["1111", "0000"]
    assert [item["gone"] for item in document["items"]] == [False, True]


def test_a_static_pod_is_known_by_its_manifest_s_name(root: Path) -> None:
    done = run(root, "kube-system/etcd")
    assert done.output.startswith(
        "Pod kube-system/etcd-n1  uid 2222, node n1, static\nGone from this node at "
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("default/web-2", "it knows default/web-1"),
        ("default/x", "it knows 3 pods, none of a name like it"),
    ],
)
def test_a_pod_that_is_not_known_is_one_sentence_with_what_is_near(root: Path, name: str, near: str) -> None:
    done = run(root, name)
    assert done.exception is not None
    assert is_expected(done.exception)
    said = f"this node has had no pod {name} that its journal remembers; {near}"
    assert str(done.exception) == said


def test_no_journal_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, "default/web-1")
    assert done.exception is not None
    assert is_expected(done.exception)
    assert "name the agent's own with --root-dir" in str(done.exception)


def test_the_root_directory_comes_from_the_environment_too(root: Path) -> None:
    done = CliRunner().invoke(berth, ["explain", "pod", "web-1"], env={"BERTH_ROOT_DIR": str(root)})
    assert done.output.startswith("Pod default/web-1")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0071, "7ms"),
        (0.9996, "1.00s"),
        (1.24, "1.24s"),
        (9.99, "9.99s"),
        (9.996, "10s"),
        (59.7, "1m0s"),
        (252, "4m12s"),
        (11_100, "3h5m"),
        (198_000, "2d7h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
