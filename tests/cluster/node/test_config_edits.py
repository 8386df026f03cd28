"""A ConfigMap that twenty pods share: each edit is in all of them within two seconds, never by halves."""

from __future__ import annotations

from bench.config_edits import AIM_SECONDS, POD_COUNT, measure_edits
from bench.report import compute_percentile
from tests.cluster.scene import Scene

EDITS = 10  # the benchmark makes a hundred


async def test_each_edit_reaches_each_pod_whole(scene: Scene) -> None:
    findings = await measure_edits(scene.cluster, scene.client, scene.namespace, pods=POD_COUNT, edits=EDITS)

    assert findings.mixed == 0
    assert len(findings.delays) == POD_COUNT * EDITS
    assert compute_percentile(findings.delays, 99) <= AIM_SECONDS
