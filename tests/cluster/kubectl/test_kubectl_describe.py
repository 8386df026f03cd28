"""`kubectl describe` of every kind, with the Events that belong to it."""

from __future__ import annotations

import re

from tests.cluster.kubectl.console import Console


def assert_matches(text: str, *patterns: str) -> None:
    missing = [pattern for pattern in patterns if not re.search(pattern, text, re.MULTILINE)]
    assert not missing, f"{missing} not in:\n{text}"


def test_a_pod_is_described_with_its_life_so_far(standing_web: Console) -> None:
    # Events are written behind the statuses: the pod is Ready before the last of them is there.
    with standing_web.start("get events --watch") as events:
        events.read_until(r"pod/web-\S+ +Started container web")
    assert_matches(
        standing_web.run("describe pod -l app=web"),
        r"^Name: +web-",
        r"^Node: +n1/10\.99\.0\.11$",
        r"^Status: +Running$",
        r"^IP: +10\.244\.0\.\d+$",
        r"^Controlled By: +ReplicaSet/web-",
        r"^ +Container ID: +containerd://[0-9a-f]{64}$",
        r"^ +State: +Running$",
        r"^ +Readiness: +http-get http://:http/healthz",
        r"GREETING: +<set to the key 'text' of config map 'greeting'>",
        r"^ +Ready +True",
        r"^QoS Class: +BestEffort$",
        r"Normal +Scheduled .* default-scheduler +Successfully assigned \S+/web-\S+ to n1$",
        r"Normal +Created .* kubelet +Created container",
        r"Normal +Started .* kubelet +Started container",
    )


def test_a_failing_pod_says_why(console: Console) -> None:
    console.run("run failing --image=berth.local/shell:1 -- sh -c 'echo no luck; exit 3'")
    with console.start("get events --watch") as events:
        events.read_until(r"Back-off restarting failed container failing in pod failing_")

    assert_matches(
        console.run("describe pod failing"),
        r"^ +Reason: +CrashLoopBackOff$",
        r"^ +Exit Code: +3$",
        r"^ +Restart Count: +[1-9]",
        r"Warning +BackOff .* kubelet +Back-off restarting failed container",
    )
    assert_matches(console.run("get pod failing"), r"failing +0/1 +(CrashLoopBackOff|Error) +[1-9]")


def test_a_pod_without_a_place_says_why(console: Console) -> None:
    overrides = '{"spec": {"nodeSelector": {"berth.dev/nowhere": "true"}}}'
    console.run(f"run homeless --image=berth.local/shell:1 --overrides='{overrides}' -- true")
    with console.start("get events --watch") as events:
        events.read_until(r"FailedScheduling")

    assert_matches(
        console.run("describe pod homeless"),
        r"^Status: +Pending$",
        r"Warning +FailedScheduling .* 0/1 nodes are available: 1 node\(s\) didn't match Pod's node affinity",
    )


def test_a_deployment_and_its_replica_set_are_described(standing_web: Console) -> None:
    assert_matches(
        standing_web.run("describe deployment web"),
        r"^Selector: +app=web$",
        r"^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable$",
        r"^StrategyType: +RollingUpdate$",
        r"^ +Available +True +MinimumReplicasAvailable$",
        r"^ +Progressing +True +NewReplicaSetAvailable$",
        r"^NewReplicaSet: +web-\S+ \(2/2 replicas created\)$",
        r"Normal +ScalingReplicaSet .* Scaled up replica set web-\S+ (from 0 )?to 2$",
    )
    assert_matches(
        standing_web.run("describe rs"),
        r"^Controlled By: +Deployment/web$",
        r"^Replicas: +2 current / 2 desired$",
        r"^Pods Status: +2 Running / 0 Waiting / 0 Succeeded / 0 Failed$",
        r"Normal +SuccessfulCreate .* Created pod: web-",
    )


def test_a_service_and_its_slice_are_described(standing_web: Console) -> None:
    described = standing_web.run("describe service web")

    assert_matches(
        described,
        r"^Selector: +app=web$",
        r"^Type: +ClusterIP$",
        r"^IP: +10\.96\.\d+\.\d+$",
        r"^Port: +http +80/TCP$",
        r"^TargetPort: +http/TCP$",
    )
    # An old kubectl asks for Endpoints here, and for EndpointSlices in a version that is no more.
    if standing_web.minor_version >= 31:
        assert_matches(described, r"^Endpoints: +10\.244\.0\.\d+:8080,10\.244\.0\.\d+:8080$")
        assert_matches(
            standing_web.run("describe endpointslice -l kubernetes.io/service-name=web"),
            r"^ +http +8080 +TCP$",
            r"^ +TargetRef: +Pod/web-",
        )


def test_a_node_is_described_with_its_pods(standing_web: Console) -> None:
    assert_matches(
        standing_web.run("describe node n1"),
        r"kubernetes\.io/hostname=n1$",
        r"^ +Ready +True .* KubeletReady",
        r"^ +InternalIP: +10\.99\.0\.11$",
        r"^ +pods: +\d+$",
        r"^PodCIDR: +10\.244\.0\.0/24$",
        r"^ +Container Runtime Version: +containerd://1\.",
        rf"^ +{standing_web.namespace} +web-",
        r"^ +HolderIdentity: +n1$",
    )


def test_other_kinds_are_described(standing_web: Console) -> None:
    for what, pattern in (
        ("configmap greeting", r"text:\n----\nhello"),
        ("namespace default", r"^Status: +Active$"),
        ("serviceaccount default", r"^Name: +default$"),
        ("endpoints kubernetes -n default", r"^ +https +6443 +TCP$"),
        ("lease n1 -n kube-node-lease", r"Holder Identity: +n1$"),
        ("events", r"^Reason: +Scheduled$"),
    ):
        assert_matches(standing_web.run(f"describe {what}"), pattern)


def test_a_secret_is_described_without_its_values(console: Console) -> None:
    console.run("create secret generic key --from-literal=password=hunter2")

    described = console.run("describe secret key")

    assert_matches(described, r"^Type: +Opaque$", r"^password: +7 bytes$")
    assert "hunter2" not in described
