"""What a method and a path are about."""

from __future__ import annotations

import pytest

from controlplane.apiserver.request_path import parse_resource_request


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, ("list", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "1"}, ("watch", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "false"}, ("list", "pods", "", "", "")),
        ("POST", "/api/v1/namespaces/a/pods", {}, ("create", "pods", "a", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p", {}, ("get", "pods", "a", "p", "")),
        ("PUT", "/api/v1/namespaces/a/pods/p/status", {}, ("update", "pods", "a", "p", "status")),
        ("DELETE", "/api/v1/namespaces/a/pods", {}, ("deletecollection", "pods", "a", "", "")),
        ("DELETE", "/api/v1/namespaces/a", {}, ("delete", "namespaces", "", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "namespaces", "", "a", "finalize")),
        ("GET", "/api/v1/namespaces", {}, ("list", "namespaces", "", "", "")),
        ("PATCH", "/api/v1/nodes/n", {}, ("patch", "nodes", "", "n", "")),
        (
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            {},
            ("get", "deployments", "a", "d", "scale"),
        ),
        ("POST", "/api/v1/namespaces/a/pods/p/exec", {}, ("create", "pods", "a", "p", "exec")),
    ],
)
def test_a_request_for_objects(
    method: str, path: str, query: dict[str, str], expected: tuple[str, str, str, str, str]
) -> None:
    found = parse_resource_request(method, path, query)
    assert found is not None
    assert (found.verb, found.kind.plural, found.namespace, found.name, found.subresource) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api"),
        ("GET", "/api/v1"),
        ("GET", "/apis/apps/v1"),
        ("GET", "/api/v1/widgets"),
        ("GET", "/api/v2/pods"),
        ("GET", "/apis/none/v1/pods"),
        ("GET", "/api/v1/pods/p"),
        ("GET", "/api/v1/namespaces/a/nodes/n"),
        ("GET", "/api/v1/namespaces/a/pods/p/none"),
        ("GET", "/api/v1/namespaces/a/pods/p/status/more"),
        ("OPTIONS", "/api/v1/namespaces/a/pods/p"),
        ("PUT", "/api/v1/namespaces/a/pods"),
        ("GET", "/healthz"),
    ],
)
def test_everything_else_names_no_objects(method: str, path: str) -> None:
    assert parse_resource_request(method, path, {}) is None
