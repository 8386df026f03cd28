"""Credentials that an administrator hands out: kubeconfig files for nodes, or for themselves elsewhere.

Reads the server's data directory, writes nothing. Called by `berth server kubeconfig` and the lab, on the
server's machine; it works while the server runs.
"""

from __future__ import annotations

from pathlib import Path

from controlplane.certificates import CertificatesError, build_kubeconfig, issue_node_certificate
from kubeapi.kubeconfig import ClientConfig, read_kubeconfig

ADMIN_USER = "kubernetes-admin"


def admin_kubeconfig_path(data_dir: Path) -> Path:
    """Where the server writes the administrator's kubeconfig."""
    return data_dir / "kubeconfig" / "admin.yaml"


def issue_kubeconfig(data_dir: Path, *, node_name: str | None, server_url: str) -> str:
    """The YAML of a kubeconfig for a node, or, without a name, for the administrator.

    A node's key and certificate are new each time. Raises CertificatesError when the server below `data_dir`
    was never started.
    """
    path = admin_kubeconfig_path(data_dir)
    if not path.exists():
        raise CertificatesError(f"there is no {path}; start the server on this --data-dir once first")
    admin = read_kubeconfig(path)
    assert admin.ca_data is not None, "the server's own kubeconfig embeds its authority"
    if node_name is None:
        certificate, key, user = *_read_admin_pair(admin), ADMIN_USER
    else:
        pair = issue_node_certificate(data_dir, node_name)
        certificate, key, user = pair.certificate_pem(), pair.key_pem(), f"system:node:{node_name}"
    return build_kubeconfig(server_url, admin.ca_data, certificate, key, user)


def _read_admin_pair(admin: ClientConfig) -> tuple[bytes, bytes]:
    assert admin.client_certificate_data is not None
    assert admin.client_key_data is not None
    return admin.client_certificate_data, admin.client_key_data
