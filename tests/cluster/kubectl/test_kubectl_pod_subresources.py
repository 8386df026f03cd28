"""`kubectl debug`, `patch --subresource resize`, `create token`, and volumes with their claims.

What an older kubectl has no command for is asked of the newer one only.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl.console import Console

CLAIM = Path(__file__).with_name("pod_with_claim.yaml")
WAIT_SECONDS = 20.0
RESIZABLE = """
apiVersion: v1
kind: Pod
metadata: {name: resizable}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: berth.local/shell:1
      command: [sleep, "86400"]
      resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 64Mi}}
"""
USER = """
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: berth.local/shell:1
      command: [sh, -c, "echo kept > /data/file; exec sleep 86400"]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def need_newer(console: Console) -> None:
    if console.minor_version < 32:
        pytest.skip(f"kubectl 1.{console.minor_version} has no such command")


def wait_until(look: Callable[[], str], wanted: str) -> None:
    """Looks again until it is so; AssertionError with what it was instead."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found!r} instead of {wanted!r}"
        time.sleep(0.1)


# --- debug --------------------------------------------------------------------------------------------------


def test_debug_opens_a_shell_in_an_ephemeral_container(standing_shell: Console) -> None:
    need_newer(standing_shell)
    line = (
        "debug shell -it --quiet --profile=general --image=berth.local/shell:1 --target=main -c looker "
        "-- env PS1='$ ' bash --noprofile --norc --noediting"
    )
    with standing_shell.start_on_terminal(line) as debugger:
        # The prompt may have come before kubectl was attached; what is typed waits until it is.
        debugger.write("echo in $((40 + 2))\n")
        debugger.read_until("in 42")
        debugger.write("exit\n")
        assert debugger.process.wait(WAIT_SECONDS) == 0
    printed = json.loads(standing_shell.run("get pod shell -o json"))
    (added,) = printed["spec"]["ephemeralContainers"]
    assert (added["name"], added["targetContainerName"]) == ("looker", "main")
    assert [each["restartCount"] for each in printed["status"]["containerStatuses"]] == [0, 0]
    assert printed["metadata"]["generation"] == 2


def test_debug_says_why_not(standing_shell: Console) -> None:
    need_newer(standing_shell)
    said = standing_shell.refusal("debug shell --image=berth.local/shell:1 --target=nobody -c lost -- true")
    assert 'targetContainerName: Not found: "nobody"' in said
    patch = '{"spec":{"ephemeralContainers":[{"name":"main","image":"berth.local/shell:1"}]}}'
    said = standing_shell.refusal(f"patch pod shell --patch '{patch}'")
    assert "Forbidden: pod updates may not change fields" in said


# --- resize -------------------------------------------------------------------------------------------------


def resize(cpu: str) -> str:
    container = {"name": "main", "resources": {"requests": {"cpu": cpu}}}
    patch = json.dumps({"spec": {"containers": [container]}})
    return f"patch pod resizable --patch '{patch}'"


def test_a_running_pod_is_resized_in_place(console: Console) -> None:
    need_newer(console)
    console.run("apply -f -", stdin=RESIZABLE)
    console.wait_for("wait pod/resizable --for=condition=Ready --timeout=30s")
    console.run(f"{resize('20m')} --subresource resize")

    def look() -> str:
        status = "{.status.containerStatuses[0]"
        return console.run(
            f"get pod resizable -o jsonpath='{status}.resources.requests.cpu}} {status}.restartCount}} "
            "{.metadata.generation} {.status.observedGeneration}'"
        )

    wait_until(look, "20m 0 2 2")


def test_a_resize_that_may_not_be_is_refused(console: Console) -> None:
    need_newer(console)
    console.run("apply -f -", stdin=RESIZABLE)
    assert "pod updates may not change fields" in console.refusal(resize("20m"))
    container = {"name": "main", "resources": {"requests": {"cpu": None}}}
    patch = json.dumps({"spec": {"containers": [container]}})
    said = console.refusal(f"patch pod resizable --subresource resize --patch '{patch}'")
    assert "resource requests cannot be removed" in said


# --- volumes and claims -------------------------------------------------------------------------------------


@pytest.fixture
def claiming(console: Console, tmp_path: Path) -> Iterator[Console]:
    """A class, a volume on one node and a claim for it, all named after the namespace."""
    node = console.run("get nodes -o jsonpath='{.items[0].metadata.name}'")
    text = CLAIM.read_text().replace("NAME", console.namespace).replace("NODE", node)
    console.run("apply -f -", stdin=text.replace("PATH", str(tmp_path / "volume")))
    yield console
    console.run("delete pod user --ignore-not-found --now")
    console.run("delete pvc data --ignore-not-found")
    console.run(f"delete pv,sc {console.namespace}")


def read_cells(console: Console, what: str) -> list[str]:
    return console.run(f"get {what} --no-headers").split()


def test_a_claim_is_bound_for_its_first_pod(claiming: Console, tmp_path: Path) -> None:
    name = claiming.namespace
    assert claiming.run("get pvc").split()[:4] == ["NAME", "STATUS", "VOLUME", "CAPACITY"]
    assert read_cells(claiming, "pvc data")[:2] == ["data", "Pending"]
    wait_until(lambda: read_cells(claiming, f"pv {name}")[4], "Available")
    assert read_cells(claiming, f"sc {name}")[:5] == [
        name,
        "kubernetes.io/no-provisioner",
        "Delete",
        "WaitForFirstConsumer",
        "false",
    ]

    claiming.run("apply -f -", stdin=USER)
    claiming.wait_for("wait pod/user --for=condition=Ready --timeout=30s")

    assert read_cells(claiming, "pvc data")[:6] == ["data", "Bound", name, "1Gi", "RWO", name]
    assert read_cells(claiming, f"pv {name}")[:7] == [
        name,
        "1Gi",
        "RWO",
        "Retain",
        "Bound",
        f"{name}/data",
        name,
    ]
    assert (tmp_path / "volume" / "file").read_text() == "kept\n"


def test_a_claim_in_use_waits_and_a_volume_keeps_its_data(claiming: Console, tmp_path: Path) -> None:
    claiming.run("apply -f -", stdin=USER)
    claiming.wait_for("wait pod/user --for=condition=Ready --timeout=30s")
    claiming.run("delete pvc data --wait=false")
    assert read_cells(claiming, "pvc data")[1] == "Terminating"
    claiming.run("delete pod user --now")
    wait_until(lambda: claiming.run("get pvc data --ignore-not-found"), "")
    wait_until(lambda: read_cells(claiming, f"pv {claiming.namespace}")[4], "Released")
    assert (tmp_path / "volume" / "file").read_text() == "kept\n"


# --- tokens and classes -------------------------------------------------------------------------------------


def read_claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def test_create_token(console: Console) -> None:
    need_newer(console)
    wait_until(lambda: console.run("get sa default -o name --ignore-not-found"), "serviceaccount/default\n")
    claims = read_claims(console.run("create token default --duration 20m --audience vault"))
    assert claims["aud"] == ["vault"]
    assert claims["sub"] == f"system:serviceaccount:{console.namespace}:default"
    assert int(str(claims["exp"])) - int(str(claims["iat"])) == 1200
    said = console.refusal("create token default --duration 1m")
    assert "may not specify a duration less than 10 minutes" in said


def test_a_pod_of_an_unknown_runtime_class_is_refused(console: Console) -> None:
    text = RESIZABLE.replace("spec:", "spec:\n  runtimeClassName: nothing", 1)
    said = console.refusal("apply -f -", stdin=text)
    assert 'pods "resizable" is forbidden: pod rejected: RuntimeClass "nothing" not found' in said
