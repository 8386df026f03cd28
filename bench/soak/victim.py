"""The pod that comes, changes and goes in `bench.soak.kill_cycles`: everything that a pod can leave behind.

Pure but for `count_starts`. Its containers write their names into a file on the node when they start, and say
so when another one of their name runs at the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from kubeapi.pod import Pod
from tests.cluster.scene import Document, build_pod, build_shell, is_ready

MEMORY: Final = ("64Mi", "80Mi", "96Mi")
_FIRST_PORT: Final = 9000
RESIZED: Final = ("web", "renewed")
TWICE: Final = "-twice"  # what a container adds to its name when another one of its name runs
# How often each container of a pod starts if no death cuts a start short; what is resized by a restart does
# so for each size, and may be replaced before it has written its name.
STARTS: Final = {"first": 1, "aside": 1, "web": 1, "deaf": 1, "renewed": len(MEMORY)}
_RENEWED: Final = ({"resourceName": "memory", "restartPolicy": "RestartContainer"},)
_READY: Final[Document] = {"exec": {"command": ["test", "-e", "/memory/up"]}, "periodSeconds": 1}
_HOOKS: Final[Document] = {
    "postStart": {"exec": {"command": ["touch", "/memory/up"]}},
    "preStop": {"exec": {"command": ["rm", "/memory/up"]}},
}


def build_resources(memory: str) -> Document:
    return {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": memory}}


def has_memory(memory: str) -> Callable[[Pod], bool]:
    def is_wanted(pod: Pod) -> bool:
        statuses = [each for each in pod.status.container_statuses if each.name in RESIZED]
        sizes = {each.resources.limits.get("memory") for each in statuses if each.resources is not None}
        running = all(each.state.running is not None for each in statuses)
        return is_ready(pod) and running and sizes == {memory}

    return is_wanted


def build_victim(name: str, annotations: Mapping[str, str], host: Path) -> Document:
    """`annotations` say where its agent dies; `host` is where its containers write."""
    small = build_resources(MEMORY[0])
    document = build_pod(
        name,
        _build_container("web", name, resources=small, readinessProbe=_READY, lifecycle=_HOOKS),
        _build_container("renewed", name, resources=small, resizePolicy=_RENEWED),
        _build_container("deaf", name, "trap '' TERM; while :; do sleep 1; done"),
        initContainers=[
            _build_container("first", name, "exit 0"),
            _build_container("aside", name, restartPolicy="Always"),
        ],
        volumes=[
            {"name": "host", "hostPath": {"path": str(host), "type": "DirectoryOrCreate"}},
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "config", "configMap": {"name": name}},
            {"name": "keys", "secret": {"secretName": "keys"}},
        ],
    )
    document["metadata"]["annotations"] = dict(annotations)
    return document


def _build_container(container: str, pod: str, script: str = "exec sleep 86400", **fields: Any) -> Document:
    mounts = [
        *({"name": each, "mountPath": f"/{each}"} for each in ("host", "memory", "config", "keys")),
        {"name": "disk", "mountPath": "/part", "subPath": "a/part"},
    ]
    # A port of the pod's for each name: as long as one answers there, a container of that name lives.
    port = _FIRST_PORT + list(STARTS).index(container)
    alone = f"nc -w 1 127.0.0.1 {port} < /dev/null && echo {container}{TWICE} >> /host/{pod}"
    whole = f"{alone}; nc -l -p {port} > /dev/null & echo {container} >> /host/{pod}; {script}"
    return build_shell(whole, container, volumeMounts=mounts, **fields)


def count_starts(path: Path) -> Mapping[str, int]:
    """How often each container has written its name into its pod's file."""
    return dict(Counter(path.read_text().split() if path.exists() else ()))
