"""Bad input gets one clear sentence, and never an internal error: manifests, selectors, names, patches."""

from __future__ import annotations

import pytest

from tests.cluster.kubectl.console import Console
from tests.cluster.kubectl.manifests import DEPLOYMENT, POD, SERVICE, change
from tests.cluster.kubectl.stock_kubectl import Edition

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"

# What is wrong: the manifest, and words that must be said.
MANIFESTS = {
    "not YAML": (POD + "  - [", "error converting YAML to JSON"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}\n", "kind"),
    "unknown kind": (change(POD, "kind: Pod", "kind: Podd"), 'no matches for kind "Podd" in version "v1"'),
    "unknown group": (
        change(POD, "apiVersion: v1", "apiVersion: berth.dev/v9"),
        'no matches for kind "Pod" in version "berth.dev/v9"',
    ),
    "no name": (change(POD, "name: good", "labels: {}"), "name"),
    "bad name": (
        change(POD, "name: good", "name: Not_Good"),
        'metadata.name: Invalid value: "Not_Good": a lowercase RFC 1123 subdomain must consist of',
    ),
    "no containers": ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "containers"),
    "no image": (
        change(POD, "image: berth.local/shell:1", "tty: true"),
        "spec.containers[0].image: Required value",
    ),
    "image of the wrong type": (
        change(POD, "image: berth.local/shell:1", "image: [a]"),
        "image",
    ),
    "unknown restart policy": (
        change(POD, "spec:", "spec:\n  restartPolicy: Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never"',
    ),
    "unmounted volume": (
        POD + "      volumeMounts: [{name: data, mountPath: /data}]\n",
        'spec.containers[0].volumeMounts[0].name: Not found: "data"',
    ),
    "bad quantity": (
        POD + "      resources: {limits: {memory: lots}}\n",
        "quantities must match the regular expression",
    ),
    "request above limit": (
        POD + "      resources: {requests: {cpu: 2}, limits: {cpu: 1}}\n",
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit',
    ),
    "foreign selector": (
        change(DEPLOYMENT, "labels: {app: good}", "labels: {app: other}"),
        "spec.template.metadata.labels: Invalid value: {",
    ),
    "unknown service type": (
        change(SERVICE, "spec:", "spec:\n  type: Backdoor"),
        'spec.type: Unsupported value: "Backdoor": supported values: "ClusterIP", "ExternalName"',
    ),
    "port out of range": (
        change(SERVICE, "port: 80", "port: 99999"),
        "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
    ),
    "address out of range": (
        change(SERVICE, "spec:", "spec:\n  clusterIP: 192.0.2.1"),
        "the provided IP (192.0.2.1) is not in the valid range",
    ),
    "address taken": (
        change(SERVICE, "spec:", "spec:\n  clusterIP: 10.96.0.1"),
        "provided IP is already allocated",
    ),
    "bad label": (
        change(POD, "name: good", "name: good\n  labels: {'a b': c}"),
        'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters',
    ),
    "data of the wrong type": (CONFIG + "data: [1]\n", "data"),
    "secret that is not base64": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: '***'}\n",
        "data[a]",
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_bad_manifest_is_refused_in_one_sentence(
    standing_empty: Console, edition: Edition, case: str
) -> None:
    """By apply, whose checks differ from one kubectl to another, and by the server itself."""
    manifest, words = MANIFESTS[case]
    commands = ["apply -f -"] + ["create --validate=false -f -"] * (edition is Edition.MACHINE)

    for command in commands:
        said = standing_empty.refusal(command, stdin=manifest)
        assert words.lower() in said.lower()
        assert "internal error" not in said.lower()
        assert "unknown reason" not in said


def test_nothing_bad_was_kept(standing_empty: Console) -> None:
    for manifest in (POD, DEPLOYMENT, SERVICE):
        standing_empty.refusal("apply -f -", stdin=manifest.replace("name: good", "name: Not_Good"))

    assert standing_empty.run("get pods,deployments,services -o name") == ""


def test_unknown_fields_are_named(standing_empty: Console) -> None:
    said = standing_empty.refusal("apply -f -", stdin=change(POD, "spec:", "spec:\n  colour: red"))

    assert 'unknown field "spec.colour"' in said or 'unknown field "colour"' in said


def test_a_manifest_for_another_namespace_is_refused(standing_empty: Console) -> None:
    said = standing_empty.refusal(
        "apply -f -", stdin=change(POD, "name: good", "name: good\n  namespace: default")
    )

    assert "the namespace from the provided object" in said
    assert 'namespaces "absent" not found' in standing_empty.refusal("create configmap x -n absent")


def test_what_is_there_already_is_not_made_again(console: Console) -> None:
    console.run("create configmap settings")

    assert 'configmaps "settings" already exists' in console.refusal("create configmap settings")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("get pods absent", '(NotFound): pods "absent" not found'),
        ("get deployment/absent", '(NotFound): deployments.apps "absent" not found'),
        ("get colours", 'the server doesn\'t have a resource type "colours"'),
        ("get pods -l 'a in b'", "label selector"),
        ("get pods --field-selector colour=red", 'field label not supported: "colour"'),
        ("get --raw /api/v1/pods?limit=many", "limit"),
        ("get --raw /api/v1/pods?resourceVersion=now", "resourceVersion"),
        ("get --raw /api/v9/pods", "the server could not find the requested resource"),
        ("scale deployment absent --replicas=1", '"absent" not found'),
        ("rollout status deployment/absent", '"absent" not found'),
        ("delete service absent", '"absent" not found'),
        ("describe pod absent", '(NotFound): pods "absent" not found'),
        ("logs absent", '"absent" not found'),
        ("exec absent -- true", 'pods "absent" not found'),
        ("port-forward absent 8080", 'pods "absent" not found'),
        ("expose deployment absent --port=80", '"absent" not found'),
    ],
)
def test_a_bad_question_is_answered_in_one_sentence(standing_empty: Console, line: str, words: str) -> None:
    assert words in standing_empty.refusal(line)


def test_a_bad_patch_is_refused_and_changes_nothing(console: Console) -> None:
    console.run("create configmap settings --from-literal=a=b")
    for kind, patch, words in (
        ("merge", '{"data": {"a": 1}}', "data[a]: Invalid value: 1: must be of type string"),
        ("merge", "[]", "the patch leaves no object behind"),
        ("strategic", '{"metadata": {"name": "other"}}', "does not match"),
        ("json", '[{"op": "replace", "path": "/data/b", "value": "c"}]', "the document has nothing there"),
        ("json", '[{"op": "shuffle", "path": "/data"}]', "shuffle"),
        ("json", "{}", "must be a list of operations"),
    ):
        assert words in console.refusal(f"patch configmap settings --type={kind} -p '{patch}'")

    assert console.run("get configmap settings -o jsonpath={.data}") == '{"a":"b"}'


def test_what_cannot_be_changed_says_so(console: Console) -> None:
    console.run("apply -f -", stdin=POD)
    console.run("apply -f -", stdin=DEPLOYMENT)

    other_policy = change(POD, "spec:", "spec:\n  restartPolicy: Never")
    assert "pod updates may not change fields other than" in console.refusal("apply -f -", stdin=other_policy)
    moved = DEPLOYMENT.replace("app: good", "app: moved")
    assert "field is immutable" in console.refusal("apply -f -", stdin=moved)
