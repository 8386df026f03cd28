"""Tokens of service accounts: kept, renewed in time, bound to the pod."""

from __future__ import annotations

import pytest

from agent.volumes.config_api import build_token_request
from agent.volumes.files import TokenRef
from agent.volumes.tokens import IssuedToken, ServiceAccountTokens, compute_renewal
from kubeapi.errors import Unreachable
from kubeapi.pod import Pod
from tests.builders import pod


class _Issuer:
    def __init__(self) -> None:
        self.now = 1000.0
        self.count = 0
        self.away = False

    def clock(self) -> float:
        return self.now

    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        if self.away:
            raise Unreachable("connection refused")
        if pod.spec.service_account_name == "absent":
            return None
        self.count += 1
        return IssuedToken(f"token-{self.count}", self.now + reference.expiration_seconds)


async def test_a_token_is_kept_for_four_fifths_of_its_life() -> None:
    issuer, subject, reference = _Issuer(), pod(), TokenRef("", 1000)
    tokens = ServiceAccountTokens(issuer, issuer.clock)
    assert await tokens.read_token(subject, reference) == "token-1"
    issuer.now += 799
    assert await tokens.read_token(subject, reference) == "token-1"
    assert tokens.next_renewal(subject.uid) == 1800.0
    issuer.now += 1
    assert await tokens.read_token(subject, reference) == "token-2"


async def test_each_pod_and_audience_has_its_own() -> None:
    issuer = _Issuer()
    tokens = ServiceAccountTokens(issuer, issuer.clock)
    one, two = pod("one"), pod("two")
    assert await tokens.read_token(one, TokenRef("", 600)) == "token-1"
    assert await tokens.read_token(two, TokenRef("", 600)) == "token-2"
    assert await tokens.read_token(one, TokenRef("vault", 600)) == "token-3"
    tokens.forget(one.uid)
    assert tokens.next_renewal(one.uid) is None
    assert await tokens.read_token(two, TokenRef("", 600)) == "token-2"
    assert await tokens.read_token(one, TokenRef("", 600)) == "token-4"


async def test_no_account_no_token() -> None:
    issuer = _Issuer()
    tokens = ServiceAccountTokens(issuer, issuer.clock)
    assert await tokens.read_token(pod(spec={"service_account_name": "absent"}), TokenRef("", 600)) is None


def test_a_long_life_is_renewed_daily() -> None:
    assert compute_renewal(0.0, 365 * 86400.0) == 86400.0


def test_a_token_never_shows() -> None:
    assert "jwt" not in repr(IssuedToken("jwt", 0.0))


def test_the_request_binds_the_token_to_the_pod() -> None:
    request = build_token_request(pod(), TokenRef("vault", 600))
    assert request["spec"] == {
        "audiences": ["vault"],
        "expirationSeconds": 600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "uid-web-1"},
    }


async def test_a_token_serves_until_it_expires_while_nobody_renews_it() -> None:
    issuer, subject, reference = _Issuer(), pod(), TokenRef("", 1000)
    tokens = ServiceAccountTokens(issuer, issuer.clock)
    assert await tokens.read_token(subject, reference) == "token-1"
    issuer.away = True
    issuer.now += 999
    assert await tokens.read_token(subject, reference) == "token-1"
    issuer.now += 1
    with pytest.raises(Unreachable):
        await tokens.read_token(subject, reference)
    issuer.away = False
    assert await tokens.read_token(subject, reference) == "token-2"
