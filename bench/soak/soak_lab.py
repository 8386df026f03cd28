"""A lab for one soak run, whose programs' logs stay when something was found or the run can't go on.

A shell around `lab.cluster`. The lab goes with this process, however that ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from agent.errors import AgentError
from bench.soak.findings import Findings
from kubeapi.errors import KubeAPIError
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.errors import LabError

_SHOWN: Final = 200  # a pod in full is of no use on a terminal


def soak_in_lab(name: str, soak: Callable[[Cluster], Coroutine[Any, Any, Findings]]) -> Findings:
    """What `soak` finds on one Ready node; a failure becomes a LabError that says where the logs are."""
    with running_cluster(ClusterSettings(name=name, bound_to_this_process=True)) as cluster:
        try:
            findings = asyncio.run(soak(cluster))
        except (AssertionError, LabError, KubeAPIError, AgentError, OSError) as error:
            kept = cluster.keep_logs()
            (kept / "error.txt").write_text(f"{error}\n")
            raise LabError(f"{str(error)[:_SHOWN]}; all of it and the logs are in {kept}") from error
        return findings if findings.clean else replace(findings, logs=str(cluster.keep_logs()))
