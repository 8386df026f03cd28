"""Rules of the pod fields that newer features brought: one changed fact a row, and the causes it gets."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.validation import validate_create

RULE = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
C = "spec.containers[0]"
HOST_USERS = "Forbidden: when `pod.Spec.HostUsers` is false"
RRO = f"{C}.volumeMounts[0].recursiveReadOnly"
SLEEP = "must be non-negative and less than terminationGracePeriodSeconds (30)"


def pod(spec: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "web:1", **container}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            **spec,
        },
    }


def mount(**options: Any) -> dict[str, Any]:
    return {"volumeMounts": [{"name": "v", "mountPath": "/v", **options}]}


def sleep(seconds: int) -> dict[str, Any]:
    return {"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}


def image(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "image": source}]}


# fmt: off
GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"restartPolicy": "Never", "restartPolicyRules": [RULE]}),
    ({}, {"restartPolicy": "Never", "restartPolicyRules": [{**RULE, "action": "RestartAllContainers"}]}),
    ({}, {"restartPolicy": "OnFailure"}),
    ({"os": {"name": "linux"}}, {"lifecycle": {"stopSignal": "SIGUSR1"}}),
    ({"os": {"name": "linux"}}, {"lifecycle": {"stopSignal": "SIGRTMIN+3"}}),
    ({"os": {"name": "windows"}}, {"lifecycle": {"stopSignal": "SIGKILL"}}),
    ({"hostnameOverride": "a.example.com"}, {}),
    ({"securityContext": {"supplementalGroupsPolicy": "Strict", "supplementalGroups": [5]}}, {}),
    ({"hostUsers": False}, {"securityContext": {"procMount": "Unmasked"}}),
    ({"hostUsers": True, "hostNetwork": True}, {}),
    (image(reference="data:1"), {}),
    ({}, mount(recursiveReadOnly="Enabled", readOnly=True)),
    ({}, mount(recursiveReadOnly="Disabled")),
    ({}, sleep(0)),
    ({}, sleep(30)),
    ({}, mount(subPath="a/b")),
    ({}, {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}),
]

BAD: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = [
    ({}, {"restartPolicyRules": [RULE]},
     [(f"{C}.restartPolicy", "Required value: must specify restartPolicy when restart rules are used")]),
    ({}, {"restartPolicy": "Never", "restartPolicyRules": [{**RULE, "action": "Stop"}]},
     [(f"{C}.restartPolicyRules[0].action",
       'Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"')]),
    ({}, {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
     [(f"{C}.restartPolicyRules[0].exitCodes", "Required value: must be specified")]),
    ({}, {"restartPolicy": "Never",
          "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Eq", "values": [1]}}]},
     [(f"{C}.restartPolicyRules[0].exitCodes.operator",
       'Unsupported value: "Eq": supported values: "In", "NotIn"')]),
    ({}, {"restartPolicy": "Never", "restartPolicyRules": [RULE] * 21},
     [(f"{C}.restartPolicyRules", "Too many: 21: must have at most 20 items")]),
    ({}, {"restartPolicy": "Sometimes"},
     [(f"{C}.restartPolicy",
       'Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"')]),
    ({}, {"lifecycle": {"stopSignal": "SIGTERM"}},
     [(f"{C}.lifecycle.stopSignal",
       "Forbidden: may not be set for containers with empty `spec.os.name`")]),
    ({"os": {"name": "windows"}}, {"lifecycle": {"stopSignal": "SIGHUP"}},
     [(f"{C}.lifecycle.stopSignal",
       'Unsupported value: "SIGHUP": supported values: "SIGKILL", "SIGTERM"')]),
    ({"hostnameOverride": "a", "hostNetwork": True}, {},
     [("spec.hostnameOverride", "Forbidden: may not be specified when `hostNetwork` is true")]),
    ({"hostnameOverride": "a", "setHostnameAsFQDN": True}, {},
     [("spec.setHostnameAsFQDN",
       "Forbidden: may not be specified when `hostnameOverride` is specified")]),
    ({"hostnameOverride": ".".join(["a" * 33] * 2)}, {},
     [("spec.hostnameOverride", "Too long: may not be more than 64 bytes")]),
    ({"securityContext": {"supplementalGroupsPolicy": "Loose"}}, {},
     [("spec.securityContext.supplementalGroupsPolicy",
       'Unsupported value: "Loose": supported values: "Merge", "Strict"')]),
    ({"securityContext": {"supplementalGroups": [-1]}}, {},
     [("spec.securityContext.supplementalGroups[0]",
       "Invalid value: -1: must be between 0 and 2147483647, inclusive")]),
    ({"hostUsers": False, "hostNetwork": True, "hostPID": True, "hostIPC": True}, {},
     [("spec.hostNetwork", HOST_USERS), ("spec.HostPID", HOST_USERS), ("spec.HostIPC", HOST_USERS)]),
    ({}, {"securityContext": {"procMount": "Unmasked"}},
     [(f"{C}.securityContext.procMount",
       'Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`')]),
    (image(), {}, [("spec.volumes[0].image.reference", "Required value: must not be empty")]),
    (image(reference="a:1", pullPolicy="Maybe"), {},
     [("spec.volumes[0].image.pullPolicy",
       'Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"')]),
    ({}, mount(recursiveReadOnly="Enabled"),
     [(RRO, "Forbidden: may only be specified when readOnly is true")]),
    ({}, mount(recursiveReadOnly="IfPossible", readOnly=True, mountPropagation="HostToContainer"),
     [(RRO, "Forbidden: may only be specified when mountPropagation is None or not specified")]),
    ({}, mount(recursiveReadOnly="Yes"),
     [(RRO, 'Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible"')]),
    ({}, sleep(-1), [(f"{C}.lifecycle.preStop", f"Invalid value: -1: {SLEEP}")]),
    ({}, sleep(31), [(f"{C}.lifecycle.preStop", f"Invalid value: 31: {SLEEP}")]),
    ({}, mount(subPath="a", subPathExpr="$(B)"),
     [(f"{C}.volumeMounts[0].subPathExpr",
       'Invalid value: "$(B)": subPathExpr and subPath are mutually exclusive')]),
    ({"restartPolicy": "Never"},
     {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
     [(f"{C}.resizePolicy",
       "Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'")]),
    ({}, {"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]},
     [(f"{C}.resizePolicy", 'Unsupported value: "disk": supported values: "cpu", "memory"')]),
    ({"initContainers": [{"name": "i", "image": "a:1",
                          "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}]}, {},
     [("spec.initContainers[0].resizePolicy",
       'Invalid value: [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]: '
       "must not be set for init containers")]),
]
# fmt: on


@pytest.mark.parametrize(("spec", "container"), GOOD)
def test_good_pods_have_no_causes(spec: dict[str, Any], container: dict[str, Any]) -> None:
    assert validate_create("Pod", apply_defaults("Pod", pod(spec, container))) == ()


@pytest.mark.parametrize(("spec", "container", "causes"), BAD)
def test_a_broken_rule_is_named(
    spec: dict[str, Any], container: dict[str, Any], causes: list[tuple[str, str]]
) -> None:
    found = validate_create("Pod", apply_defaults("Pod", pod(spec, container)))
    assert [(cause.field, cause.message) for cause in found] == causes
