"""`kubectl debug` and short-lived `kubectl run -i --rm`: containers that come and go at people's word."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubectl.console import Console

FOREVER = 'trap "exit 0" TERM; while :; do sleep 0.05; done'


def test_an_ephemeral_container_looks_at_its_target(console: Console) -> None:
    if console.minor_version < 27:
        pytest.skip("this kubectl debugs through an API that was never served outside its alpha")
    console.run(f"run web --image=berth.local/shell:1 -- sh -c '{FOREVER}'")
    console.wait_for("wait pod/web --for=condition=Ready --timeout=30s")
    begin = "debug web --profile=general --image=berth.local/shell:1 --target=web"

    console.run(f'{begin} -c look -- sh -c \'tr "\\0" " " < /proc/1/cmdline; echo; exec sleep 1000\'')
    running = "jsonpath={.status.ephemeralContainerStatuses[0].state.running}"
    console.wait_for(f"wait pod/web --for={running} --timeout=30s")

    with console.start("logs -f web -c look") as log:
        log.read_until("while :; do sleep 0.05")
    assert console.run("exec web -c look -- echo inside") == "inside\n"
    pod = json.loads(console.run("get pod web -o json"))
    (status,) = pod["status"]["ephemeralContainerStatuses"]
    assert (status["ready"], status["restartCount"], "started" in status) == (False, 0, False)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "Ephemeral Containers:" in console.run("describe pod web")

    console.run("delete pod web --timeout=30s")


@pytest.mark.parametrize("terminal", ["-i", "-it"])
def test_nobody_hangs_on_a_container_that_ends_at_once(console: Console, terminal: str) -> None:
    """Attaching may come before, in and after the moment of its end: a few tries meet them all.

    What was said before somebody was attached is in the log alone, as on any cluster.
    """
    for number in range(5):
        line = f"run {terminal} --rm brief-{number} --image=berth.local/shell:1 --restart=Never --quiet"

        outcome = console.outcome(f"{line} -- sh -c 'echo last words'", stdin="")

        assert outcome.returncode == 0, outcome.stderr
    assert console.run("get pods -o name") == ""
