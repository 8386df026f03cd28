"""What a container is given: volumes, variables, and both again when the objects behind them change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from kubeapi.client import PatchType
from kubeapi.resources import CONFIG_MAPS, PODS, SECRETS
from tests.cluster.scene import Document, Scene, build_pod, build_shell, is_in_phase, is_ready, is_waiting

SEEN_SECONDS = 2.0


async def create_configuration(scene: Scene) -> None:
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"color": "red", "size": "9"}})
    await scene.create(SECRETS, {"metadata": {"name": "keys"}, "stringData": {"password": "hunter2"}})


async def test_containers_share_an_empty_directory(scene: Scene) -> None:
    mount: Document = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    await scene.create(
        PODS,
        build_pod(
            "pair",
            build_shell("echo hello > /shared/message", name="writer", **mount),
            build_shell("until cat /shared/message; do sleep 0.05; done", name="reader", **mount),
            volumes=[{"name": "shared", "emptyDir": {}}],
            restartPolicy="Never",
        ),
    )
    await scene.wait_for_pod("pair", is_in_phase("Succeeded"))

    assert (await scene.read_log("pair", "--container=reader")).splitlines()[-1] == "hello"


async def test_an_empty_directory_in_memory_has_its_size(scene: Scene) -> None:
    await scene.start_pod(
        build_pod(
            "small",
            build_shell(volumeMounts=[{"name": "memory", "mountPath": "/memory"}]),
            volumes=[{"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        )
    )

    filled = await scene.run_in_pod(
        "small",
        "sh",
        "-c",
        "dd if=/dev/zero of=/memory/f bs=64k count=32 2>/dev/null; stat -c %s /memory/f",
    )
    assert int(filled) == 1024 * 1024


async def test_configuration_arrives_as_variables_and_as_files(scene: Scene) -> None:
    await create_configuration(scene)
    await scene.start_pod(
        build_pod(
            "given",
            build_shell(
                env=[
                    {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                    {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "TOLD", "value": "$(COLOR) on $(NODE)"},
                ],
                envFrom=[{"prefix": "ALL_", "configMapRef": {"name": "settings"}}],
                volumeMounts=[
                    {"name": "settings", "mountPath": "/settings"},
                    {"name": "keys", "mountPath": "/keys", "readOnly": True},
                ],
            ),
            volumes=[
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            ],
        )
    )

    said = await scene.run_in_pod(
        "given",
        "sh",
        "-c",
        'echo "$PASSWORD" "$TOLD" "$ALL_size"; cat /settings/color /keys/password; echo; '
        "stat -L -c %a /keys/password /settings/size; grep -c ' /keys tmpfs' /proc/mounts",
    )

    assert said.splitlines() == ["hunter2 red on n1 9", "redhunter2", "400", "644", "1"]


async def paint_config_map(scene: Scene, color: str) -> None:
    change = {"data": {"color": color}}
    await scene.client.patch(CONFIG_MAPS, change, "settings", scene.namespace, patch_type=PatchType.MERGE)


async def paint_secret(scene: Scene, color: str) -> None:
    change = {"stringData": {"color": color}}
    await scene.client.patch(SECRETS, change, "keys", scene.namespace, patch_type=PatchType.MERGE)


@pytest.mark.parametrize(
    ("source", "paint"),
    [
        ({"configMap": {"name": "settings"}}, paint_config_map),
        ({"secret": {"secretName": "keys"}}, paint_secret),
    ],
    ids=["ConfigMap", "Secret"],
)
async def test_an_edited_object_is_seen_in_the_pod_soon(
    scene: Scene, source: Document, paint: Callable[[Scene, str], Awaitable[None]]
) -> None:
    await create_configuration(scene)
    mount = [{"name": "given", "mountPath": "/given"}]
    await scene.start_pod(
        build_pod("watching", build_shell(volumeMounts=mount), volumes=[{"name": "given", **source}])
    )
    watcher = "until grep -q blue /given/color 2>/dev/null; do sleep 0.02; done"
    watching = asyncio.create_task(scene.run_in_pod("watching", "sh", "-c", watcher))

    await paint(scene, "blue")
    painted_at = time.monotonic()
    await watching

    assert time.monotonic() - painted_at < SEEN_SECONDS


async def test_a_container_waits_for_the_configuration_that_it_names(scene: Scene) -> None:
    wanted = {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}
    await scene.create(PODS, build_pod("early", build_shell(env=[wanted])))

    waiting = await scene.wait_for_pod("early", is_waiting("CreateContainerConfigError"))
    assert waiting.status.container_statuses[0].state.waiting is not None
    assert waiting.status.container_statuses[0].state.waiting.message == 'configmap "settings" not found'
    await create_configuration(scene)

    await scene.wait_for_pod("early", is_ready)


async def test_a_pod_waits_for_the_objects_behind_its_volumes(scene: Scene) -> None:
    await scene.create(
        PODS,
        build_pod(
            "early",
            build_shell(volumeMounts=[{"name": "keys", "mountPath": "/keys"}]),
            volumes=[{"name": "keys", "secret": {"secretName": "keys"}}],
        ),
    )

    await scene.wait_for_event("early", "FailedMount", 'secret "keys" not found')
    await create_configuration(scene)

    await scene.wait_for_pod("early", is_ready)
