"""A good Deployment and its ReplicaSets, one fact changed, and what the plan makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.controllers.actions import Action, Adopt, Create, Delete, MergePatch, Plan
from controlplane.controllers.deployment.plan import ObservedDeployment, plan_deployment
from controlplane.controllers.deployment.revisions import build_replica_set_document, compute_replica_set_name
from controlplane.controllers.deployment.rollout import Budget, compute_budget, compute_scaled_sizes
from controlplane.controllers.deployment.status import compute_status
from controlplane.controllers.template import TEMPLATE_HASH_LABEL, parse_template_document
from kubeapi.apps import Deployment, DeploymentStrategy, ReplicaSet, ReplicaSetStatus, RollingUpdateDeployment
from kubeapi.meta import LabelSelector
from kubeapi.resources import DEPLOYMENTS, REPLICA_SETS
from tests.builders import NOW, at, changed, condition, deployment, pod, pod_template, replica_set

REVISION = "deployment.kubernetes.io/revision"


def replica_set_of(
    owner: Deployment, replicas: int = 3, available: int | None = None, **meta: Any
) -> ReplicaSet:
    """The ReplicaSet that the plan itself would make for this Deployment, as the server would return it."""
    document = build_replica_set_document(owner, replicas, meta.pop("revision", 1))
    document["metadata"] |= {
        "uid": f"uid-{document['metadata']['name']}",
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": meta.pop("created", at(-500)),
    }
    view = msgspec.json.decode(msgspec.json.encode(document), type=ReplicaSet)
    here = replicas if available is None else available
    status = ReplicaSetStatus(
        replicas=replicas, ready_replicas=here, available_replicas=here, observed_generation=1
    )
    return changed(view, status=status, metadata=changed(view.metadata, **meta))


def settled(owner: Deployment, *sets: ReplicaSet) -> Deployment:
    """The Deployment with the revision and the status that these ReplicaSets amount to."""
    meta = changed(owner.metadata, annotations={**owner.metadata.annotations, REVISION: "1"})
    owner = changed(owner, metadata=meta)
    return changed(owner, status=compute_status(owner, sets[0], sets[1:], NOW))


GOOD = deployment()
NEW = replica_set_of(GOOD)
SETTLED = settled(GOOD, NEW)
OTHER_TEMPLATE = pod_template(containers=[{"name": "web", "image": "berth.local/web:2"}])


def plan(owner: Deployment, *sets: ReplicaSet, **observed: Any) -> tuple[Action, ...]:
    return plan_deployment(ObservedDeployment(owner, sets, **observed), NOW).actions


def sizes(actions: tuple[Action, ...]) -> dict[str, int]:
    patches = [each for each in actions if isinstance(each, MergePatch) and each.resource is REPLICA_SETS]
    return {each.key.name: each.body["spec"]["replicas"] for each in patches if "spec" in each.body}


def progressing(actions: tuple[Action, ...]) -> tuple[str, str] | None:
    for action in actions:
        if isinstance(action, MergePatch) and action.subresource == "status":
            for each in action.body["status"]["conditions"]:
                if each["type"] == "Progressing":
                    return each["status"], each["reason"]
    return None


def test_a_settled_deployment_needs_nothing() -> None:
    assert plan_deployment(ObservedDeployment(SETTLED, (NEW,)), NOW) == Plan((), None)


def test_a_new_deployment_gets_its_replica_set_revision_and_status() -> None:
    create, revision, status = plan(GOOD)
    name = compute_replica_set_name(GOOD)
    assert isinstance(create, Create)
    assert create.body == build_replica_set_document(GOOD, 3, 1)
    assert create.note is not None
    assert create.note.message == f"Scaled up replica set {name} from 0 to 3"
    assert revision == MergePatch(DEPLOYMENTS, GOOD.key, {"metadata": {"annotations": {REVISION: "1"}}})
    assert isinstance(status, MergePatch)
    assert progressing((status,)) == ("True", "NewReplicaSetCreated")


def test_what_no_view_knows_survives_into_the_replica_set() -> None:
    template = pod_template(futureField={"depth": [1, 2.5, None]})
    create = plan(deployment(spec={"template": template}))[0]
    assert isinstance(create, Create)
    assert create.body["spec"]["template"]["spec"]["futureField"] == {"depth": [1, 2.5, None]}


def test_the_hash_label_is_on_pods_selector_and_replica_set() -> None:
    document = build_replica_set_document(GOOD, 3, 1)
    value = document["metadata"]["labels"][TEMPLATE_HASH_LABEL]
    assert document["spec"]["template"]["metadata"]["labels"][TEMPLATE_HASH_LABEL] == value
    assert document["spec"]["selector"]["matchLabels"] == {"app": "web", TEMPLATE_HASH_LABEL: value}
    assert document["metadata"]["name"] == f"web-{value}"


def test_the_hash_ignores_order_and_nulls() -> None:
    one = msgspec.Raw(b'{"metadata":{"labels":{"app":"web"}},"spec":{"a":1,"b":2}}')
    other = msgspec.Raw(
        b'{"spec":{"b":2,"a":1},"metadata":{"creationTimestamp":null,"labels":{"app":"web"}}}'
    )
    names = {compute_replica_set_name(deployment(spec={"template": each})) for each in (one, other)}
    assert len(names) == 1
    assert parse_template_document(other)["metadata"] == {"labels": {"app": "web"}}


def test_a_changed_template_makes_a_second_replica_set_within_the_surge() -> None:
    owner = changed(SETTLED, spec=changed(SETTLED.spec, template=OTHER_TEMPLATE))
    create, revision, status = plan(owner, NEW)
    assert isinstance(create, Create)
    assert create.body["spec"]["replicas"] == 1
    assert create.body["metadata"]["annotations"][REVISION] == "2"
    assert revision == MergePatch(DEPLOYMENTS, GOOD.key, {"metadata": {"annotations": {REVISION: "2"}}})
    assert progressing((status,)) == ("True", "NewReplicaSetCreated")


def updating(new_size: int, new_available: int, old_size: int) -> tuple[Deployment, ReplicaSet, ReplicaSet]:
    owner = changed(SETTLED, spec=changed(SETTLED.spec, template=OTHER_TEMPLATE))
    return owner, replica_set_of(owner, new_size, new_available, revision=2), changed_size(NEW, old_size)


def changed_size(view: ReplicaSet, replicas: int) -> ReplicaSet:
    status = changed(view.status, replicas=replicas, ready_replicas=replicas, available_replicas=replicas)
    return changed(view, spec=changed(view.spec, replicas=replicas), status=status)


def test_the_old_one_waits_while_the_new_one_is_not_available() -> None:
    owner, new, old = updating(1, 0, 3)
    assert sizes(plan(owner, new, old)) == {}


def test_the_old_one_shrinks_once_the_new_one_is_available() -> None:
    owner, new, old = updating(1, 1, 3)
    assert sizes(plan(owner, new, old)) == {old.metadata.name: 2}


def test_a_status_from_before_a_resize_counts_for_nothing() -> None:
    """A ReplicaSet that shrank and grew again would claim pods that are gone."""
    owner, new, old = updating(1, 1, 3)
    resized = changed(new, metadata=changed(new.metadata, generation=2))
    assert sizes(plan(owner, resized, old)) == {}


def test_the_new_one_grows_into_the_room_that_is_left() -> None:
    owner, new, old = updating(1, 1, 2)
    assert sizes(plan(owner, new, old)) == {new.metadata.name: 2}


def test_old_pods_that_are_not_available_go_first() -> None:
    owner, new, old = updating(1, 1, 3)
    broken = changed(
        old, status=changed(old.status, available_replicas=1), metadata=changed(old.metadata, name="a")
    )
    assert sizes(plan(owner, new, broken)) == {"a": 2}


def test_recreate_empties_the_old_one_before_anything_new() -> None:
    owner = changed(
        SETTLED,
        spec=changed(SETTLED.spec, template=OTHER_TEMPLATE, strategy=DeploymentStrategy(type="Recreate")),
    )
    assert sizes(plan(owner, NEW)) == {NEW.metadata.name: 0}
    empty = changed_size(NEW, 0)
    dying = pod(metadata={"deletion_timestamp": at(-1)})
    waiting = plan(owner, empty, pods={empty.metadata.uid: (dying,)})
    assert not any(isinstance(each, Create) for each in waiting)
    create = plan(owner, empty)[0]
    assert isinstance(create, Create)
    assert create.body["spec"]["replicas"] == 3


def test_scaling_resizes_the_only_replica_set_and_its_annotations() -> None:
    owner = changed(SETTLED, spec=changed(SETTLED.spec, replicas=5))
    actions = plan(owner, NEW)
    assert sizes(actions) == {NEW.metadata.name: 5}
    patch = actions[0]
    assert isinstance(patch, MergePatch)
    assert patch.body["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "5",
        "deployment.kubernetes.io/max-replicas": "7",
    }


def test_scaling_in_the_middle_of_a_rollout_is_proportional() -> None:
    owner = deployment(spec={"replicas": 10, "template": OTHER_TEMPLATE, "strategy": strategy(3, 2)})
    new, old = replica_set_of(owner, 5), changed_size(replica_set_of(GOOD, 8), 8)
    notes = {"deployment.kubernetes.io/desired-replicas": "10", "deployment.kubernetes.io/max-replicas": "13"}
    old = changed(old, metadata=changed(old.metadata, annotations=notes))
    grown = changed(owner, spec=changed(owner.spec, replicas=15))
    assert compute_scaled_sizes(grown, new, (old,)) == {
        old.metadata.name: 11,
        new.metadata.name: 7,
    }


def strategy(surge: int | str, unavailable: int | str) -> DeploymentStrategy:
    rolling = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    return DeploymentStrategy(rolling_update=rolling)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "budget"),
    [
        ("25%", "25%", 3, Budget(1, 0)),
        ("25%", "25%", 10, Budget(3, 2)),
        (0, 0, 3, Budget(0, 1)),
        ("0%", "10%", 3, Budget(0, 1)),
        (2, 5, 3, Budget(2, 3)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    surge: int | str, unavailable: int | str, replicas: int, budget: Budget
) -> None:
    spec = {"replicas": replicas, "strategy": strategy(surge, unavailable)}
    assert compute_budget(deployment(spec=spec)) == budget


def test_a_paused_deployment_makes_nothing_and_says_so() -> None:
    owner = changed(SETTLED, spec=changed(SETTLED.spec, template=OTHER_TEMPLATE, paused=True))
    actions = plan(owner, NEW)
    assert not any(isinstance(each, Create) for each in actions)
    assert progressing(actions) == ("Unknown", "DeploymentPaused")


def test_undo_raises_the_revision_of_the_replica_set_that_comes_back() -> None:
    """What `kubectl rollout undo` does: the template of the first revision again."""
    second = changed(GOOD, spec=changed(GOOD.spec, template=OTHER_TEMPLATE))
    first, later = changed_size(NEW, 0), replica_set_of(second, revision=2)
    patch = plan(SETTLED, first, later)[0]
    assert isinstance(patch, MergePatch)
    assert patch.key == first.key
    assert patch.body["metadata"]["annotations"][REVISION] == "3"
    assert patch.body["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert patch.body["spec"] == {"replicas": 1}


def test_history_beyond_the_limit_is_forgotten_oldest_first() -> None:
    owner = changed(SETTLED, spec=changed(SETTLED.spec, revision_history_limit=1))
    old = []
    for number in (1, 2, 3):
        template = pod_template(containers=[{"name": "web", "image": f"berth.local/web:0.{number}"}])
        earlier = changed(GOOD, spec=changed(GOOD.spec, template=template))
        old.append(replica_set_of(earlier, 0, revision=number))
    newest = replica_set_of(GOOD, revision=4)
    owner = changed(owner, metadata=changed(owner.metadata, annotations={REVISION: "4"}))
    deletions = [each for each in plan(owner, newest, *old) if isinstance(each, Delete)]
    assert [each.key.name for each in deletions] == [each.metadata.name for each in old[:2]]


def test_a_foreign_replica_set_of_the_same_name_counts_as_a_collision() -> None:
    foreign = replica_set(compute_replica_set_name(GOOD), metadata={"labels": {"other": "thing"}})
    assert plan(GOOD, namesake=foreign) == (
        MergePatch(DEPLOYMENTS, GOOD.key, {"status": {"collisionCount": 1}}, subresource="status"),
    )
    after = changed(GOOD, status=changed(GOOD.status, collision_count=1))
    assert compute_replica_set_name(after) != compute_replica_set_name(GOOD)


def test_an_orphan_that_matches_is_adopted_before_anything_else() -> None:
    orphan = changed(NEW, metadata=changed(NEW.metadata, owner_references=()))
    (adopt,) = plan(SETTLED, orphan)
    assert isinstance(adopt, Adopt)
    assert (adopt.key, adopt.owner_uid) == (orphan.key, GOOD.metadata.uid)


def test_a_rollout_that_stands_still_exceeds_its_deadline() -> None:
    owner, new, old = updating(1, 0, 3)
    stuck = condition("Progressing", reason="ReplicaSetUpdated")
    stuck = changed(stuck, last_update_time=at(-601))
    status = changed(compute_status(owner, new, (old,), NOW), conditions=(stuck,))
    actions = plan(changed(owner, status=status), new, old)
    assert progressing(actions) == ("False", "ProgressDeadlineExceeded")


def test_the_next_look_is_when_the_deadline_passes() -> None:
    owner, new, old = updating(1, 0, 3)
    moving = changed(condition("Progressing", reason="ReplicaSetUpdated"), last_update_time=at(-100))
    owner = changed(owner, status=changed(owner.status, conditions=(moving,)))
    assert plan_deployment(ObservedDeployment(owner, (new, old)), NOW).look_again_seconds == 501.0


def test_a_deployment_that_is_being_deleted_only_counts() -> None:
    dying = changed(GOOD, metadata=changed(GOOD.metadata, deletion_timestamp=at(-1)))
    assert [type(each) for each in plan(dying)] == [MergePatch]


def test_an_empty_selector_selects_nothing_at_all() -> None:
    assert plan(deployment(spec={"selector": LabelSelector()})) == ()
