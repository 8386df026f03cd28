"""What service-account tokens say, for whom they are refused, and that their signatures verify."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from controlplane.apiserver.failures import ApiFailure
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.tokens.request import check_node_request, grant_token
from controlplane.apiserver.tokens.signer import TokenSigner
from controlplane.certificates import CertificatesError, ensure_signing_key

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
START = int(NOW.timestamp())
ISSUER = "https://kubernetes.default.svc.cluster.local"
POD_REFERENCE = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "pod-uid"}


def built(name: str, uid: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid}, "spec": spec}


@dataclass
class Objects:
    held: dict[tuple[str, str, str], Mapping[str, Any]] = field(
        default_factory=lambda: {
            ("serviceaccounts", "shop", "clerk"): built("clerk", "account-uid"),
            ("pods", "shop", "web"): built("web", "pod-uid", serviceAccountName="clerk", nodeName="n1"),
            ("nodes", "", "n1"): built("n1", "node-uid"),
        }
    )

    def find(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.held.get((kind.plural, namespace, name))

    def select(self, kind: Kind) -> Iterable[Mapping[str, Any]]:
        return [each for (plural, _, _), each in self.held.items() if plural == kind.plural]


def grant(spec: Mapping[str, Any], account: str = "clerk") -> tuple[Mapping[str, Any], dict[str, Any]]:
    granted = grant_token(
        {"spec": spec}, ("shop", account), Objects(), issuer=ISSUER, token_id="id-1", now=NOW
    )
    return granted.claims, granted.complete("signed")


def test_a_plain_token() -> None:
    claims, answer = grant({})
    assert claims == {
        "aud": [ISSUER],
        "exp": START + 3600,
        "iat": START,
        "iss": ISSUER,
        "jti": "id-1",
        "kubernetes.io": {
            "namespace": "shop",
            "serviceaccount": {"name": "clerk", "uid": "account-uid"},
        },
        "nbf": START,
        "sub": "system:serviceaccount:shop:clerk",
    }
    assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": None}
    assert answer["status"] == {"expirationTimestamp": "2026-01-02T04:04:05Z", "token": "signed"}


def test_a_pod_s_token_names_pod_and_node() -> None:
    claims, _ = grant({"boundObjectRef": POD_REFERENCE, "expirationSeconds": 700})
    assert claims["exp"] == START + 700
    assert claims["kubernetes.io"] == {
        "namespace": "shop",
        "node": {"name": "n1", "uid": "node-uid"},
        "pod": {"name": "web", "uid": "pod-uid"},
        "serviceaccount": {"name": "clerk", "uid": "account-uid"},
    }


@pytest.mark.parametrize(
    ("spec", "lifetime"),
    [
        ({"boundObjectRef": POD_REFERENCE}, 365 * 24 * 3600),
        ({"boundObjectRef": POD_REFERENCE, "audiences": ["vault"]}, 3607),
        ({}, 3607),
    ],
)
def test_only_injected_tokens_live_on(spec: dict[str, Any], lifetime: int) -> None:
    claims, answer = grant({**spec, "expirationSeconds": 3607})
    assert claims["exp"] == START + lifetime
    assert claims["kubernetes.io"].get("warnafter") == (START + 3607 if lifetime > 3607 else None)
    assert answer["status"]["expirationTimestamp"] == "2026-01-02T04:04:12Z"


@pytest.mark.parametrize(
    ("spec", "account", "code", "message"),
    [
        (
            {"expirationSeconds": 599},
            "clerk",
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: '
            "may not specify a duration less than 10 minutes",
        ),
        (
            {"expirationSeconds": 2**32 + 1},
            "clerk",
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        ({}, "nobody", 404, 'serviceaccounts "nobody" not found'),
        ({"boundObjectRef": {**POD_REFERENCE, "name": "gone"}}, "clerk", 404, 'pods "gone" not found'),
        (
            {"boundObjectRef": {**POD_REFERENCE, "uid": "other"}},
            "clerk",
            409,
            "the UID in the bound object reference (other) does not match the UID in record",
        ),
        (
            {"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "x"}},
            "clerk",
            400,
            "cannot bind token to object of type batch/v1, Kind=Job",
        ),
    ],
)
def test_refusals(spec: dict[str, Any], account: str, code: int, message: str) -> None:
    with pytest.raises(ApiFailure) as refused:
        grant(spec, account)
    assert refused.value.code == code
    assert message in str(refused.value)


def test_a_pod_of_another_account_is_no_bond() -> None:
    objects = Objects()
    objects.held["serviceaccounts", "shop", "thief"] = built("thief", "thief-uid")
    request = {"spec": {"boundObjectRef": POD_REFERENCE}}
    with pytest.raises(ApiFailure, match="running with different serviceaccount name"):
        grant_token(request, ("shop", "thief"), objects, issuer=ISSUER, token_id="id", now=NOW)


@pytest.mark.parametrize(
    ("reference", "node", "why"),
    [
        (None, "n1", "node requested token not bound to a pod"),
        ({**POD_REFERENCE, "kind": "Node"}, "n1", "node requested token not bound to a pod"),
        ({**POD_REFERENCE, "uid": ""}, "n1", "node requested token with a pod binding without a uid"),
        (POD_REFERENCE, "n2", "node requested token bound to a pod scheduled on a different node"),
    ],
)
def test_a_node_asks_for_its_own_pods_only(reference: dict[str, Any] | None, node: str, why: str) -> None:
    with pytest.raises(ApiFailure, match=why):
        check_node_request({"spec": {"boundObjectRef": reference}}, node, Objects(), "shop")
    check_node_request({"spec": {"boundObjectRef": POD_REFERENCE}}, "n1", Objects(), "shop")


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(token: str, key_set: Mapping[str, Any]) -> Mapping[str, Any]:
    """The claims, if the published key verifies them."""
    head, body, signature = token.split(".")
    (key,) = key_set["keys"]
    header = json.loads(decode(head))
    assert header == {"alg": "ES256", "kid": key["kid"]}
    x, y = (int.from_bytes(decode(key[name]), "big") for name in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    raw = decode(signature)
    assert len(raw) == 64
    numbers = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(encode_dss_signature(*numbers), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    claims: Mapping[str, Any] = json.loads(decode(body))
    return claims


def test_a_signature_verifies_with_the_published_key_and_no_other() -> None:
    signer, other = (TokenSigner(ec.generate_private_key(ec.SECP256R1()), ISSUER) for _ in range(2))
    token = signer.sign({"sub": "a", "exp": 1})
    assert verify(token, signer.build_key_set()) == {"sub": "a", "exp": 1}
    (forged,) = other.build_key_set()["keys"]
    (published,) = signer.build_key_set()["keys"]
    with pytest.raises(InvalidSignature):
        verify(token, {"keys": [{**forged, "kid": published["kid"]}]})


def test_the_discovery_document_names_the_key_set() -> None:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()), ISSUER)
    document = signer.build_configuration("https://10.0.0.1:6443")
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == "https://10.0.0.1:6443/openid/v1/jwks"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]


def test_the_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    first, second = (ensure_signing_key(tmp_path) for _ in range(2))
    assert first.private_numbers() == second.private_numbers()
    assert (tmp_path / "pki" / "sa.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "pki" / "sa.key").write_text("torn")
    with pytest.raises(CertificatesError, match="restore it from a backup"):
        ensure_signing_key(tmp_path)
