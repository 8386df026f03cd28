"""The key that signs service-account tokens: made once, kept below the data directory with mode 0600.

IO. Called when the server starts. The key is never replaced, as tokens of running pods hang on it; several
keys, of which the newest signs, can come with rotation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.certificates.errors import CertificatesError
from controlplane.certificates.files import KEY_MODE, write_file
from controlplane.certificates.issue import parse_key

SIGNING_KEY_NAME: Final = "sa.key"


def ensure_signing_key(data_dir: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key below `data_dir`, made if there is none; CertificatesError."""
    path = data_dir / "pki" / SIGNING_KEY_NAME
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        key = ec.generate_private_key(ec.SECP256R1())
        write_file(path, _render(key), KEY_MODE)
        return key
    except OSError as error:
        raise CertificatesError(f"can't read {path}: {error.strerror}") from error
    try:
        key = parse_key(stored)
    except CertificatesError as error:
        raise CertificatesError(
            f"can't use {path}: {error}; restore it from a backup, or remove it: all tokens end with it"
        ) from error
    if key.curve.name != "secp256r1":
        raise CertificatesError(f"{path} is a key on {key.curve.name}; tokens are signed with P-256 only")
    return key


def _render(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
