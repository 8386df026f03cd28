"""RuntimeClasses (node.k8s.io/v1) as frozen views.

Pure. Follows the RuntimeClass page of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubeapi.meta import Object, QuantityText, View
from kubeapi.pod import Toleration


class Overhead(View, frozen=True, kw_only=True):
    pod_fixed: Mapping[str, QuantityText] = {}


class Scheduling(View, frozen=True, kw_only=True):
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class RuntimeClass(Object, frozen=True, kw_only=True):
    handler: str = ""
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None
