"""Fixtures of the tests that drive a stock kubectl: each runs with every kubectl that there is.

A test has a namespace of its own, or one that all tests of its file only look at.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.kubectl import Kubectl
from tests.cluster.kubectl.console import Console, console_in_namespace
from tests.cluster.kubectl.manifests import SHELL, WEB
from tests.cluster.kubectl.stock_kubectl import Edition, list_editions, provide_binary


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "edition" in metafunc.fixturenames:
        metafunc.parametrize("edition", list_editions(), ids=str, scope="module")


@pytest.fixture(scope="session")
def discovery_caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubectl")


@pytest.fixture(scope="module")
def kubectl(edition: Edition, cluster: Cluster, discovery_caches: Path) -> Kubectl:
    return Kubectl(provide_binary(edition), cluster.kubeconfig, discovery_caches / edition)


@pytest.fixture
def console(kubectl: Kubectl) -> Iterator[Console]:
    """kubectl in a namespace of the test's own."""
    with console_in_namespace(kubectl, f"own-{secrets.token_hex(3)}") as opened:
        yield opened


@pytest.fixture
def web(console: Console) -> Console:
    """The console once the Deployment, Service and ConfigMap of `web.yaml` are applied and rolled out."""
    apply_web(console)
    return console


@pytest.fixture(scope="module")
def standing_empty(kubectl: Kubectl) -> Iterator[Console]:
    """An empty namespace for all tests of a file, which leave nothing in it."""
    with console_in_namespace(kubectl, f"empty-{secrets.token_hex(3)}") as opened:
        yield opened


@pytest.fixture(scope="module")
def standing_web(kubectl: Kubectl) -> Iterator[Console]:
    """As `web`, for all tests of a file: to be looked at only."""
    with console_in_namespace(kubectl, f"standing-{secrets.token_hex(3)}") as opened:
        apply_web(opened)
        yield opened


@pytest.fixture(scope="module")
def standing_shell(kubectl: Kubectl) -> Iterator[Console]:
    """The pod of `shell.yaml` runs, for all tests of a file; they may leave files in it."""
    with console_in_namespace(kubectl, f"shell-{secrets.token_hex(3)}") as opened:
        opened.run(f"apply -f {SHELL}")
        opened.wait_for("wait pod/shell --for=condition=Ready --timeout=30s")
        yield opened


def apply_web(console: Console) -> None:
    console.run(f"apply -f {WEB}")
    console.wait_for("rollout status deployment/web --timeout=30s")
