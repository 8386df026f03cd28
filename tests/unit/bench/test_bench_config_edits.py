"""What the readings of pods say about edits: delays, mixes, and what was never seen."""

from __future__ import annotations

import pytest

from bench.config_edits import Reading, build_findings, build_report, parse_readings

_LOG = """\
2026-01-02T03:04:05.123456789Z stdout F 0 0
2026-01-02T03:04:06.5+00:00 stdout F 1 1
2026-01-02T03:04:07.000000001Z stderr F 2 2
2026-01-02T03:04:08.25Z stdout F 2 2
"""


def test_a_log_is_read_to_the_nanosecond_and_without_errors() -> None:
    readings = parse_readings(_LOG)
    assert [(reading.one, reading.other) for reading in readings] == [(0, 0), (1, 1), (2, 2)]
    assert readings[1].at - readings[0].at == pytest.approx(1.376543211)


def test_an_edit_that_a_later_one_overtook_counts_as_seen_with_it() -> None:
    readings = (Reading(10.0, 0, 0), Reading(12.5, 2, 2))
    findings = build_findings((11.0, 12.0), [readings])
    assert findings.delays == (1.5, 0.5)
    assert findings.mixed == 0


def test_keys_that_disagree_are_a_mix_and_the_report_fails() -> None:
    findings = build_findings((11.0,), [(Reading(11.5, 1, 0), Reading(11.6, 1, 1))])
    assert findings.mixed == 1
    assert not build_report(findings).met


def test_an_edit_that_a_pod_never_showed_is_no_small_delay() -> None:
    with pytest.raises(ValueError, match="never showed the edit 2"):
        build_findings((11.0, 12.0), [(Reading(11.5, 1, 1),)])
