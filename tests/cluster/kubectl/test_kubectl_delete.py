"""`kubectl delete` of pods and of many things at once, and `kubectl wait` for what becomes of it."""

from __future__ import annotations

from tests.cluster.kubectl.console import Console
from tests.cluster.kubectl.manifests import POD, SHELL

STUBBORN = """
apiVersion: v1
kind: Pod
metadata:
  name: stubborn
spec:
  terminationGracePeriodSeconds: 3600
  containers:
    - name: main
      image: berth.local/shell:1
      command: [sh, -c, "trap '' TERM; while :; do sleep 3600; done"]
"""


def start_stubborn(console: Console) -> None:
    console.run("apply -f -", stdin=STUBBORN)
    console.wait_for("wait pod/stubborn --for=condition=Ready --timeout=30s")


def test_a_pod_that_ignores_the_signal_is_killed_after_its_grace(console: Console) -> None:
    start_stubborn(console)

    assert console.run("delete pod stubborn --grace-period=1 --timeout=30s") == 'pod "stubborn" deleted\n'

    assert 'pods "stubborn" not found' in console.refusal("get pod stubborn")


def test_a_shorter_grace_overtakes_a_longer_one(console: Console) -> None:
    start_stubborn(console)
    console.run("delete pod stubborn --wait=false")
    assert "Terminating" in console.run("get pod stubborn")

    console.run("delete pod stubborn --now --timeout=30s")

    assert console.run("get pods -o name") == ""


def test_force_does_not_wait_for_the_node(console: Console) -> None:
    start_stubborn(console)

    outcome = console.outcome("delete pod stubborn --force --grace-period=0")

    assert outcome.stdout == 'pod "stubborn" force deleted\n'
    assert "Immediate deletion does not wait for confirmation" in outcome.stderr
    assert console.run("get pods -o name") == ""


def test_many_things_go_at_once(console: Console) -> None:
    for name, colour in (("a", "red"), ("b", "red"), ("c", "green")):
        console.run(f"create configmap {name}")
        console.run(f"label configmap {name} colour={colour}")

    assert console.run("delete configmap -l colour=red").splitlines() == [
        'configmap "a" deleted',
        'configmap "b" deleted',
    ]
    assert 'configmap "c" deleted' in console.run("delete configmap,secret --all")
    assert 'configmaps "c" not found' in console.refusal("delete configmap c")
    assert console.run("delete configmap c --ignore-not-found") == ""


def test_wait_ends_when_the_condition_is_met_or_the_pod_is_gone(console: Console) -> None:
    with console.start("wait pod/shell --for=condition=Ready --timeout=30s") as too_early:
        assert too_early.wait() == 1
        assert 'pods "shell" not found' in too_early.output
    console.run(f"apply -f {SHELL}")
    assert console.run("wait pod/shell --for=condition=Ready --timeout=30s") == "pod/shell condition met\n"
    assert "timed out waiting" in console.refusal("wait pod/shell --for=condition=Ready=False --timeout=1s")

    with console.start("wait pod/shell --for=delete --timeout=30s") as waiting:
        console.run("delete pod shell --wait=false")
        assert waiting.wait() == 0, waiting.output


def test_a_namespace_goes_with_all_that_is_in_it(console: Console) -> None:
    console.run("create namespace " + (other := f"{console.namespace}-other"))
    console.run(f"apply -n {other} -f -", stdin=POD)
    console.run(f"create configmap -n {other} settings")

    console.run(f"delete namespace {other} --timeout=30s")

    assert f'namespaces "{other}" not found' in console.refusal(f"get namespace {other}")
    assert console.run(f"get pods,configmaps -n {other} -o name") == ""


def test_the_default_namespace_stays(console: Console) -> None:
    assert 'namespaces "default" is forbidden: this namespace may not be deleted' in console.refusal(
        "delete namespace default"
    )
