"""Deployments and ReplicaSets against an API whose watches come late and whose answers get lost.

Whatever the order of looks, deliveries and faults: never more pods than wanted, never beyond the rollout's
budget, and in the end exactly what was declared, with nothing left to plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers.cache import Cache
from controlplane.controllers.caches import build_caches
from controlplane.controllers.deployment.observe import DeploymentReconciler
from controlplane.controllers.execute import Executor
from controlplane.controllers.pod_state import is_pod_active, is_pod_ready
from controlplane.controllers.replicaset.observe import ReplicaSetReconciler
from kubeapi.client import Client
from kubeapi.core import ObjectReference
from kubeapi.errors import KubeAPIError
from kubeapi.event_records import EventType
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from tests.builders import NOW
from tests.fakes.api_memory import ApiMemory, Fault

NAMESPACE = "default"
WEB = ObjectKey(NAMESPACE, "web")
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
FAULTS = st.lists(st.sampled_from([Fault.NONE, Fault.NONE, Fault.LOST_BEFORE, Fault.LOST_AFTER]), max_size=25)


class Silence:
    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None: ...


class World:
    """The API, the controllers' caches behind it, and a kubelet that makes pods ready or takes them away."""

    def __init__(self) -> None:
        self.api = ApiMemory()
        self.caches = build_caches()
        self.executor = Executor(cast(Client, self.api), self.caches.each(), Silence())
        self.deployments = DeploymentReconciler(self.caches)
        self.replica_sets = ReplicaSetReconciler(self.caches)
        self.seconds = 0

    def put_deployment(self, replicas: int, surge: int, unavailable: int, image: int) -> None:
        rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": build_template(image),
        }
        self.api.put(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec})

    def put_replica_set(self, replicas: int) -> None:
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": build_template(1),
        }
        self.api.put(REPLICA_SETS, {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec})

    def deliver(self, cache: Cache[Any], most: int | None = None) -> None:
        for change in self.api.deliver(cache.resource, most):
            cache.apply_change(change)

    def look_at_deployment(self) -> bool:
        return self._look(self.deployments, WEB)

    def look_at_replica_set(self, key: ObjectKey) -> bool:
        return self._look(self.replica_sets, key)

    def _look(self, reconciler: Any, key: ObjectKey) -> bool:
        """True when there was something to do, or the attempt failed."""
        self.seconds += 1

        async def run() -> bool:
            try:
                await self.executor.settle()
                plan = await reconciler.look(key, NOW + timedelta(seconds=self.seconds), "")
                await self.executor.apply(plan.actions)
            except KubeAPIError:
                return True
            return bool(plan.actions)

        return asyncio.run(run())

    def pods(self) -> list[Pod]:
        return [pod for pod in self.api.views(PODS) if is_pod_active(pod)]

    def ready_count(self) -> int:
        return sum(is_pod_ready(pod) for pod in self.pods())

    def make_ready(self, number: int) -> None:
        waiting = [pod for pod in self.pods() if not is_pod_ready(pod)]
        if waiting:
            self.api.edit(PODS, waiting[number % len(waiting)].key, {"status": READY})

    def flip_readiness(self, number: int) -> None:
        """Which pod is missed least may change at any time."""
        pods = self.pods()
        if pods:
            pod = pods[number % len(pods)]
            conditions = [{"type": "Ready", "status": "False" if is_pod_ready(pod) else "True"}]
            self.api.edit(PODS, pod.key, {"status": {"phase": "Running", "conditions": conditions}})

    def settle(self) -> None:
        """No more faults: everything is told, everybody looks, until nobody has anything to do."""
        self.api.script = iter(())
        for _ in range(400):
            for cache in (self.caches.deployments, self.caches.replica_sets, self.caches.pods):
                self.deliver(cache)
            while any(not is_pod_ready(pod) for pod in self.pods()):
                self.make_ready(0)
            keys = [each.key for each in self.api.views(REPLICA_SETS)]
            busy = [self.look_at_deployment(), *map(self.look_at_replica_set, keys)]
            if not any(busy) and not self.api.pending_changes(PODS):
                return
        raise AssertionError("it never comes to rest")


def build_template(image: int) -> dict[str, Any]:
    containers = [{"name": "web", "image": f"web:{image}"}]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}


@st.composite
def steps(draw: st.DrawFn, *names: str) -> list[tuple[str, int]]:
    return draw(st.lists(st.tuples(st.sampled_from(names), st.integers(0, 5)), max_size=40))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 5), steps("look", "pods", "sets", "ready", "kill"), FAULTS)
def test_never_more_pods_than_wanted_however_late_the_watch(
    replicas: int, script: list[tuple[str, int]], faults: list[Fault]
) -> None:
    world = World()
    world.put_replica_set(replicas)
    world.api.script = iter(faults)
    for name, number in script:
        match name:
            case "look":
                world.look_at_replica_set(WEB)
            case "pods":
                world.deliver(world.caches.pods, number)
            case "sets":
                world.deliver(world.caches.replica_sets, number)
            case "ready":
                world.make_ready(number)
            case "kill" if world.pods():
                world.api.remove(PODS, world.pods()[number % len(world.pods())].key)
        assert len(world.pods()) <= replicas
    world.settle()
    assert len(world.pods()) == replicas
    (replica_set,) = world.api.views(REPLICA_SETS)
    assert replica_set.status.available_replicas == replicas


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.integers(0, 5), steps("look", "pods", "sets", "flip"), FAULTS)
def test_scaling_down_never_takes_more_than_the_surplus(
    before: int, after: int, script: list[tuple[str, int]], faults: list[Fault]
) -> None:
    world = World()
    world.put_replica_set(before)
    world.settle()
    world.api.edit(REPLICA_SETS, WEB, {"spec": {"replicas": after}, "metadata": {"generation": 2}})
    world.api.script = iter(faults)
    for name, number in script:
        match name:
            case "look":
                world.look_at_replica_set(WEB)
            case "pods":
                world.deliver(world.caches.pods, number)
            case "sets":
                world.deliver(world.caches.replica_sets, number)
            case "flip":
                world.flip_readiness(number)
        assert min(before, after) <= len(world.pods()) <= max(before, after)
    world.settle()
    assert len(world.pods()) == after


BUDGETS = st.tuples(st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 5),
    BUDGETS,
    steps("deployment", "set", "pods", "sets", "deployments", "ready", "image"),
    FAULTS,
)
def test_a_rollout_keeps_its_budget_and_arrives(
    replicas: int, budget: tuple[int, int], script: list[tuple[str, int]], faults: list[Fault]
) -> None:
    surge, unavailable = budget if any(budget) else (0, 1)
    world = World()
    world.put_deployment(replicas, surge, unavailable, image=1)
    world.settle()
    assert world.ready_count() == replicas
    world.api.script = iter(faults)
    generation = 1
    for name, number in script:
        match name:
            case "deployment":
                world.look_at_deployment()
            case "set":
                keys = [each.key for each in world.api.views(REPLICA_SETS)]
                world.look_at_replica_set(keys[number % len(keys)])
            case "pods":
                world.deliver(world.caches.pods, number)
            case "sets":
                world.deliver(world.caches.replica_sets, number)
            case "deployments":
                world.deliver(world.caches.deployments, number)
            case "ready":
                world.make_ready(number)
            case "image":
                generation += 1
                patch = {"metadata": {"generation": generation}, "spec": {"template": build_template(number)}}
                world.api.edit(DEPLOYMENTS, WEB, patch)
        assert sum(each.spec.replicas for each in world.api.views(REPLICA_SETS)) <= replicas + surge
        assert world.ready_count() >= replicas - min(unavailable, replicas)
    world.settle()
    check_arrived(world, replicas)


def check_arrived(world: World, replicas: int) -> None:
    (deployment,) = world.api.views(DEPLOYMENTS)
    wanted = msgspec.json.decode(deployment.spec.template)["spec"]["containers"][0]["image"]
    assert [pod.spec.containers[0].image for pod in world.pods()] == [wanted] * replicas
    assert deployment.status.updated_replicas == deployment.status.available_replicas == replicas
    conditions = {each.type: each.reason for each in deployment.status.conditions}
    assert conditions["Progressing"] == "NewReplicaSetAvailable"
    assert conditions["Available"] == "MinimumReplicasAvailable"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.booleans())
def test_any_sequence_of_scalings_in_a_rollout_arrives(sizes: list[int], paused: bool) -> None:
    world = World()
    world.put_deployment(3, 1, 1, image=1)
    world.settle()
    world.api.edit(DEPLOYMENTS, WEB, {"spec": {"template": build_template(2), "paused": paused}})
    for generation, size in enumerate(sizes, start=2):
        world.deliver(world.caches.deployments)
        world.look_at_deployment()
        world.api.edit(DEPLOYMENTS, WEB, {"spec": {"replicas": size}, "metadata": {"generation": generation}})
    world.api.edit(DEPLOYMENTS, WEB, {"spec": {"paused": False}, "metadata": {"generation": 99}})
    world.settle()
    check_arrived(world, sizes[-1])


def every_fault_alone() -> Iterator[list[Fault]]:
    for position in range(12):
        for fault in (Fault.LOST_BEFORE, Fault.LOST_AFTER):
            yield [Fault.NONE] * position + [fault]


def test_a_rollout_arrives_interrupted_at_any_single_write() -> None:
    for faults in every_fault_alone():
        world = World()
        world.put_deployment(2, 1, 0, image=1)
        world.settle()
        world.api.edit(DEPLOYMENTS, WEB, {"spec": {"template": build_template(2)}})
        world.api.script = iter(faults)
        for _ in range(6):
            world.deliver(world.caches.deployments)
            world.look_at_deployment()
            for each in world.api.views(REPLICA_SETS):
                world.look_at_replica_set(each.key)
            world.make_ready(0)
        world.settle()
        check_arrived(world, 2)


@pytest.mark.parametrize("unready", [0, 1])
def test_a_late_change_of_another_pod_does_not_cost_it_too(unready: int) -> None:
    """The watch tells of a pod that became unready before it tells of the pod that we deleted."""
    world = World()
    world.put_replica_set(2)
    world.settle()
    world.flip_readiness(unready)
    world.api.edit(REPLICA_SETS, WEB, {"spec": {"replicas": 1}, "metadata": {"generation": 2}})
    world.deliver(world.caches.replica_sets)
    for _ in range(3):
        world.look_at_replica_set(WEB)
        assert len(world.pods()) == 1
        world.deliver(world.caches.pods, 1)
