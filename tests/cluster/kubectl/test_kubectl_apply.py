"""Declaring and changing: apply, diff, patch, edit, replace, label, annotate, the generators of `create`."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from lab.kubectl import Kubectl
from tests.cluster.kubectl.console import Console
from tests.cluster.kubectl.manifests import DEPLOYMENT, SERVICE, WEB, change

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n"


def read(console: Console, what: str, path: str) -> str:
    return console.run(f"get {what} -o jsonpath={{{path}}}")


def test_apply_creates_then_leaves_alone_then_changes(console: Console) -> None:
    assert console.run(f"apply -f {WEB}").split("\n")[:3] == [
        "deployment.apps/web created",
        "service/web created",
        "configmap/greeting created",
    ]
    assert console.run(f"apply -f {WEB}").split("\n")[:3] == [
        "deployment.apps/web unchanged",
        "service/web unchanged",
        "configmap/greeting unchanged",
    ]
    changed = change(WEB.read_text(), "text: hello", "text: good morning")
    assert "configmap/greeting configured" in console.run("apply -f -", stdin=changed)
    assert read(console, "cm greeting", ".data.text") == "good morning"


def test_apply_takes_out_what_left_the_manifest_and_keeps_what_others_put_in(console: Console) -> None:
    console.run("apply -f -", stdin=CONFIG + "  mine: a\n  dropped: b\n")
    console.run("""patch cm settings -p '{"data": {"theirs": "c"}}'""")

    console.run("apply -f -", stdin=CONFIG + "  mine: d\n")

    assert json.loads(read(console, "cm settings", ".data")) == {"mine": "d", "theirs": "c"}


def test_diff_shows_what_apply_would_change(console: Console) -> None:
    console.run("apply -f -", stdin=CONFIG + "  colour: red\n")

    outcome = console.outcome("diff -f -", stdin=CONFIG + "  colour: green\n")

    assert outcome.returncode == 1
    assert "-  colour: red\n+  colour: green\n" in outcome.stdout
    assert console.outcome("diff -f -", stdin=CONFIG + "  colour: red\n").returncode == 0
    assert read(console, "cm settings", ".data.colour") == "red"


def test_a_dry_run_answers_and_stores_nothing(console: Console) -> None:
    for where in ("client", "server"):
        said = console.run(f"create --dry-run={where} -f -", stdin=DEPLOYMENT)
        assert said.startswith("deployment.apps/good created")
    assert console.run("get deployments -o name") == ""


def test_three_kinds_of_patch(console: Console) -> None:
    console.run("create -f -", stdin=DEPLOYMENT)
    strategic = {
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "berth.local/web:1"}]}}}
    }
    merge = {"spec": {"minReadySeconds": 1, "progressDeadlineSeconds": None}}
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 0},
    ]

    for kind, patch in (("strategic", strategic), ("merge", merge), ("json", operations)):
        said = console.run(f"patch deployment good --type={kind} -p '{json.dumps(patch)}'")
        assert said == "deployment.apps/good patched\n"

    spec = json.loads(console.run("get deployment good -o json"))["spec"]
    assert [each["name"] for each in spec["template"]["spec"]["containers"]] == ["side", "main"]
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"], spec["replicas"]) == (1, 600, 0)
    again = console.refusal(f"patch deployment good --type=json -p '{json.dumps(operations)}'")
    assert "/spec/replicas: the value to be tested differs" in again


def test_edit_opens_an_editor_on_the_object(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.run("create configmap settings --from-literal=colour=red")
    monkeypatch.setenv("KUBE_EDITOR", "sed -i s/red/green/")

    assert console.run("edit configmap settings") == "configmap/settings edited\n"

    assert read(console, "cm settings", ".data.colour") == "green"
    outcome = console.outcome("edit configmap settings")
    assert (outcome.returncode, outcome.stderr.strip()) == (0, "Edit cancelled, no changes made.")


def test_replace_puts_the_whole_object_in_place(console: Console) -> None:
    console.run("create -f -", stdin=CONFIG + "  first: a\n  second: b\n")
    uid = read(console, "cm settings", ".metadata.uid")

    console.run("replace -f -", stdin=CONFIG + "  first: c\n")
    assert (read(console, "cm settings", ".data"), read(console, "cm settings", ".metadata.uid")) == (
        '{"first":"c"}',
        uid,
    )

    console.run("replace --force -f -", stdin=CONFIG + "  first: d\n")
    assert read(console, "cm settings", ".metadata.uid") != uid


def test_a_replacement_of_a_stale_version_conflicts(console: Console) -> None:
    console.run("create configmap settings --from-literal=colour=red")
    stale = console.run("get cm settings -o yaml")
    console.run("label cm settings changed=yes")

    said = console.refusal("replace -f -", stdin=stale)

    assert 'Operation cannot be fulfilled on configmaps "settings": the object has been modified' in said


def test_labels_and_annotations(console: Console) -> None:
    console.run("create configmap settings")

    assert console.run("label cm settings colour=red") == "configmap/settings labeled\n"
    assert "already has a value (red)" in console.refusal("label cm settings colour=green")
    console.run("label cm settings colour=green shape=round --overwrite")
    console.run("annotate cm settings note='seen by us'")
    console.run("label cm settings shape-")

    assert json.loads(read(console, "cm settings", ".metadata.labels")) == {"colour": "green"}
    assert read(console, "cm settings", ".metadata.annotations.note") == "seen by us"


def test_generators_make_what_they_say(console: Console, tmp_path: Path) -> None:
    (tmp_path / "banner.txt").write_text("welcome\n")

    console.run(f"create configmap files --from-file={tmp_path / 'banner.txt'} --from-literal=a=b")
    console.run("create secret generic key --from-literal=password=hunter2")
    console.run("create deployment empty --image=berth.local/web:1 --replicas=0")
    console.run("create serviceaccount robot")
    console.run("create service nodeport door --tcp=80:8080")
    console.run("expose deployment empty --port=90 --target-port=8080 --name=exposed")

    assert json.loads(read(console, "cm files", ".data")) == {"banner.txt": "welcome\n", "a": "b"}
    assert base64.b64decode(read(console, "secret key", ".data.password")) == b"hunter2"
    assert read(console, "deployment empty", ".spec.selector.matchLabels.app") == "empty"
    assert read(console, "sa robot", ".metadata.name") == "robot"
    assert 30000 <= int(read(console, "service door", ".spec.ports[0].nodePort")) < 32768
    assert read(console, "service exposed", ".spec.selector.app") == "empty"


def test_run_makes_a_pod_and_a_service_for_it(console: Console) -> None:
    said = console.run("run echo --image=berth.local/web:1 --port=8080 --expose")

    assert sorted(said.split("\n")[:2]) == ["pod/echo created", "service/echo created"]
    console.wait_for("wait pod/echo --for=condition=Ready --timeout=30s")
    assert read(console, "service echo", ".spec.selector") == '{"run":"echo"}'


def test_a_service_keeps_its_addresses_through_apply(console: Console) -> None:
    console.run("apply -f -", stdin=SERVICE)
    address = read(console, "service good", ".spec.clusterIP")

    changed = change(SERVICE, "port: 80", "port: 81")
    assert console.run("apply -f -", stdin=changed) == "service/good configured\n"

    assert read(console, "service good", ".spec.clusterIP") == address
    assert read(console, "service good", ".spec.ports[0].targetPort") == "81"


def test_a_directory_is_applied_at_once(console: Console, tmp_path: Path) -> None:
    for name, text in (("one.yaml", DEPLOYMENT), ("two.yaml", SERVICE), ("notes.txt", "not a manifest")):
        (tmp_path / name).write_text(text)

    assert console.run(f"apply -f {tmp_path}").split() == [
        "deployment.apps/good",
        "created",
        "service/good",
        "created",
    ]


def test_an_administrator_needs_no_more_than_the_kubeconfig(kubectl: Kubectl) -> None:
    assert os.stat(kubectl.kubeconfig).st_mode & 0o077 == 0
    assert (
        kubectl.run("config", "view", "--output=jsonpath={.contexts[*].name}")
        == kubectl.run("config", "current-context").strip()
    )
