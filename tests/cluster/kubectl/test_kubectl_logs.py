"""`kubectl logs`: whole, in parts, followed while they grow, of the container before, and of several pods."""

from __future__ import annotations

import re

from tests.cluster.kubectl.console import Console

# Writes a line for each file that appears, and ends with the last.
TALKER = """
apiVersion: v1
kind: Pod
metadata:
  name: talker
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: berth.local/shell:1
      command:
        - sh
        - -c
        - |
          echo first
          until [ -e /second ]; do sleep 0.05; done; echo second
          until [ -e /last ]; do sleep 0.05; done; echo last
"""


def test_a_followed_log_shows_lines_as_they_are_written_and_ends_with_the_pod(console: Console) -> None:
    console.run("apply -f -", stdin=TALKER)
    console.wait_for("wait pod/talker --for=condition=Ready --timeout=30s")

    with console.start("logs --follow talker") as log:
        log.read_until(r"^first\n")
        assert "second" not in log.output
        console.run("exec talker -- touch /second")
        log.read_until(r"^second\n")
        assert "last" not in log.output
        console.run("exec talker -- touch /last")
        assert log.wait() == 0

    assert log.output == "first\nsecond\nlast\n"
    assert console.run("logs talker") == log.output


def test_parts_of_a_log(console: Console) -> None:
    console.run("run count --image=berth.local/shell:1 --restart=Never -- seq 1 5")
    with console.start("get pod count --watch") as watch:
        watch.read_until(r"count +0/1 +Completed")

    assert console.run("logs count --tail=2") == "4\n5\n"
    assert console.run("logs count --tail=0") == ""
    assert console.run("logs count --limit-bytes=3") == "1\n2"
    assert console.run("logs count --since=1h --tail=1") == "5\n"
    assert console.run("logs count --since-time=2999-01-01T00:00:00Z") == ""
    stamped = console.run("logs count --timestamps --tail=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) 5\n", stamped)


def test_each_container_has_a_log_of_its_own(standing_shell: Console) -> None:
    assert standing_shell.run("logs shell -c main") == "main is up\n"
    assert standing_shell.run("logs shell side") == "side is up\n"
    both = standing_shell.run("logs shell --all-containers --prefix").splitlines()
    assert sorted(both) == ["[pod/shell/main] main is up", "[pod/shell/side] side is up"]
    assert "container other is not valid for pod shell" in standing_shell.refusal("logs shell -c other")


def test_logs_of_all_pods_of_a_label(console: Console) -> None:
    for name in ("one", "two"):
        console.run(
            f"run {name} --image=berth.local/shell:1 --labels=of=logs -- sh -c 'hostname; sleep 3600'"
        )
    console.wait_for("wait pod -l of=logs --for=condition=Ready --timeout=30s")

    assert sorted(console.run("logs -l of=logs --prefix").splitlines()) == [
        "[pod/one/one] one",
        "[pod/two/two] two",
    ]


def test_the_log_of_the_container_before(console: Console) -> None:
    console.run("run again --image=berth.local/shell:1 -- sh -c 'echo run $((++n)); exit 1'")
    with console.start("get pod again --watch") as watch:
        watch.read_until(r"again +0/1 +CrashLoopBackOff +1")

    assert console.run("logs again --previous") == "run 1\n"


def test_a_container_that_has_not_started_has_no_log_and_says_so(console: Console) -> None:
    console.run("run waiting --image=berth.local/absent:1 --image-pull-policy=Never")
    with console.start("get pod waiting --watch") as watch:
        watch.read_until(r"waiting +0/1 +ErrImageNeverPull")

    said = console.refusal("logs waiting")

    assert 'container "waiting" in pod "waiting" is waiting to start: ErrImageNeverPull' in said


def test_a_running_container_has_nothing_before_it(standing_shell: Console) -> None:
    said = standing_shell.refusal("logs shell -c main --previous")

    assert 'previous terminated container "main" in pod "shell" not found' in said
