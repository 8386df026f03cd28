"""Both backends' layouts, held to the one table of packet cases by following packets through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from netrules.iptables.layout import ChainLayout
from netrules.model import Family
from netrules.nftables.layout import FlatLayout
from netrules.packet_trace import Fate, Origin, Outcome, Packet, trace_packet
from netrules.services import Layout, RulesetSettings, build_ruleset
from tests.contract.rules.packet_cases import CASES, SCENES, Case, Reach, Refuse, Scene, build_intents

LAYOUTS: Mapping[str, Callable[[RulesetSettings], Layout]] = {"nftables": FlatLayout, "iptables": ChainLayout}
BACKEND_CASES = [
    pytest.param(backend, case, id=f"{backend}: {case.name}")
    for backend in LAYOUTS
    for case in CASES
    if case.only in ("", backend)
]


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
@pytest.mark.parametrize(("backend", "case"), BACKEND_CASES)
def test_packet_fares_as_the_table_says(family: Family, backend: str, case: Case) -> None:
    scene = SCENES[family]
    layout = LAYOUTS[backend](scene.settings)
    ruleset = build_ruleset(layout, build_intents(scene))
    local = frozenset((scene.node_outside, scene.node_bridge))

    outcomes = trace_packet(ruleset, _packet(scene, case), local)

    assert outcomes == _expected(scene, case)


def _packet(scene: Scene, case: Case) -> Packet:
    origin = Origin.NODE if case.client == "node" else Origin.ARRIVING
    return Packet(scene.address(case.client), scene.address(case.to), case.protocol, case.port, origin)


def _expected(scene: Scene, case: Case) -> frozenset[Outcome]:
    match case.expect:
        case Reach(pods=pods, port=port, masqueraded=masqueraded):
            reached = (scene.address(pod) for pod in pods)
            return frozenset(Outcome(Fate.FORWARDED, address, port, masqueraded) for address in reached)
        case Refuse():
            return frozenset({Outcome(Fate.REJECTED, scene.address(case.to), case.port, False)})


@pytest.mark.parametrize("backend", list(LAYOUTS))
def test_pod_reaches_the_outside_with_the_nodes_address(backend: str) -> None:
    scene = SCENES[Family.IPV4]
    layout = LAYOUTS[backend](scene.settings)
    ruleset = build_ruleset(layout, ())

    def trace(to: str) -> frozenset[Outcome]:
        packet = Packet(scene.pod_a, to, CASES[0].protocol, 443)
        return trace_packet(ruleset, packet, frozenset((scene.node_outside, scene.node_bridge)))

    assert trace("198.51.100.7") == {Outcome(Fate.FORWARDED, "198.51.100.7", 443, True)}
    assert trace("10.244.9.9") == {Outcome(Fate.FORWARDED, "10.244.9.9", 443, False)}
    assert trace("224.0.0.251") == {Outcome(Fate.FORWARDED, "224.0.0.251", 443, False)}
    assert trace(scene.node_outside) == {Outcome(Fate.LOCAL, scene.node_outside, 443, False)}
