"""The TLS contexts of the server: towards its clients, and towards the nodes.

Reads certificate files; called once by the composition root. Clients are asked for a certificate of our
authority but need not have one: health checks come without. Nodes' serving certificates are self-signed and
not verified.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def build_server_tls(certificate: Path, key: Path, client_authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    # HTTP/2 is not spoken: clients that would like it must learn so from the handshake.
    context.set_alpn_protocols(["http/1.1"])
    return context


def build_node_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(certificate, key)
    return context
