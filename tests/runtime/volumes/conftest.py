"""The pod half of the agent on real containerd, as the tests of pods have it."""

from __future__ import annotations

from tests.runtime.pods.conftest import host

__all__ = ["host"]
