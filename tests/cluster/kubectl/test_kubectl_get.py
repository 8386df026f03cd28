"""`kubectl get` and its kin: tables as upstream prints them, other forms of output, selectors, watches."""

from __future__ import annotations

import json
import re
import shlex

import yaml

from tests.cluster.kubectl.console import Console

ROWS = re.compile(r" {2,}")


def split_table(text: str) -> list[list[str]]:
    return [ROWS.split(line.strip()) for line in text.splitlines() if line.strip()]


def test_nodes_pods_services_and_deployments_of_all_namespaces_in_wide_tables(standing_web: Console) -> None:
    nodes, pods, services, deployments = (
        split_table(block) for block in standing_web.run("get nodes,pods,svc,deploy -A -o wide").split("\n\n")
    )

    assert nodes[0] == [
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "INTERNAL-IP",
        "EXTERNAL-IP",
        "OS-IMAGE",
        "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ]
    assert nodes[1][:3] == ["node/n1", "Ready", "<none>"]
    assert pods[0] == [
        "NAMESPACE",
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED NODE",
        "READINESS GATES",
    ]
    mine = [row for row in pods if row[0] == standing_web.namespace]
    assert [row[2:5] for row in mine] == [["1/1", "Running", "0"]] * 2
    assert all(re.match(r"pod/web-[a-z0-9]+-[a-z0-9]{5}$", row[1]) and row[7] == "n1" for row in mine)
    assert services[0] == [
        "NAMESPACE",
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "AGE",
        "SELECTOR",
    ]
    assert ["default", "service/kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"] in [
        row[:6] for row in services
    ]
    (service,) = [row for row in services if row[0] == standing_web.namespace]
    assert service[:3] + service[5:6] + service[7:] == [
        standing_web.namespace,
        "service/web",
        "ClusterIP",
        "80/TCP",
        "app=web",
    ]
    (deployment,) = [row for row in deployments if row[0] == standing_web.namespace]
    assert deployments[0][1:] == [
        "NAME",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
    ]
    assert deployment[1:5] + deployment[6:] == [
        "deployment.apps/web",
        "2/2",
        "2",
        "2",
        "web",
        "berth.local/web:1",
        "app=web",
    ]


def test_every_form_of_output_shows_the_same_object(standing_web: Console) -> None:
    as_json = json.loads(standing_web.run("get deployment web -o json"))
    as_yaml = yaml.safe_load(standing_web.run("get deployment web -o yaml"))

    assert as_json == as_yaml
    assert (as_json["kind"], as_json["status"]["readyReplicas"]) == ("Deployment", 2)
    assert "unavailableReplicas" not in as_json["status"]
    assert standing_web.run("get deployment,service -l app=web -o name").split() == [
        "deployment.apps/web",
        "service/web",
    ]
    assert standing_web.run("get cm greeting -o jsonpath={.data.text}") == "hello"
    assert standing_web.run(
        "get cm greeting -o custom-columns=N:.metadata.name,T:.data.text --no-headers"
    ).split() == [
        "greeting",
        "hello",
    ]
    template = "{{range .items}}{{.metadata.name}}{{end}}"
    assert standing_web.run(f"get cm -l app=web -o go-template='{template}'") == "greeting"


def test_labels_are_shown_and_selected_by(standing_web: Console) -> None:
    header, deployment = split_table(standing_web.run("get deployment --show-labels -L tier"))

    assert (header[-2:], deployment[-2:]) == (["TIER", "LABELS"], ["front", "app=web,tier=front"])
    assert standing_web.run("get deploy -l 'tier in (front),app!=db' -o name").split() == [
        "deployment.apps/web"
    ]
    assert standing_web.run("get deploy -l '!tier' -o name") == ""
    assert len(standing_web.run("get pods -l app=web,pod-template-hash -o name").split()) == 2


def test_fields_are_selected_by(standing_web: Console) -> None:
    assert (
        len(
            standing_web.run(
                "get pods --field-selector spec.nodeName=n1,status.phase=Running -o name"
            ).split()
        )
        == 2
    )
    assert standing_web.run("get pods --field-selector spec.nodeName!=n1 -o name") == ""
    assert standing_web.run("get cm --field-selector metadata.name=greeting -o name").split() == [
        "configmap/greeting"
    ]
    assert 'field label not supported: "spec.colour"' in standing_web.refusal(
        "get pods --field-selector spec.colour=red"
    )


def test_a_long_list_comes_in_pages(console: Console) -> None:
    names = [f"map-{number:02}" for number in range(12)]
    manifest = "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{of: list}}}}\n"
        for name in names
    )
    console.run("apply -f -", stdin=manifest)

    listed = console.run("get cm -l of=list --chunk-size=5 -o name").split()

    assert listed == [f"configmap/{name}" for name in names]


def test_a_watch_shows_a_pod_s_whole_life(console: Console) -> None:
    waits = json.dumps({"spec": {"volumes": [{"name": "later", "configMap": {"name": "later"}}]}})
    image = "--image=berth.local/shell:1 --restart=Never"
    with console.start("get pods --watch --output-watch-events") as watch:
        console.run(f"run brief {image} --overrides={shlex.quote(waits)} -- true")
        watch.read_until(r"ADDED +brief +0/1 +Pending")
        watch.read_until(r"MODIFIED +brief +0/1 +ContainerCreating")
        console.run("create configmap later --from-literal=a=b")
        watch.read_until(r"MODIFIED +brief +0/1 +Completed")
        console.run("delete pod brief")
        watch.read_until(r"DELETED +brief +0/1 +Completed")


def test_nothing_is_said_as_upstream_says_it(console: Console) -> None:
    outcome = console.outcome("get pods")

    assert (outcome.returncode, outcome.stdout) == (0, "")
    assert outcome.stderr.strip() == f"No resources found in {console.namespace} namespace."


def test_discovery_lists_what_there_is(console: Console) -> None:
    rows = split_table(console.run("api-resources --no-headers"))

    assert ["pods", "po", "v1", "true", "Pod"] in rows
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in rows
    assert ["nodes", "no", "v1", "false", "Node"] in rows
    assert set(console.run("api-versions").split()) >= {"v1", "apps/v1", "discovery.k8s.io/v1"}
    assert console.run("get --raw /readyz") == "ok"
    assert "control plane" in console.run("cluster-info")
    server = json.loads(console.run("version -o json"))["serverVersion"]
    assert re.fullmatch(r"v1\.\d+\.\d+\+berth", server["gitVersion"])


def test_fields_are_explained(console: Console) -> None:
    for path, words in (
        ("pod.spec.containers.readinessProbe", r"httpGet\s+<"),
        ("deploy.spec.strategy", r"rollingUpdate\s+<"),
        ("service.spec.ports", r"targetPort\s+<"),
    ):
        assert re.search(words, console.run(f"explain {path}"))
    assert 'field "colour" does not exist' in console.refusal("explain pod.spec.colour")
