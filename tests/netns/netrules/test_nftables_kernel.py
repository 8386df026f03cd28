"""The nftables backend and the real kernel: what is written reads back, refusals are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netrules.diff import diff_rulesets
from netrules.errors import RulesError
from netrules.model import Family, Goto, Protocol, Ruleset
from netrules.nftables.backend import NftablesBackend
from netrules.nftables.layout import SERVICES, TABLE
from netrules.nftables.monitor import NftablesMonitor
from netrules.services import Backend, RulesetSettings, ServiceIntent, build_ruleset
from netrules.tracker import Tracker
from netrules.transaction import AddElements, Transaction
from tests.contract.rules.packet_cases import SCENES, build_intents
from tests.netns.netrules.scene import Lab, open_lab

FAMILIES = pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
SETTINGS = RulesetSettings(Family.IPV4, ("10.244.0.0/16",))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab("nrk") as built:
        yield built


async def _load(backend: NftablesBackend, wanted: Ruleset) -> None:
    await backend.apply(diff_rulesets(await backend.read(), wanted))


def _service(number: int, endpoints: int) -> ServiceIntent:
    return ServiceIntent(
        name=f"default/s{number}",
        protocol=Protocol.TCP,
        port=80,
        cluster_addresses=(f"10.96.{number >> 8}.{number & 255}",),
        node_port=20000 + number,
        endpoints=tuple(Backend(f"10.244.{number & 255}.{n}", 8080) for n in range(1, endpoints + 1)),
    )


@FAMILIES
def test_what_is_written_reads_back_and_goes_without_trace(lab: Lab, family: Family) -> None:
    scene = SCENES[family]

    async def check() -> None:
        backend = NftablesBackend(scene.settings)
        await backend.check_support()
        assert await backend.read() == Ruleset(family)
        wanted = build_ruleset(backend.layout, build_intents(scene))
        await _load(backend, wanted)
        assert await backend.read() == wanted
        await backend.remove()
        await backend.remove()
        assert await backend.read() == Ruleset(family)
        backend.close()

    lab.run_on_node(check)
    assert lab.run_command("node", "nft", "list", "ruleset") == ""


def test_changes_one_by_one_and_the_whole_at_once_end_alike(lab: Lab) -> None:
    async def check() -> None:
        backend = NftablesBackend(SETTINGS)
        tracker = Tracker(backend.layout)
        await _load(backend, tracker.ruleset())
        for number, endpoints in ((1, 3), (2, 70), (1, 2), (3, 1), (2, 69), (1, 0), (3, 2), (2, 0)):
            tracker.set_intents(f"s{number}", (_service(number, endpoints),))
            await backend.apply(tracker.take_transaction())
            assert await backend.read() == tracker.ruleset()
        await backend.remove()
        backend.close()

    lab.run_on_node(check)


def test_nft_lists_it_readably(lab: Lab) -> None:
    async def load() -> None:
        backend = NftablesBackend(SETTINGS)
        await _load(backend, build_ruleset(backend.layout, (_service(1, 3),)))
        backend.close()

    async def unload() -> None:
        backend = NftablesBackend(SETTINGS)
        await backend.remove()
        backend.close()

    lab.run_on_node(load)
    listing = lab.run_command("node", "nft", "list", "ruleset")
    assert "10.96.0.1 . tcp . 80 : goto spread-3" in listing
    assert "ip daddr . meta l4proto . th dport vmap @services" in listing
    assert json.loads(lab.run_command("node", "nft", "-j", "list", "ruleset"))["nftables"]
    lab.run_on_node(unload)


def test_a_refused_transaction_names_its_object_and_leaves_nothing(lab: Lab) -> None:
    async def check() -> None:
        backend = NftablesBackend(SETTINGS)
        wanted = build_ruleset(backend.layout, (_service(1, 2),))
        await _load(backend, wanted)
        fine = AddElements(TABLE, SERVICES, ((("10.96.9.8", Protocol.TCP, 80), Goto("spread-2")),))
        bad = AddElements(TABLE, SERVICES, ((("10.96.9.9", Protocol.TCP, 80), Goto("no-such-chain")),))
        with pytest.raises(RulesError, match=r"berth/services.*10\.96\.9\.9.*No such file"):
            await backend.apply(Transaction(Family.IPV4, (fine, bad)))
        assert await backend.read() == wanted
        await backend.remove()
        backend.close()

    lab.run_on_node(check)


def test_edits_by_others_are_seen_noticed_and_mended(lab: Lab) -> None:
    edits = (
        "delete table ip berth",
        "flush ruleset",
        "flush chain ip berth to-services",
        "add rule ip berth nat-postrouting counter",
        "delete element ip berth services { 10.96.0.1 . tcp . 80 }",
        "add element ip berth cluster-ips { 10.96.7.7 }",
        "add chain ip berth stranger { type filter hook input priority 5; }",
        "add set ip berth stranger { type ipv4_addr; }",
    )

    async def check() -> None:
        backend = NftablesBackend(SETTINGS)
        noticed = asyncio.Event()
        wanted = build_ruleset(backend.layout, (_service(1, 2),))
        await _load(backend, wanted)
        with NftablesMonitor(lambda: (backend.port_id,), noticed.set):
            for edit in edits:
                noticed.clear()
                await asyncio.to_thread(lab.run_command, "node", "nft", edit)
                async with asyncio.timeout(1):
                    await noticed.wait()
                difference = diff_rulesets(await backend.read(), wanted)
                assert difference
                await backend.apply(difference)
                assert await backend.read() == wanted
        await backend.remove()
        backend.close()

    lab.run_on_node(check)


def test_our_own_changes_and_others_tables_are_no_news(lab: Lab) -> None:
    async def check() -> None:
        backend = NftablesBackend(SETTINGS)
        tracker = Tracker(backend.layout)
        await _load(backend, tracker.ruleset())
        calls: list[None] = []
        seen = asyncio.Event()

        def note() -> None:
            calls.append(None)
            seen.set()

        with NftablesMonitor(lambda: (backend.port_id,), note):
            tracker.set_intents("s1", (_service(1, 2),))
            await backend.apply(tracker.take_transaction())
            await asyncio.to_thread(lab.run_command, "node", "nft", "add table ip others")
            await asyncio.to_thread(lab.run_command, "node", "nft", "delete table ip others")
            # Notifications come in order: once the last one is here, all before it were judged.
            await asyncio.to_thread(lab.run_command, "node", "nft", "flush chain ip berth to-node")
            async with asyncio.timeout(1):
                await seen.wait()
        assert len(calls) == 1
        await backend.remove()
        backend.close()

    lab.run_on_node(check)


def test_a_change_among_a_thousand_services_is_small_and_quick(lab: Lab) -> None:
    async def check() -> float:
        backend = NftablesBackend(SETTINGS)
        tracker = Tracker(backend.layout)
        for number in range(1000):
            tracker.set_intents(f"s{number}", (_service(number, 10),))
        tracker.take_transaction()
        await _load(backend, tracker.ruleset())
        service = _service(500, 10)
        loop = asyncio.get_running_loop()
        durations = []
        for last in range(100, 120):
            changed = replace(service, endpoints=(*service.endpoints[:9], Backend(f"10.244.9.{last}", 8080)))
            started = loop.time()
            tracker.set_intents("s500", (changed,))
            transaction = tracker.take_transaction()
            await backend.apply(transaction)
            durations.append(loop.time() - started)
            assert transaction.size <= 6
        assert await backend.read() == tracker.ruleset()
        await backend.remove()
        backend.close()
        return min(durations)

    assert lab.run_on_node(check) < 0.01
