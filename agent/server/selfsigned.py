"""Makes the node's self-signed serving certificate: `python -m agent.server.selfsigned DIRECTORY NAME IP`.

IO: two files in DIRECTORY. Run as a child process by `serving_certificate`, because the cryptography library
is large and the agent stays small without it. A pair that is still good for these names is kept.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.server.serving_certificate import CERTIFICATE_FILE, KEY_FILE, STAMP_FILE, build_stamp

_LIFETIME: Final = timedelta(days=365)
_RENEW_BEFORE: Final = timedelta(days=90)
_BACKDATED: Final = timedelta(hours=1)  # clients' clocks may be behind


def ensure_pair(directory: Path, name: str, address: str, now: datetime) -> bool:
    """Writes a new pair unless the present one is good for the name and address for long; True if written."""
    if _is_good(directory / CERTIFICATE_FILE, directory / KEY_FILE, name, address, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = build_certificate(key, name, address, now)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(directory / KEY_FILE, pem, 0o600)
    _write(directory / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(
        directory / STAMP_FILE, build_stamp(name, address, now + _LIFETIME - _RENEW_BEFORE).encode(), 0o644
    )
    return True


def build_certificate(
    key: ec.EllipticCurvePrivateKey, name: str, address: str, now: datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}@{int(now.timestamp())}")])
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _is_good(certificate: Path, key: Path, name: str, address: str, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return (
        found.not_valid_after_utc - now > _RENEW_BEFORE
        and found.public_key() == private.public_key()
        and name in names.get_values_for_type(x509.DNSName)
        and ipaddress.ip_address(address) in names.get_values_for_type(x509.IPAddress)
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as target:
        target.write(content)
    temporary.replace(path)


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        sys.stderr.write("usage: python -m agent.server.selfsigned DIRECTORY NAME IP\n")
        return 2
    directory, name, address = arguments
    try:
        ensure_pair(Path(directory), name, address, datetime.now(UTC))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the serving certificate can't be made in {directory}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
