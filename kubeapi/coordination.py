"""Leases (coordination.k8s.io/v1) as frozen views.

Pure. Follows the Lease page of the Kubernetes API reference.
"""

from __future__ import annotations

from kubeapi.meta import Object, View


class LeaseSpec(View, frozen=True, kw_only=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()
