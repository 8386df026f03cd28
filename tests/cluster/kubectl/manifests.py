"""The manifests beside this file, and bad ones made of a good one's text.

No IO. A test that refuses something changes one fact of `POD`, `DEPLOYMENT` or `SERVICE`.
"""

from __future__ import annotations

from pathlib import Path

WEB = Path(__file__).with_name("web.yaml")
SHELL = Path(__file__).with_name("shell.yaml")

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: good
spec:
  containers:
    - name: main
      image: berth.local/shell:1
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: good
spec:
  replicas: 1
  selector:
    matchLabels: {app: good}
  template:
    metadata:
      labels: {app: good}
    spec:
      containers:
        - name: main
          image: berth.local/shell:1
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: good
spec:
  selector: {app: good}
  ports:
    - port: 80
"""


def change(manifest: str, old: str, new: str) -> str:
    """The manifest with one place changed, which must be there."""
    assert manifest.count(old) == 1, f"{old!r} is not once in {manifest}"
    return manifest.replace(old, new)
