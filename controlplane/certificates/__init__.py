"""The control plane's own certificate authority, its leaf certificates, and kubeconfig files made from them.

`files`, `signing_key` and `kubeconfig` write files, the rest is pure. Called when a server starts and when a
node is given its identity. Certificates are renewed at start once less than a third of their life is left.
"""

from __future__ import annotations

from controlplane.certificates.errors import CertificatesError
from controlplane.certificates.files import (
    CertificatePaths,
    PairPaths,
    ensure_certificates,
    issue_node_certificate,
)
from controlplane.certificates.issue import Pair
from controlplane.certificates.kubeconfig import build_kubeconfig, write_kubeconfig
from controlplane.certificates.names import ServerNames, list_server_names
from controlplane.certificates.signing_key import ensure_signing_key

__all__ = [
    "CertificatePaths",
    "CertificatesError",
    "Pair",
    "PairPaths",
    "ServerNames",
    "build_kubeconfig",
    "ensure_certificates",
    "ensure_signing_key",
    "issue_node_certificate",
    "list_server_names",
    "write_kubeconfig",
]
