"""A lab for one soak run, whose programs' logs stay when the run can't go on.

A shell around `lab.cluster`. The lab goes with this process, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import AgentError
from kubeapi.errors import KubeAPIError
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.errors import LabError


@contextmanager
def soak_lab(name: str) -> Iterator[Cluster]:
    """One node, Ready, while the block runs; a failure becomes a LabError that says where the logs are."""
    with running_cluster(ClusterSettings(name=name, bound_to_this_process=True)) as cluster:
        try:
            yield cluster
        except (AssertionError, LabError, KubeAPIError, AgentError, OSError) as error:
            raise LabError(f"{error}; the logs of its programs are in {cluster.keep_logs()}") from error
