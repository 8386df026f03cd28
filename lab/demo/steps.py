"""What the demo does, step by step, on a cluster of its own.

A shell, synchronous: kubectl, requests from the node's and a pod's network. `lab.demo.__main__` shows it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.cluster import Cluster
from lab.errors import LabError
from lab.kubectl import Kubectl

MANIFEST: Final = Path(__file__).with_name("manifest.yaml")
REQUESTS: Final = 300
REPLICAS: Final = 3
NODE_PORT: Final = 30080

# Debian's static busybox can't resolve names, bash can: one request a connection, the body is the last line.
_ASK_BY_NAME: Final = """
for ((i = 0; i < $2; i++)); do
    answer=
    if exec 3<>"/dev/tcp/$1/80"; then
        printf 'GET / HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' "$1" >&3
        while read -r line <&3; do answer=$line; done
        [ -z "$line" ] || answer=$line
        exec 3<&-
    fi
    if [ -n "$answer" ]; then echo "$answer"; else echo '!'; fi
done
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """Which pods answered how often, over one way to the Service."""

    way: str
    answers: Counter[str]
    failures: int
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return self.answers.total() + self.failures


def apply_manifest(kubectl: Kubectl) -> None:
    """The Deployment, the Service and the client pod."""
    kubectl.run("apply", "-f", str(MANIFEST))


def wait_for_pods(kubectl: Kubectl) -> None:
    """Until the Deployment is rolled out and the client pod is Ready."""
    kubectl.run("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl.run("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")


def read_cluster_ip(kubectl: Kubectl) -> str:
    return kubectl.run("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")


def ask_from_node(cluster: Cluster, address: str, way: str) -> Spread:
    """Requests from the node's own network to `address` (IP:port)."""
    node = cluster.nodes[0]
    argv = [sys.executable, "-m", "lab.demo.requests", f"http://{address}/", str(REQUESTS)]
    done = node.run(argv, timeout_seconds=60)
    if done.returncode != 0:
        raise LabError(f"asking {address} from the node failed: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    return Spread(way, Counter(result["answers"]), result["failures"])


def ask_from_pod(kubectl: Kubectl, name: str, way: str) -> Spread:
    """Requests from the client pod to a DNS name."""
    output = kubectl.run(
        "exec", "client", "--", "bash", "-c", _ASK_BY_NAME, "ask", name, str(REQUESTS), timeout_seconds=60
    )
    answers = Counter(output.split())
    failures = answers.pop("!", 0)
    return Spread(way, answers, failures)


def check_spread(spread: Spread) -> None:
    """Every request answered, by every pod; a LabError says what is missing."""
    if spread.failures:
        raise LabError(f"{spread.failures} of {spread.requests} requests failed over {spread.way}")
    if len(spread.answers) != REPLICAS:
        raise LabError(
            f"{len(spread.answers)} of {REPLICAS} pods answered over {spread.way}: {dict(spread.answers)}"
        )


def list_web_pods(kubectl: Kubectl) -> tuple[str, ...]:
    names = kubectl.run("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}")
    return tuple(sorted(names.split()))


def replace_pod(kubectl: Kubectl) -> tuple[str, str]:
    """Deletes one web pod and waits until its replacement serves; returns both names."""
    before = list_web_pods(kubectl)
    kubectl.run("delete", "pod", before[0], "--wait=true")
    kubectl.run("rollout", "status", "deployment/web", "--timeout=60s")
    new = set(list_web_pods(kubectl)) - set(before)
    if len(new) != 1:
        raise LabError(f"after {before[0]} was deleted there are {len(new)} new pods instead of 1")
    return before[0], new.pop()
