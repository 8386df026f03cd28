"""Certificates for the tests of the client: one authority, a server, a client, made once per run."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.fake_api import FakeApi


@dataclass(frozen=True, slots=True)
class Identity:
    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Pki:
    ca: bytes
    server: Identity
    client: Identity
    stranger: Identity

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """A server that asks for a client certificate and takes only this authority's."""
        certificate, key = folder / "server.crt", folder / "server.key"
        certificate.write_bytes(self.server.certificate)
        key.write_bytes(self.server.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cadata=self.ca.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


@pytest.fixture(scope="session")
def pki() -> Pki:
    ca_key, ca = _authority("test-ca")
    other_key, other = _authority("other-ca")
    return Pki(
        ca=_pem(ca),
        server=_leaf("kubernetes", ca, ca_key, names=("kubernetes.test",), addresses=("127.0.0.1",)),
        client=_leaf("system:node:n1", ca, ca_key),
        stranger=_leaf("system:node:n1", other, other_key),
    )


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _leaf(
    name: str,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, ca.subject, key.public_key())
    alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(_pem(builder.sign(ca_key, hashes.SHA256())), pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
