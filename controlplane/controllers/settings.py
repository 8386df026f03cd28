"""What the controllers are told: address ranges, timings, certificate bundle.

Pure. Built by the composition root, read by `controlplane.controllers.app`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """`cluster_cidr` empty: no pod CIDRs are assigned. `root_ca` (PEM) empty: no kube-root-ca.crt is
    published.
    """

    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask_size: int = 24
    node_monitor_grace_seconds: float = 40.0
    root_ca: str = ""
    workers_per_controller: int = 4
