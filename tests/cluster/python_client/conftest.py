"""Fixtures of the tests that use the official Python client, which knows nothing of this project."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from kubernetes import client, config

from lab.cluster import Cluster


@pytest.fixture(scope="module")
def api_client(cluster: Cluster) -> Iterator[client.ApiClient]:
    """Configured as everybody does, from a kubeconfig file; its connections are closed at the end."""
    with config.new_client_from_config(config_file=str(cluster.kubeconfig)) as opened:
        yield opened
        opened.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def core(api_client: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api_client)


@pytest.fixture(scope="module")
def apps(api_client: client.ApiClient) -> client.AppsV1Api:
    return client.AppsV1Api(api_client)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """One of the test's own; deleted without waiting."""
    name = f"python-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)
