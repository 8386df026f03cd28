"""A lab for one soak run, whose programs' logs stay when the run can't go on.

A shell around `lab.cluster`. The lab goes with this process, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.errors import AgentError
from kubeapi.errors import KubeAPIError
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.errors import LabError

_SHOWN: Final = 200  # a pod in full is of no use on a terminal


@contextmanager
def soak_lab(name: str) -> Iterator[Cluster]:
    """One node, Ready, while the block runs; a failure becomes a LabError that says where the logs are."""
    with running_cluster(ClusterSettings(name=name, bound_to_this_process=True)) as cluster:
        try:
            yield cluster
        except (AssertionError, LabError, KubeAPIError, AgentError, OSError) as error:
            kept = cluster.keep_logs()
            (kept / "error.txt").write_text(f"{error}\n")
            raise LabError(f"{str(error)[:_SHOWN]}; all of it and the logs are in {kept}") from error
