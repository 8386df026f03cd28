"""Kubeconfig files: where a server is, whom to trust, who one is.

`build_kubeconfig` is pure; `write_kubeconfig` writes one file, readable by its owner only, since it holds a
key. Follows the kubeconfig (v1) reference of the Kubernetes documentation.
"""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from controlplane.certificates.errors import CertificatesError
from controlplane.certificates.files import write_file


def build_kubeconfig(
    server_url: str, ca_pem: bytes, cert_pem: bytes, key_pem: bytes, user: str, *, cluster: str = "berth"
) -> str:
    """The YAML of a kubeconfig with everything embedded and one context, which is the current one."""
    context = f"{user}@{cluster}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server_url, "certificate-authority-data": _encode(ca_pem)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encode(cert_pem),
                    "client-key-data": _encode(key_pem),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }
    return yaml.safe_dump(document, sort_keys=False)


def write_kubeconfig(path: Path, text: str) -> None:
    """Puts a kubeconfig in place atomically, mode 0600; CertificatesError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CertificatesError(f"can't make the directory {path.parent}: {error.strerror}") from error
    write_file(path, text.encode(), 0o600)


def _encode(pem: bytes) -> str:
    return base64.b64encode(pem).decode("ascii")
