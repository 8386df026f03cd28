"""TLS towards an API server: the context of a client, and the memory that a connection costs.

Does IO only to hand certificates to OpenSSL, which reads files: they go through an anonymous file in memory,
so that a key that was embedded in a kubeconfig never touches a disk. Called by `kubeapi.client`.
"""

from __future__ import annotations

import asyncio.sslproto
import os
import ssl

from kubeapi.errors import KubeAPIError
from kubeapi.kubeconfig import ClientConfig

_TLS_RECORD_BYTES = 16 * 1024


class TLSError(KubeAPIError):
    """The certificates of a client configuration can't be used."""


def build_tls_context(config: ClientConfig) -> ssl.SSLContext | None:
    """The context for `config`; None when the server is reached without TLS. Raises TLSError."""
    if not config.server.startswith("https:"):
        return None
    context = _trusting(config)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if config.client_certificate_data is not None and config.client_key_data is not None:
        _load_identity(context, config.client_certificate_data, config.client_key_data)
    return context


def limit_tls_buffers() -> None:
    """Gives asyncio's TLS connections a read buffer of one TLS record each, not of 256 KiB."""
    asyncio.sslproto.SSLProtocol.max_size = _TLS_RECORD_BYTES


def _trusting(config: ClientConfig) -> ssl.SSLContext:
    if config.insecure_skip_tls_verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        authority = config.ca_data.decode("ascii") if config.ca_data is not None else None
        return ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TLSError("the certificate authority of the kubeconfig is not a PEM certificate") from error


def _load_identity(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    descriptor = os.memfd_create("client-identity", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as identity:
            identity.write(certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_password)
    except ssl.SSLError as error:
        raise TLSError(
            "the client certificate and key of the kubeconfig are not a matching pair of PEM texts"
        ) from error
    finally:
        os.close(descriptor)


def _refuse_password() -> str:
    """Called by OpenSSL for an encrypted key, which would otherwise ask on the terminal."""
    return ""
