"""Fixtures of the tests that drive a stock kubectl: every test has a namespace of its own and runs with each
kubectl that there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.kubectl import Kubectl
from tests.cluster.kubectl.console import Console, console_in_namespace
from tests.cluster.kubectl.stock_kubectl import Edition, list_editions, provide_binary

MANIFEST = Path(__file__).with_name("web.yaml")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "edition" in metafunc.fixturenames:
        metafunc.parametrize("edition", list_editions(), ids=str, scope="session")


@pytest.fixture(scope="session")
def kubectl(edition: Edition, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(provide_binary(edition), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture
def console(kubectl: Kubectl) -> Iterator[Console]:
    """kubectl in a namespace of the test's own."""
    with console_in_namespace(kubectl, f"kubectl-{secrets.token_hex(3)}") as opened:
        yield opened


@pytest.fixture
def web(console: Console) -> Console:
    """The console once the Deployment, Service and ConfigMap of `web.yaml` are applied and rolled out."""
    console.run(f"apply -f {MANIFEST}")
    rollout = console.outcome("rollout status deployment/web --timeout=30s")
    assert rollout.returncode == 0, rollout.stdout + rollout.stderr + console.run("describe deployments,pods")
    return console


@pytest.fixture
def shell(console: Console) -> Console:
    """The console once a pod `shell` with containers `main` and `side` runs."""
    console.run(f"apply -f {MANIFEST.with_name('shell.yaml')}")
    waiting = console.outcome("wait pod/shell --for=condition=Ready --timeout=30s")
    assert waiting.returncode == 0, waiting.stderr + console.run("describe pods")
    return console
