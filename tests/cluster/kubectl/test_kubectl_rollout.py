"""A Deployment's life: scale, roll out, pause, look back, undo, delete with and without what it owns."""

from __future__ import annotations

import json

from tests.cluster.kubectl.console import Console
from tests.cluster.kubectl.manifests import WEB


def count_pods(console: Console) -> int:
    return len(console.run("get pods -l app=web -o name").split())


def read_revisions(console: Console) -> list[str]:
    history = console.run("rollout history deployment/web").splitlines()
    return [line.split()[0] for line in history if line and line[0].isdigit()]


def read_colour(console: Console) -> str:
    path = '.spec.template.spec.containers[0].env[?(@.name=="COLOUR")].value'
    return console.run(f"get deployment web -o jsonpath='{{{path}}}'")


def test_scaling_up_and_down(web: Console) -> None:
    assert web.run("scale deployment web --replicas=3") == "deployment.apps/web scaled\n"
    web.wait_for("rollout status deployment/web --timeout=30s")
    assert web.run("get deployment web -o jsonpath={.status.readyReplicas}") == "3"

    assert "Expected replicas to be 7" in web.refusal(
        "scale deployment web --current-replicas=7 --replicas=1"
    )
    pods = web.run("get pods -l app=web -o name").split()
    web.run("scale deployment web --replicas=0")
    web.wait_for(f"wait {' '.join(pods)} --for=delete --timeout=30s")
    assert count_pods(web) == 0


def test_a_change_rolls_out_and_is_undone(web: Console) -> None:
    web.run("set env deployment/web COLOUR=red")
    web.wait_for("rollout status deployment/web --timeout=30s")
    web.run("set env deployment/web COLOUR=green")
    web.wait_for("rollout status deployment/web --timeout=30s")

    assert read_revisions(web) == ["1", "2", "3"]
    shown = web.run("rollout history deployment/web --revision=2")
    assert "COLOUR:\tred" in shown

    assert web.run("rollout undo deployment/web") == "deployment.apps/web rolled back\n"
    web.wait_for("rollout status deployment/web --timeout=30s")
    assert (read_colour(web), read_revisions(web)) == ("red", ["1", "3", "4"])
    web.run("rollout undo deployment/web --to-revision=1")
    web.wait_for("rollout status deployment/web --timeout=30s")
    assert read_colour(web) == ""


def test_a_rollout_waits_for_pods_that_do_not_come_up(web: Console) -> None:
    web.run("set image deployment/web web=berth.local/absent:1")

    stuck = web.outcome("rollout status deployment/web --timeout=2s")

    assert stuck.returncode != 0
    assert "1 out of 2 new replicas have been updated" in stuck.stdout
    assert "timed out waiting for the condition" in stuck.stderr
    assert web.run("get deployment web -o jsonpath={.status.availableReplicas}") == "2"
    web.run("set image deployment/web web=berth.local/web:1")
    web.wait_for("rollout status deployment/web --timeout=30s")


def test_a_restart_replaces_every_pod(web: Console) -> None:
    before = set(web.run("get pods -l app=web -o name").split())

    assert web.run("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    web.wait_for("rollout status deployment/web --timeout=30s")

    after = json.loads(web.run("get pods -l app=web -o json"))["items"]
    alive = {f"pod/{pod['metadata']['name']}" for pod in after if "deletionTimestamp" not in pod["metadata"]}
    assert len(alive) == 2
    assert not alive & before


def test_a_paused_deployment_holds_its_changes_back(web: Console) -> None:
    web.run("rollout pause deployment/web")
    web.run("set env deployment/web COLOUR=red")

    assert len(web.run("get rs -o name").split()) == 1
    web.run("rollout resume deployment/web")
    web.wait_for("rollout status deployment/web --timeout=30s")
    assert len(web.run("get rs -o name").split()) == 2


def test_deleting_a_deployment_takes_everything_with_it(web: Console) -> None:
    pods = " ".join(web.run("get pods -l app=web -o name").split())

    assert web.run(f"delete -f {WEB}").splitlines() == [
        'deployment.apps "web" deleted',
        'service "web" deleted',
        'configmap "greeting" deleted',
    ]

    web.wait_for(f"wait {pods} --for=delete --timeout=30s")
    assert web.run("get deployments,rs,services,endpointslices -o name") == ""


def test_deleting_in_the_foreground_ends_when_the_pods_are_gone(web: Console) -> None:
    web.run("delete deployment web --cascade=foreground --timeout=30s")

    assert web.run("get deployments,rs,pods -o name") == ""


def test_orphans_stay_and_are_adopted_again(web: Console) -> None:
    pods = web.run("get pods -l app=web -o name").split()

    web.run("delete deployment web --cascade=orphan")
    assert web.run("get rs -o jsonpath={.items[*].metadata.ownerReferences}") == ""
    web.run(f"apply -f {WEB}")
    web.wait_for("rollout status deployment/web --timeout=30s")

    assert web.run("get pods -l app=web -o name").split() == pods
    assert web.run("get rs -o jsonpath={.items[*].metadata.ownerReferences[0].name}") == "web"


def test_a_deleted_pod_is_replaced(web: Console) -> None:
    first, second = web.run("get pods -l app=web -o name").split()

    web.run(f"delete {first} --grace-period=1")
    web.wait_for("rollout status deployment/web --timeout=30s")

    after = web.run("get pods -l app=web -o name").split()
    assert first not in after
    assert second in after
