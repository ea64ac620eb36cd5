# SPDX-License-Identifier: Apache-2.0
"""Cycles per operation as formulas of the configuration, and the verdicts of the table."""

import json
from dataclasses import asdict

import pytest

from phasecore.rtl.spec.core import DEFAULT, TINY
from phasecore.scripts.commands import bench_core
from phasecore.scripts.commands.bench_core import Row, cycle_rows, with_targets
from phasecore.verification.cosim import core_timing
from phasecore.verification.cosim.core import build_top
from phasecore.verification.cosim.core_timing import Events


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("bench")
    return core_timing.measure(TINY, build_top(TINY, sim="icarus"), folder, sim="icarus")


def test_product(cycles):
    assert cycles["mvm_from_window"] == TINY.window_cycles + 1
    # Command, one read per word, last word, start.
    assert cycles["mvm_from_command"] == TINY.window_cycles + 1 + 3 + TINY.blocks


def test_windows_follow_without_a_gap(cycles):
    assert cycles["bare_period"] == TINY.window_cycles
    assert cycles["stream_period"] == TINY.window_cycles


def test_post_processing(cycles):
    assert cycles["post_passes"] == TINY.blocks
    # Converter, product, sum, value, rotator: what the last block needs behind its read.
    assert cycles["post_cycles"] == TINY.blocks - 1 + 6


def test_update(cycles):
    words = TINY.rows * TINY.chi_words_per_row
    loads = (TINY.rows + TINY.cols) // TINY.post_lanes
    assert cycles["update_cycles"] == words + loads + 3
    assert cycles["update_half_cycles"] == cycles["update_cycles"] - words // 2
    assert cycles["update_empty_cycles"] == loads + 1
    assert cycles["transfer_cycles"] == cycles["update_cycles"]


def test_pulses(cycles):
    pulses = core_timing.pulses_in_a_row(TINY)
    # Queue, entry, selection, macro; then the pulse.
    assert cycles["pulse_cycles"] == TINY.set_cycles + 4
    assert cycles["row_fires"] == 1
    assert cycles["row_pulse_cycles"] * pulses == pulses - 1 + TINY.set_cycles + 4
    assert cycles["repeated_pulse_cycles"] == TINY.set_cycles + 1


def test_events_are_read_as_runs():
    events = Events("10 8003\n11 8000\n20 0003\n22 0000\n23 0002\n")
    assert events.cycles("mvm_taken").tolist() == [10, 20, 21]
    assert events.spans("window_first").tolist() == [[10, 11], [20, 22], [23, 24]]
    assert events.lengths("window_first") == [1, 2, 1]
    assert events.lengths("fired") == []


def test_latched_is_every_new_number():
    assert Events("5 0000\n9 2000\n12 2001\n30 4000\n").latched().tolist() == [9, 30]


def test_verdicts():
    def row(value: float) -> str:
        return Row(name="x", value=value, unit="", at_least=2, at_most=3).verdict

    assert [row(1.9), row(2), row(3), row(3.1)] == ["fail", "pass", "pass", "fail"]
    assert Row(name="x", value=1, unit="").verdict == ""


def test_default_targets():
    names = (
        "mvm_from_window", "mvm_from_command", "stream_period", "bare_period", "post_cycles",
        "post_passes", "update_cycles", "update_half_cycles", "update_empty_cycles",
        "transfer_cycles", "pulse_cycles", "row_pulse_cycles", "repeated_pulse_cycles",
    )  # fmt: skip
    rows = {row.name: row for row in cycle_rows(DEFAULT, dict.fromkeys(names, 130.0))}
    latency = rows["MVM, first window cycle to codes"]
    assert (latency.at_most, latency.reference, latency.verdict) == (130, 130, "pass")
    assert rows["Affine + ReLU, passes"].at_most == 4
    assert rows["chi update, use of the lanes"].at_least == 95
    several = list(rows.values())
    assert with_targets(several, DEFAULT) == several
    others = with_targets(several, TINY)
    assert {row.verdict for row in others} == {""}
    assert [row.value for row in others] == [row.value for row in several]


def test_another_commit_stands_beside(tmp_path):
    """By the names of the rows; a file of another command is refused before the work."""
    old = tmp_path / "old.json"
    rows = [{"name": "Transfer of the whole array", "value": 530.0}, {"name": "gone", "value": 1}]
    old.write_text(json.dumps({"commit": "54c8114" + 33 * "0", "rows": rows}), encoding="utf-8")
    values = {"Transfer of the whole array": 530.0, "gone": 1.0}
    assert bench_core.earlier(old) == ("54c8114" + 33 * "0", values)
    result = {
        "before": "54c8114" + 33 * "0",
        "rows": [
            {**asdict(Row(name="Transfer of the whole array", value=521, unit="cycles")),
             "before": 530.0, "verdict": ""},
            {**asdict(Row(name="new", value=2, unit="")), "before": None, "verdict": ""},
        ],
    }  # fmt: skip
    lines = bench_core.table(result).splitlines()
    assert lines[0].startswith("| operation | measured | 54c8114 | unit |")
    assert lines[2].startswith("| Transfer of the whole array | 521 | 530 | cycles |")
    assert lines[3].startswith("| new | 2 |  |  |")
    for bad in ('{"commit": "x", "rows": [1]}', '{"rows": []}'):
        old.write_text(bad, encoding="utf-8")
        with pytest.raises(ValueError, match=r"old\.json is no result of bench core"):
            bench_core.earlier(old)
