"""Signs claims as JSON Web Tokens with ES256, and publishes the key that verifies them.

No IO but the randomness of signatures. The key never shows in a repr. Follows RFC 7515, RFC 7517, RFC 7518
section 3.4 and OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ALGORITHM: Final = "ES256"
JWKS_PATH: Final = "/openid/v1/jwks"
CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
_NUMBER_BYTES: Final = 32


class TokenSigner:
    """Signs with one P-256 key; `issuer` is who all tokens and the discovery document name."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str) -> None:
        self._key = key
        self._key_id = _build_key_id(key.public_key())
        self.issuer = issuer

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The token of these claims."""
        header = {"alg": ALGORITHM, "kid": self._key_id}
        signed = f"{_encode(msgspec.json.encode(header))}.{_encode(msgspec.json.encode(claims))}"
        first, second = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(_pack(first) + _pack(second))}"

    def build_key_set(self) -> Mapping[str, Any]:
        """The JSON Web Key Set that verifies the tokens."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self._key_id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": _encode(_pack(numbers.x)),
            "y": _encode(_pack(numbers.y)),
        }
        return {"keys": [key]}

    def build_configuration(self, server_url: str) -> Mapping[str, Any]:
        """The discovery document; the key set is at `server_url`."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{server_url}{JWKS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }


def _build_key_id(key: ec.EllipticCurvePublicKey) -> str:
    """As upstream names keys: the digest of the public key's DER form."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _encode(sha256(der).digest())


def _pack(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
