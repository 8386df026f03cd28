"""RuntimeClasses as people use them: a name, a handler, and what the handler itself costs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.kubectl.console import Console

RUNTIME_CLASS = """
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {{name: {name}}}
handler: runc
overhead: {{podFixed: {{cpu: 50m, memory: 32Mi}}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  runtimeClassName: {runtime_class}
  terminationGracePeriodSeconds: 1
  nodeSelector: {selector}
  containers:
  - name: main
    image: berth.local/shell:1
    resources: {{limits: {{cpu: 100m, memory: 64Mi}}}}
"""


@pytest.fixture
def runtime_class(console: Console) -> Iterator[str]:
    """Its name isn't that of its handler."""
    name = f"class-of-{console.namespace}"
    console.run("apply -f -", stdin=RUNTIME_CLASS.format(name=name))
    yield name
    console.run(f"delete runtimeclass {name} --ignore-not-found")


def test_a_pod_runs_with_the_handler_of_its_class(console: Console, runtime_class: str) -> None:
    console.run("apply -f -", stdin=POD.format(name="web", runtime_class=runtime_class, selector="{}"))
    console.wait_for("wait pod/web --for=condition=Ready --timeout=30s")
    pod = json.loads(console.run("get pod web -o json"))
    assert pod["spec"]["overhead"] == {"cpu": "50m", "memory": "32Mi"}


def test_a_class_that_went_away_is_named(console: Console, runtime_class: str) -> None:
    # Scheduled only once its class is gone.
    selector = f"{{example.com/{console.namespace}: ready}}"
    text = POD.format(name="late", runtime_class=runtime_class, selector=selector)
    console.run("apply -f -", stdin=text)
    console.run(f"delete runtimeclass {runtime_class}")
    node = json.loads(console.run("get nodes -o json"))["items"][0]["metadata"]["name"]
    console.run(f"label node {node} example.com/{console.namespace}=ready")
    try:
        with console.start("get events -w") as events:
            said = f'runtimeclass.node.k8s.io "{runtime_class}" not found'
            events.read_until(f"Failed to create pod sandbox: {said}")
    finally:
        console.run(f"label node {node} example.com/{console.namespace}-")
