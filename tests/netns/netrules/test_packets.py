"""Both backends, held to the one table of packet cases by real packets through real kernel rules."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from netrules.backend import RuleBackend
from netrules.diff import diff_rulesets
from netrules.iptables.backend import IptablesBackend, IptablesVariant
from netrules.model import Family
from netrules.nftables.backend import NftablesBackend
from netrules.services import RulesetSettings, build_ruleset
from tests.contract.rules.packet_cases import CASES, SCENES, Case, Reach, Refuse, Scene, build_intents
from tests.netns.netrules.scene import Lab, open_lab

ENOUGH_TRIES = 40  # to meet both of two endpoints: missing one has a chance of 2 in 2**40


def _backend(name: str, settings: RulesetSettings) -> RuleBackend:
    match name:
        case "nftables":
            return NftablesBackend(settings)
        case "iptables-nft":
            return IptablesBackend(settings, IptablesVariant.NFT)
        case _:
            return IptablesBackend(settings, IptablesVariant.LEGACY)


@pytest.fixture(scope="module", params=["nftables", "iptables-nft", "iptables-legacy"])
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[str, Lab]]:
    """A node with the rules of all intents, in both families; nothing is left of them afterwards."""
    name: str = request.param

    async def load() -> None:
        for scene in SCENES.values():
            backend = _backend(name, scene.settings)
            wanted = build_ruleset(backend.layout, build_intents(scene))
            await backend.apply(diff_rulesets(await backend.read(), wanted))
            assert not diff_rulesets(await backend.read(), wanted)
            backend.close()

    async def unload() -> None:
        for scene in SCENES.values():
            backend = _backend(name, scene.settings)
            await backend.remove()
            observed = await backend.read()
            backend.close()
            assert not any(
                rule for t in observed.tables.values() for c in t.chains.values() for rule in c.rules
            )

    with open_lab("nrp") as lab:
        lab.run_on_node(load)
        yield name, lab
        lab.run_on_node(unload)


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packet_fares_as_the_table_says(loaded: tuple[str, Lab], case: Case, family: Family) -> None:
    backend, lab = loaded
    scene = SCENES[family]
    if case.only and not backend.startswith(case.only):
        return
    match case.expect:
        case Refuse():
            _assert_refused_at_once(lab, scene, case)
        case Reach():
            _assert_reached(lab, scene, case, case.expect)


def _assert_refused_at_once(lab: Lab, scene: Scene, case: Case) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        lab.ask(scene, case.client, scene.address(case.to), case.port, case.protocol)
    assert time.monotonic() - started < 1.0


def _assert_reached(lab: Lab, scene: Scene, case: Case, expect: Reach) -> None:
    clients = _expected_clients(scene, case, expect)
    met: set[str] = set()
    for _ in range(ENOUGH_TRIES):
        answer = lab.ask(scene, case.client, scene.address(case.to), case.port, case.protocol)
        assert answer.pod in expect.pods
        assert answer.client in clients
        met.add(answer.pod)
        if met == set(expect.pods):
            return
    raise AssertionError(f"of {expect.pods} only {met} were reached")


def _expected_clients(scene: Scene, case: Case, expect: Reach) -> set[str]:
    if expect.masqueraded:
        return {scene.node_bridge, scene.node_outside}
    if case.client == "node":
        return {scene.node_bridge, scene.node_outside}
    return {scene.address(case.client)}
