"""Over HTTPS: pods/ephemeralcontainers, pods/resize, serviceaccounts/token, and the kinds beside pods."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.apiserver.api_harness import JSON_PATCH, MERGE, STRATEGIC, Api, build_pod

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
DEBUGGER = {"name": "debugger", "image": "tools:1", "targetContainerName": "main"}
RESOURCES = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}


def resizable(name: str) -> dict[str, Any]:
    pod = build_pod(name)
    pod["spec"]["containers"][0]["resources"] = RESOURCES
    return pod


async def test_discovery_names_the_subresources_with_pod_and_verbs(api: Api) -> None:
    resources = (await api.get("/api/v1")).document["resources"]
    found = {each["name"]: (each["kind"], each["verbs"], each.get("group")) for each in resources}
    for name in ("pods/ephemeralcontainers", "pods/resize"):
        assert found[name] == ("Pod", ["get", "patch", "update"], None)
    assert found["serviceaccounts/token"] == ("TokenRequest", ["create"], "authentication.k8s.io")


async def test_ephemeral_containers_are_merged_by_name(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    path = f"{PODS}/p/ephemeralcontainers"
    for number, name in enumerate(("one", "two"), start=2):
        patch = {"spec": {"ephemeralContainers": [{**DEBUGGER, "name": name}]}}
        reply = await api.call("PATCH", path, patch, content_type=STRATEGIC)
        assert reply.status == 200, reply.body
        assert reply.document["metadata"]["generation"] == number
    pod = (await api.get(path)).document
    assert {each["name"] for each in pod["spec"]["ephemeralContainers"]} == {"one", "two"}
    refused = await api.call("PATCH", path, {"spec": {"ephemeralContainers": [DEBUGGER]}}, content_type=MERGE)
    assert refused.status == 422
    for name in ("one", "two"):
        assert f'existing ephemeral containers "{name}" may not be removed' in refused.message


async def test_a_put_to_ephemeral_containers_needs_the_current_version(api: Api) -> None:
    pod = await api.create(PODS, build_pod("p"))
    pod["spec"]["ephemeralContainers"] = [DEBUGGER]
    path = f"{PODS}/p/ephemeralcontainers"
    assert (await api.call("PUT", path, pod)).status == 200
    assert (await api.call("PUT", path, pod)).status == 409


async def test_a_resize_counts_a_generation_and_an_update_may_not_resize(api: Api) -> None:
    pod = await api.create(PODS, resizable("p"))
    assert pod["spec"]["containers"][0]["resizePolicy"] == [
        {"resourceName": "cpu", "restartPolicy": "NotRequired"}
    ]
    container = {"name": "main", "resources": {"requests": {"cpu": "150m"}}}
    patch = {"spec": {"containers": [container]}}
    assert (await api.call("PATCH", f"{PODS}/p", patch, content_type=STRATEGIC)).status == 422
    reply = await api.call("PATCH", f"{PODS}/p/resize", patch, content_type=STRATEGIC)
    assert reply.status == 200, reply.body
    assert reply.document["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "150m"}
    assert reply.document["metadata"]["generation"] == 2
    pointer = "/spec/containers/0/resources/limits"
    operations = [{"op": "remove", "path": pointer}]
    refused = await api.call("PATCH", f"{PODS}/p/resize", operations, content_type=JSON_PATCH)
    assert refused.status == 422


async def test_binding_and_status_count_no_generation(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    await api.create(f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}})
    status = {"status": {"phase": "Running", "observedGeneration": 1}}
    await api.call("PATCH", f"{PODS}/p/status", status, content_type=MERGE)
    pod = (await api.get(f"{PODS}/p")).document
    assert (pod["metadata"]["generation"], pod["status"]["observedGeneration"]) == (1, 1)
    gone = await api.call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert gone.document["metadata"]["generation"] == 2


async def test_a_token_is_issued_and_its_key_published(api: Api) -> None:
    await api.create(ACCOUNTS, {"metadata": {"name": "clerk"}})
    answer = await api.create(f"{ACCOUNTS}/clerk/token", {"spec": {"expirationSeconds": 900}})
    assert answer["kind"] == "TokenRequest"
    assert answer["status"]["token"].count(".") == 2
    assert answer["status"]["expirationTimestamp"] == "2026-01-02T03:19:05Z"
    key_set = await api.get("/openid/v1/jwks")
    assert key_set.headers["Content-Type"].startswith("application/jwk-set+json")
    assert len(key_set.document["keys"]) == 1
    configuration = (await api.get("/.well-known/openid-configuration")).document
    assert configuration["jwks_uri"] == f"{api.url}/openid/v1/jwks"
    wrong = await api.call("POST", f"{ACCOUNTS}/clerk/token", {"spec": {"audiences": "vault"}})
    assert wrong.status == 422
    assert (await api.get("/openid/v1/jwks", user=None)).status == 401


async def test_a_node_gets_tokens_for_its_own_pods(api: Api) -> None:
    await api.create(ACCOUNTS, {"metadata": {"name": "default"}})
    pod = await api.create(PODS, build_pod("p", node="n1"))
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    request = {"spec": {"boundObjectRef": reference}}
    path = f"{ACCOUNTS}/default/token"
    assert (await api.call("POST", path, request, user="n1")).status == 201
    assert (await api.call("POST", path, request, user="n2")).status == 403
    unbound = await api.call("POST", path, {"spec": {}}, user="n1")
    assert "node requested token not bound to a pod" in unbound.message


async def test_a_volume_and_a_claim_are_protected_and_shown(api: Api) -> None:
    volume = {
        "metadata": {"name": "v"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "hostPath": {"path": "/data"},
            "claimRef": {"namespace": "default", "name": "c"},
        },
    }
    made = await api.create("/api/v1/persistentvolumes", volume)
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    shown = (await api.get("/api/v1/persistentvolumes", accept=table)).document
    assert [column["name"] for column in shown["columnDefinitions"]][:6] == [
        "Name",
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
    ]
    assert shown["rows"][0]["cells"][:6] == ["v", "1Gi", "RWO,ROX", "Retain", "Pending", "default/c"]


async def test_every_cluster_has_the_system_priorities(api: Api) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    items = (await api.get(path)).document["items"]
    assert {each["metadata"]["name"]: each["value"] for each in items} == {
        "system-cluster-critical": 2_000_000_000,
        "system-node-critical": 2_000_001_000,
    }
    pod = build_pod("p")
    pod["spec"]["priorityClassName"] = "system-node-critical"
    assert (await api.create(PODS, pod))["spec"]["priority"] == 2_000_001_000
