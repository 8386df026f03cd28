"""The verbs on objects over HTTPS: identity, concurrency, patches, subresources, deletion."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.controlplane.apiserver.api_harness import (
    JSON_PATCH,
    MERGE,
    NOW,
    STRATEGIC,
    Api,
    Document,
    build_config_map,
    build_pod,
)

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def build_deployment(name: str = "web", replicas: int = 2) -> Document:
    template = {"metadata": {"labels": {"app": name}}, "spec": build_pod("x")["spec"]}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


# --- create and get -----------------------------------------------------------------------------------------


async def test_a_created_object_has_identity_and_is_read_back(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a", key="value"))
    metadata = created["metadata"]
    assert (created["kind"], created["apiVersion"], metadata["namespace"]) == ("ConfigMap", "v1", "default")
    assert metadata["creationTimestamp"] == "2026-01-02T03:04:05Z" == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(metadata["uid"]) == 36
    assert int(metadata["resourceVersion"]) > 0
    assert (await api.get(f"{MAPS}/a")).document == created


async def test_a_name_can_be_had_only_once(api: Api) -> None:
    await api.create(MAPS, build_config_map("a"))
    reply = await api.call("POST", MAPS, build_config_map("a"))
    assert (reply.status, reply.document["reason"]) == (409, "AlreadyExists")
    assert reply.message == 'configmaps "a" already exists'


async def test_generated_names_differ_and_keep_their_base(api: Api) -> None:
    names = {
        (await api.create(MAPS, {"metadata": {"generateName": "job-"}}))["metadata"]["name"] for _ in range(5)
    }
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


async def test_what_the_client_may_not_choose_is_not_taken_over(api: Api) -> None:
    body = build_pod("p") | {"status": {"phase": "Running"}}
    body["metadata"] |= {"uid": "mine", "resourceVersion": "7", "generation": 9, "selfLink": "/x"}
    created = await api.create(PODS, body)
    assert created["metadata"]["uid"] != "mine"
    assert created["metadata"]["generation"] == 1
    assert "selfLink" not in created["metadata"]
    assert created["status"]["phase"] == "Pending"


async def test_absent_things_are_not_found_by_name(api: Api) -> None:
    reply = await api.get(f"{DEPLOYMENTS}/none")
    assert (reply.status, reply.message) == (404, 'deployments.apps "none" not found')
    assert reply.document["details"] == {"name": "none", "group": "apps", "kind": "deployments"}
    assert (
        await api.get("/apis/none/v1/things")
    ).message == "the server could not find the requested resource"


async def test_an_object_needs_an_existing_namespace(api: Api) -> None:
    reply = await api.call("POST", "/api/v1/namespaces/none/configmaps", build_config_map("a"))
    assert (reply.status, reply.message) == (404, 'namespaces "none" not found')


async def test_invalid_objects_name_their_fields(api: Api) -> None:
    reply = await api.call("POST", PODS, {"metadata": {"name": "Bad_Name"}, "spec": {"containers": []}})
    assert (reply.status, reply.document["reason"]) == (422, "Invalid")
    assert reply.message.startswith('Pod "Bad_Name" is invalid: [')
    fields = {cause["field"] for cause in reply.document["details"]["causes"]}
    assert {"metadata.name", "spec.containers"} <= fields


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "a list"),
        (b'{"kind":"Pod","apiVersion":"v1"}', 'Pod in version "v1" cannot be handled as a ConfigMap'),
        (b'{"metadata":{"namespace":"other","name":"a"}}', "does not match the namespace"),
        (b'{"metadata":3}', "metadata"),
    ],
)
async def test_malformed_bodies_are_bad_requests(api: Api, body: bytes, said: str) -> None:
    reply = await api.call("POST", MAPS, body)
    assert reply.status == 400
    assert said in reply.message


@pytest.mark.parametrize(
    "spec", ["text", 3, [], {"containers": "none"}, {"containers": [3]}, {"containers": [{"name": {}}]}]
)
async def test_values_of_the_wrong_type_are_refused_not_crashed_on(api: Api, spec: object) -> None:
    reply = await api.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert reply.status == 422


async def test_bodies_may_be_yaml(api: Api) -> None:
    body = b"metadata:\n  name: a\ndata:\n  answer: 'yes'\n  time: '22:22'\n"
    created = await api.create(MAPS, body, content_type="application/yaml")
    assert created["data"] == {"answer": "yes", "time": "22:22"}


async def test_other_bodies_are_unsupported(api: Api) -> None:
    reply = await api.call("POST", MAPS, b"x", content_type="text/plain")
    assert (reply.status, reply.document["reason"]) == (415, "UnsupportedMediaType")


async def test_a_body_past_the_limit_is_too_large(api: Api) -> None:
    reply = await api.call("POST", MAPS, b" " * (3 * 1024 * 1024 + 1))
    assert (reply.status, reply.document["reason"]) == (413, "RequestEntityTooLarge")


async def test_dry_run_answers_but_stores_nothing(api: Api) -> None:
    created = await api.create(f"{MAPS}?dryRun=All", build_config_map("a"))
    assert created["metadata"]["uid"]
    assert (await api.get(f"{MAPS}/a")).status == 404
    assert (await api.call("POST", f"{MAPS}?dryRun=Some", build_config_map("a"))).status == 400


async def test_unknown_fields_warn_or_are_refused_as_asked(api: Api) -> None:
    body = build_config_map("a") | {"dta": {"x": "y"}}
    strict = await api.call("POST", f"{MAPS}?fieldValidation=Strict", body)
    assert strict.status == 400
    assert 'strict decoding error: unknown field "dta"' in strict.message
    warned = await api.call("POST", f"{MAPS}?fieldValidation=Warn", body)
    assert warned.status == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"dta\\""'
    assert "dta" not in warned.document


# --- update -------------------------------------------------------------------------------------------------


async def test_an_update_with_a_stale_version_conflicts(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a", n="1"))
    updated = await api.call("PUT", f"{MAPS}/a", created | {"data": {"n": "2"}})
    assert updated.status == 200
    assert int(updated.document["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    stale = await api.call("PUT", f"{MAPS}/a", created | {"data": {"n": "3"}})
    assert (stale.status, stale.document["reason"]) == (409, "Conflict")
    assert stale.message.startswith(
        'Operation cannot be fulfilled on configmaps "a": the object has been modified'
    )


async def test_an_update_without_a_version_wins(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a", n="1"))
    updated = await api.call("PUT", f"{MAPS}/a", build_config_map("a", n="2"))
    assert updated.document["data"] == {"n": "2"}
    assert updated.document["metadata"]["uid"] == created["metadata"]["uid"]


async def test_an_update_that_changes_nothing_takes_no_version(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a", n="1"))
    assert (await api.call("PUT", f"{MAPS}/a", created)).document == created


async def test_an_update_of_another_incarnation_conflicts(api: Api) -> None:
    body = build_config_map("a")
    await api.create(MAPS, body)
    body["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    assert (await api.call("PUT", f"{MAPS}/a", body)).status == 409


async def test_a_lease_is_only_updated_by_version(api: Api) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    created = await api.create(leases, {"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}})
    assert (await api.call("PUT", f"{leases}/n", {"metadata": {"name": "n"}})).status == 422
    assert (await api.call("PUT", f"{leases}/n", created | {"spec": {"holderIdentity": "m"}})).status == 200


async def test_spec_and_status_are_written_apart(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, build_deployment())
    path = f"{DEPLOYMENTS}/web"
    wanted = created | {"spec": created["spec"] | {"replicas": 5}, "status": {"replicas": 9}}
    updated = (await api.call("PUT", path, wanted)).document
    assert (updated["spec"]["replicas"], updated["status"]) == (5, created.get("status", {}))
    assert updated["metadata"]["generation"] == 2
    reported = updated | {"spec": updated["spec"] | {"replicas": 7}, "status": {"replicas": 5}}
    after = (await api.call("PUT", f"{path}/status", reported)).document
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (5, 5)
    assert after["metadata"]["generation"] == 2


async def test_changes_of_metadata_alone_keep_the_generation(api: Api) -> None:
    await api.create(DEPLOYMENTS, build_deployment())
    patched = await api.call(
        "PATCH", f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE
    )
    assert patched.document["metadata"]["generation"] == 1


# --- patch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        (MERGE, {"data": {"b": "2", "a": None}}),
        (STRATEGIC, {"data": {"b": "2", "a": None}}),
        (JSON_PATCH, [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]),
    ],
)
async def test_three_kinds_of_patch(api: Api, content_type: str, patch: object) -> None:
    await api.create(MAPS, build_config_map("a", a="1"))
    reply = await api.call("PATCH", f"{MAPS}/a", patch, content_type=content_type)
    assert reply.status == 200
    assert reply.document["data"] == {"b": "2"}


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    await api.create(DEPLOYMENTS, build_deployment())
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}}}
    reply = await api.call("PATCH", f"{DEPLOYMENTS}/web", patch, content_type=STRATEGIC)
    containers = reply.document["spec"]["template"]["spec"]["containers"]
    assert [(each["name"], each["image"]) for each in containers] == [("main", "web:2")]


async def test_server_side_apply_is_not_offered(api: Api) -> None:
    reply = await api.call("PATCH", f"{MAPS}/a", {}, content_type="application/apply-patch+yaml")
    assert reply.status == 415
    assert STRATEGIC in reply.message


async def test_a_patch_that_does_not_apply_is_unprocessable(api: Api) -> None:
    await api.create(MAPS, build_config_map("a"))
    patch = [{"op": "test", "path": "/metadata/name", "value": "b"}]
    reply = await api.call("PATCH", f"{MAPS}/a", patch, content_type=JSON_PATCH)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message.endswith("is invalid: /metadata/name: the value to be tested differs")
    assert (await api.call("PATCH", f"{MAPS}/a", {"x": 1}, content_type=JSON_PATCH)).status == 400


async def test_a_patch_with_a_version_is_optimistic(api: Api) -> None:
    await api.create(MAPS, build_config_map("a"))
    patch = {"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}}
    assert (await api.call("PATCH", f"{MAPS}/a", patch, content_type=MERGE)).status == 409


async def test_racing_patches_all_get_through(api: Api) -> None:
    await api.create(MAPS, build_config_map("a"))
    replies = await asyncio.gather(
        *(api.call("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, content_type=MERGE) for n in range(12))
    )
    assert {reply.status for reply in replies} == {200}
    assert len((await api.get(f"{MAPS}/a")).document["data"]) == 12


# --- delete -------------------------------------------------------------------------------------------------


async def test_deletion_answers_success_and_what_went(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a"))
    reply = await api.call("DELETE", f"{MAPS}/a")
    assert (reply.status, reply.document["kind"], reply.document["status"]) == (200, "Status", "Success")
    assert reply.document["details"] == {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}
    assert (await api.call("DELETE", f"{MAPS}/a")).status == 404


async def test_deletion_honours_preconditions(api: Api) -> None:
    created = await api.create(MAPS, build_config_map("a"))
    wrong = {"preconditions": {"uid": "other"}}
    assert (await api.call("DELETE", f"{MAPS}/a", wrong)).status == 409
    stale = {"preconditions": {"resourceVersion": "1"}}
    assert (await api.call("DELETE", f"{MAPS}/a", stale)).status == 409
    right = {"preconditions": {"uid": created["metadata"]["uid"]}}
    assert (await api.call("DELETE", f"{MAPS}/a", right)).status == 200


async def test_a_pod_on_a_node_waits_for_its_kubelet(api: Api) -> None:
    await api.create(PODS, build_pod("p", node="n1"))
    marked = (await api.call("DELETE", f"{PODS}/p")).document
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-02T03:04:35Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    again = (await api.call("DELETE", f"{PODS}/p")).document
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    sooner = (await api.call("DELETE", f"{PODS}/p?gracePeriodSeconds=5")).document
    assert sooner["metadata"]["deletionTimestamp"] == "2026-01-02T03:04:10Z"
    gone = await api.call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert (gone.status, gone.document["kind"]) == (200, "Pod")
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_an_unbound_pod_goes_at_once(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    await api.call("DELETE", f"{PODS}/p")
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_finalizers_hold_an_object_until_they_are_taken_off(api: Api) -> None:
    body = build_config_map("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.create(MAPS, body)
    marked = (await api.call("DELETE", f"{MAPS}/a")).document
    assert marked["metadata"]["deletionTimestamp"]
    freed = await api.call("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert freed.status == 200
    assert (await api.get(f"{MAPS}/a")).status == 404


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])]
)
async def test_propagation_is_left_to_the_garbage_collector(
    api: Api, policy: str, finalizers: list[str]
) -> None:
    await api.create(DEPLOYMENTS, build_deployment())
    marked = (await api.call("DELETE", f"{DEPLOYMENTS}/web", {"propagationPolicy": policy})).document
    assert marked["metadata"]["finalizers"] == finalizers
    assert (await api.get(f"{DEPLOYMENTS}/web")).status == 200


async def test_background_deletion_goes_at_once(api: Api) -> None:
    await api.create(DEPLOYMENTS, build_deployment())
    await api.call("DELETE", f"{DEPLOYMENTS}/web?propagationPolicy=Background")
    assert (await api.get(f"{DEPLOYMENTS}/web")).status == 404


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.create(PODS, build_pod(name, labels={"l": label}))
    deleted = await api.call("DELETE", f"{PODS}?labelSelector=l%3Dx")
    assert [item["metadata"]["name"] for item in deleted.document["items"]] == ["a", "b"]
    left = (await api.get(PODS)).document["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


# --- namespaces ---------------------------------------------------------------------------------------------


async def test_system_namespaces_and_the_api_service_exist_from_the_start(api: Api) -> None:
    names = [item["metadata"]["name"] for item in (await api.get("/api/v1/namespaces")).document["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    service = (await api.get(f"{SERVICES}/kubernetes")).document
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    endpoints = (await api.get(f"{slices}/kubernetes")).document
    assert endpoints["endpoints"][0]["addresses"] == ["127.0.0.1"]


async def test_the_cluster_s_own_namespaces_stay(api: Api) -> None:
    for name in ("default", "kube-system", "kube-public"):
        reply = await api.call("DELETE", f"/api/v1/namespaces/{name}")
        assert (reply.status, reply.reason) == (403, "Forbidden")
        assert reply.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        assert (await api.get(f"/api/v1/namespaces/{name}")).document["status"]["phase"] == "Active"


async def test_a_namespace_empties_before_it_goes(api: Api) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "work"}})
    marked = (await api.call("DELETE", "/api/v1/namespaces/work")).document
    assert (marked["status"]["phase"], marked["spec"]["finalizers"]) == ("Terminating", ["kubernetes"])
    refused = await api.call("POST", "/api/v1/namespaces/work/configmaps", build_config_map("a"))
    assert refused.status == 403
    assert "because it is being terminated" in refused.message
    finalized = await api.call(
        "PUT", "/api/v1/namespaces/work/finalize", marked | {"spec": {"finalizers": []}}
    )
    assert finalized.status == 200
    assert (await api.get("/api/v1/namespaces/work")).status == 404


# --- special subresources -----------------------------------------------------------------------------------


async def test_services_get_addresses_of_their_own(api: Api) -> None:
    def build_service(name: str) -> Document:
        return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}

    created = await asyncio.gather(*(api.create(SERVICES, build_service(f"s{n}")) for n in range(20)))
    addresses = {service["spec"]["clusterIP"] for service in created}
    ports = {service["spec"]["ports"][0]["nodePort"] for service in created}
    assert len(addresses) == len(ports) == 20
    wanted = build_service("t") | {
        "spec": {"clusterIP": created[0]["spec"]["clusterIP"], "ports": [{"port": 80}]}
    }
    refused = await api.call("POST", SERVICES, wanted)
    assert refused.status == 422
    assert "already allocated" in refused.message
    await api.call("DELETE", f"{SERVICES}/s0")
    assert (await api.call("POST", SERVICES, wanted)).status == 201


async def test_a_service_keeps_its_addresses_when_updated_without_them(api: Api) -> None:
    body: Document = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    created = await api.create(SERVICES, body)
    body["spec"]["selector"] = {"app": "web"}
    updated = (await api.call("PUT", f"{SERVICES}/s", body)).document
    assert updated["spec"]["clusterIP"] == created["spec"]["clusterIP"]
    assert updated["spec"]["ports"] == created["spec"]["ports"]


async def test_scale_reads_and_writes_the_replicas(api: Api) -> None:
    await api.create(DEPLOYMENTS, build_deployment())
    path = f"{DEPLOYMENTS}/web/scale"
    scale = (await api.get(path)).document
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == (
        "Scale",
        {"replicas": 2},
        "app=web",
    )
    assert (await api.call("PUT", path, scale | {"spec": {"replicas": 4}})).document["spec"] == {
        "replicas": 4
    }
    patched = await api.call("PATCH", path, {"spec": {"replicas": 1}}, content_type=MERGE)
    assert patched.document["spec"] == {"replicas": 1}
    assert (await api.call("PUT", path, scale | {"spec": {"replicas": 3}})).status == 409
    negative = await api.call("PATCH", path, {"spec": {"replicas": -1}}, content_type=MERGE)
    assert negative.status == 422


async def test_a_binding_puts_a_pod_on_a_node_once(api: Api) -> None:
    created = await api.create(PODS, build_pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    bound = await api.call("POST", f"{PODS}/p/binding", binding, user="scheduler")
    assert (bound.status, bound.document["status"]) == (201, "Success")
    pod = (await api.get(f"{PODS}/p")).document
    assert pod["spec"]["nodeName"] == "n1"
    assert [(each["type"], each["status"]) for each in pod["status"]["conditions"]] == [
        ("PodScheduled", "True")
    ]
    assert pod["metadata"]["uid"] == created["metadata"]["uid"]
    again = await api.call("POST", f"{PODS}/p/binding", binding)
    assert (again.status, again.document["reason"]) == (409, "Conflict")
    assert 'pod p is already assigned to node "n1"' in again.message


async def test_a_binding_without_a_target_is_invalid(api: Api) -> None:
    await api.create(PODS, build_pod("p"))
    assert (await api.call("POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}})).status == 422


async def test_an_eviction_deletes_the_pod(api: Api) -> None:
    await api.create(PODS, build_pod("p", node="n1"))
    eviction = {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 7}}
    reply = await api.call(
        "POST", f"{PODS}/p/eviction", eviction | {"kind": "Eviction", "apiVersion": "policy/v1"}
    )
    assert reply.status == 201
    assert (await api.get(f"{PODS}/p")).document["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_methods_without_meaning_are_not_allowed(api: Api) -> None:
    assert (await api.call("POST", "/api/v1/pods", build_pod("p"))).status == 405
    assert (await api.call("POST", f"{PODS}/p", build_pod("p"))).status == 405
    assert (await api.call("PUT", "/version", {})).status == 405
