"""Which IP families the rules are for."""

from __future__ import annotations

import pytest

from agent.proxy.backends import build_ruleset_settings
from netrules.model import Family
from netrules.services import RulesetSettings


@pytest.mark.parametrize(
    ("cluster_cidr", "expected"),
    [
        ("10.244.0.0/16", (RulesetSettings(Family.IPV4, ("10.244.0.0/16",)),)),
        ("fd00:244::/56", (RulesetSettings(Family.IPV6, ("fd00:244::/56",)),)),
        (
            "10.244.0.0/16, fd00:244::/56",
            (
                RulesetSettings(Family.IPV4, ("10.244.0.0/16",)),
                RulesetSettings(Family.IPV6, ("fd00:244::/56",)),
            ),
        ),
        ("", (RulesetSettings(Family.IPV4),)),
    ],
)
def test_families_are_those_of_the_pods(cluster_cidr: str, expected: tuple[RulesetSettings, ...]) -> None:
    assert build_ruleset_settings(cluster_cidr) == expected


def test_a_malformed_cidr_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.244"):
        build_ruleset_settings("10.244.0.0/99")
