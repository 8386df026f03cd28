"""Who gets in and what is found at the door: certificates, authorization, health, discovery, OpenAPI."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from controlplane.apiserver.openapi import OPENAPI_V2_PROTOBUF
from tests.unit.controlplane.apiserver.api_harness import Api, build_pod

PODS = "/api/v1/namespaces/default/pods"
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping", "/version"])
async def test_health_and_version_need_no_certificate(api: Api, path: str) -> None:
    assert (await api.get(path, user=None)).status == 200


@pytest.mark.parametrize("path", ["/api", "/apis", PODS, "/openapi/v2", "/none"])
async def test_everything_else_needs_one(api: Api, path: str) -> None:
    reply = await api.get(path, user=None)
    assert (reply.status, reply.document["reason"], reply.message) == (401, "Unauthorized", "Unauthorized")


async def test_a_certificate_of_another_authority_is_no_certificate(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from controlplane.certificates import ensure_certificates, list_server_names

    names = list_server_names((), cluster_domain="x", first_service_ip="10.0.0.1")
    foreign = ensure_certificates(tmp_path_factory.mktemp("foreign"), names)
    context = api.build_tls(None)
    context.load_cert_chain(foreign.admin.certificate, foreign.admin.key)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await session.get(f"{api.url}{PODS}")


async def test_a_node_reads_what_pods_need_and_writes_its_own(api: Api) -> None:
    node = {"metadata": {"name": "n1"}}
    assert (await api.call("POST", NODES, node, user="n1")).status == 201
    assert (await api.get(PODS, user="n1")).status == 200
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    content_type = "application/merge-patch+json"
    own = await api.call("PATCH", f"{NODES}/n1/status", patch, user="n1", content_type=content_type)
    assert own.status == 200
    assert own.document["status"]["conditions"][0]["type"] == "Ready"
    other = await api.call("PATCH", f"{NODES}/n1/status", patch, user="n2", content_type=content_type)
    assert other.status == 403
    assert other.message == (
        'nodes "n1" is forbidden: User "system:node:n2" cannot patch resource "nodes/status" '
        'in API group "" at the cluster scope'
    )


async def test_a_node_renews_only_its_own_lease(api: Api) -> None:
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    created = await api.call("POST", LEASES, lease, user="n1")
    assert created.status == 201
    assert (await api.call("PUT", f"{LEASES}/n1", created.document, user="n1")).status == 200
    assert (await api.call("PUT", f"{LEASES}/n1", created.document, user="n2")).status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"{NODES}/n1"),
        ("POST", "/api/v1/namespaces"),
        ("DELETE", PODS),
        ("POST", f"{PODS}/p/binding"),
    ],
)
async def test_a_node_may_not_run_the_cluster(api: Api, method: str, path: str) -> None:
    assert (await api.call(method, path, {}, user="n1")).status == 403


async def test_core_discovery_lists_kinds_and_subresources(api: Api) -> None:
    listed = (await api.get("/api/v1")).document
    by_name = {each["name"]: each for each in listed["resources"]}
    assert by_name["pods"]["shortNames"] == ["po"]
    assert by_name["pods"]["namespaced"]
    assert not by_name["nodes"]["namespaced"]
    assert by_name["pods/exec"]["verbs"] == ["create", "get"]
    assert by_name["pods/eviction"]["group"] == "policy"


async def test_groups_are_discovered(api: Api) -> None:
    groups = {each["name"] for each in (await api.get("/apis")).document["groups"]}
    assert groups == {
        "apps",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "node.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
    assert (await api.get("/apis/apps")).document["preferredVersion"]["groupVersion"] == "apps/v1"
    names = {each["name"] for each in (await api.get("/apis/apps/v1")).document["resources"]}
    assert {"deployments", "deployments/scale", "replicasets/status"} <= names


async def test_discovery_is_aggregated_on_request(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    reply = await api.get("/apis", accept=accept)
    assert reply.headers["Content-Type"].startswith("application/json;g=apidiscovery.k8s.io;v=v2")
    assert reply.document["kind"] == "APIGroupDiscoveryList"
    apps = next(each for each in reply.document["items"] if each["metadata"]["name"] == "apps")
    deployments = apps["versions"][0]["resources"][0]
    assert (deployments["resource"], deployments["scope"]) == ("deployments", "Namespaced")
    assert (await api.get("/apis")).document["kind"] == "APIGroupList"


async def test_openapi_is_served_in_three_forms(api: Api) -> None:
    assert (await api.get("/openapi/v2")).document["swagger"] == "2.0"
    for media_type in (OPENAPI_V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"):
        reply = await api.get("/openapi/v2", accept=media_type)
        assert reply.headers["Content-Type"] == OPENAPI_V2_PROTOBUF
        assert reply.body[:1] == b"\n"
    index = (await api.get("/openapi/v3")).document["paths"]
    document = await api.get(index["apis/apps/v1"]["serverRelativeURL"])
    assert document.document["openapi"] == "3.0.0"


async def test_unchanged_documents_are_not_sent_again(api: Api) -> None:
    first = await api.get("/openapi/v2")
    async with api.session() as session:
        again = await session.get("/openapi/v2", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status == 304


async def test_refusals_are_status_documents(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    reply = await api.call("POST", PODS, build_pod("p"))
    document = reply.document
    assert {key: document[key] for key in ("kind", "apiVersion", "status", "code")} == {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": 409,
    }
