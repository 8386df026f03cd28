"""Makes and checks certificates: P-256 keys, X.509 v3.

Pure but for the randomness of new keys and serial numbers; reads and writes no file. Time is an argument. Key
material never shows in a repr. Follows RFC 5280.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.certificates.errors import CertificatesError
from controlplane.certificates.names import BACKDATED, CA_LIFETIME, CA_SUBJECT, LeafRequest, Subject

_RENEW_BEFORE_SHARE = 3  # a leaf is renewed once less than a third of its life is left


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def is_matching(self) -> bool:
        """Whether the key belongs to the certificate."""
        return self.certificate.public_key() == self.key.public_key()

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def create_authority(now: datetime, key: ec.EllipticCurvePrivateKey | None = None) -> Pair:
    """A new self-signed certificate authority; with an old one's key, whoever trusts that trusts this."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = _render_name(CA_SUBJECT)
    builder = _start(name, name, key.public_key(), now, CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_build_key_usage(is_authority=True), critical=True)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue_leaf(authority: Pair, request: LeafRequest, now: datetime) -> Pair:
    """A new key and its certificate, signed by the authority and never outliving it."""
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = min(request.lifetime, authority.certificate.not_valid_after_utc - now)
    issuer = authority.certificate.subject
    builder = _start(_render_name(request.subject), issuer, key.public_key(), now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_build_key_usage(is_authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_list_usages(request)), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
    )
    if request.is_server:
        builder = builder.add_extension(_render_alternative_names(request), critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def parse_certificate(pem: bytes) -> x509.Certificate:
    """A stored certificate; CertificatesError says what is wrong with it."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificatesError("it is not a certificate in PEM") from error


def parse_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A stored key; CertificatesError says what is wrong with it."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificatesError("it is not an unencrypted private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificatesError("it is not an elliptic-curve key")
    return key


def is_issued_by(certificate: x509.Certificate, authority: Pair) -> bool:
    """Whether the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def should_renew(certificate: x509.Certificate, request: LeafRequest, now: datetime) -> bool:
    """Whether a stored leaf no longer says what is wanted, or has less than a third of its life left."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin or end - now < (end - begin) / _RENEW_BEFORE_SHARE:
        return True
    if certificate.subject != _render_name(request.subject):
        return True
    return read_alternative_names(certificate) != _wanted_alternative_names(request)


def read_alternative_names(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names and addresses a certificate serves, as text."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(
        (
            *names.get_values_for_type(x509.DNSName),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        )
    )


def _wanted_alternative_names(request: LeafRequest) -> frozenset[str]:
    return frozenset((*request.dns_names, *(str(address) for address in request.addresses)))


def _start(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _render_name(subject: Subject) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]
    if subject.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organization))
    return x509.Name(attributes)


def _render_alternative_names(request: LeafRequest) -> x509.SubjectAlternativeName:
    names = (x509.DNSName(name) for name in request.dns_names)
    addresses = (x509.IPAddress(address) for address in request.addresses)
    return x509.SubjectAlternativeName([*names, *addresses])


def _list_usages(request: LeafRequest) -> list[x509.ObjectIdentifier]:
    """A node's certificate is used both ways; the API server's own only serves."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if request.is_server else []
    if not request.is_server or request.subject.organization:
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return usages


def _build_key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
