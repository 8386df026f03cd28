"""Objects as a version with fewer defaults stored them: a write completes them, which is nobody's change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.apiserver.documents import encode_json
from controlplane.storage.memory import MemoryStorage
from tests.unit.controlplane.apiserver.api_harness import MERGE, STRATEGIC, running_api

POD = "/api/v1/namespaces/default/pods/old"
STORED: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "old",
        "namespace": "default",
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 3,
    },
    "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "web:1"}]},
    "status": {"phase": "Pending"},
}


@pytest.mark.parametrize(
    ("path", "content_type", "patch"),
    [
        (f"{POD}/status", STRATEGIC, {"status": {"phase": "Running"}}),
        (POD, MERGE, {"metadata": {"labels": {"a": "b"}}}),
    ],
    ids=["status", "object"],
)
async def test_new_defaults_are_added_without_counting_as_a_change(
    tmp_path: Path, path: str, content_type: str, patch: dict[str, Any]
) -> None:
    storage = MemoryStorage()
    await storage.create("/registry/core/pods/default/old", encode_json(STORED))
    async with running_api(tmp_path, storage) as api:
        reply = await api.call("PATCH", path, patch, content_type=content_type)
    assert reply.status == 200, reply.body
    pod = reply.document
    assert pod["metadata"]["generation"] == 3
    assert pod["spec"]["restartPolicy"] == "Always"
    assert pod["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert pod["status"]["qosClass"] == "BestEffort"


async def test_a_wrong_type_in_storage_is_named_and_not_passed_on(tmp_path: Path) -> None:
    storage = MemoryStorage()
    broken = {**STORED, "spec": {**STORED["spec"], "priority": "high"}}
    await storage.create("/registry/core/pods/default/old", encode_json(broken))
    async with running_api(tmp_path, storage) as api:
        patch = {"status": {"phase": "Running"}}
        reply = await api.call("PATCH", f"{POD}/status", patch, content_type=STRATEGIC)
    assert reply.status == 422
    assert "spec.priority" in reply.message
