# SPDX-License-Identifier: Apache-2.0
"""Programmer: RTL against the golden model, and the model against numbers worked by hand."""

import numpy as np
import pytest
from amaranth.hdl import Assume, ResetSignal
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.core.analog.programmer import Programmer
from phasecore.rtl.spec.core import SMALL, TINY
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.programmer import Programmer as Model
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

CONFIGS = {
    "tiny": TINY.replace(verify_iterations=6),
    "small": SMALL.replace(verify_iterations=4),
    "two-devices": TINY.replace(devices_per_polarity=2, verify_iterations=5),
    "tall-four-devices": TINY.replace(
        rows=32, devices_per_polarity=4, post_lanes=16, queue_depth=2, pulse_bits=1,
        verify_iterations=1,
    ),
    "wide": TINY.replace(rows=8, cols=32, queue_depth=8, pulse_bits=4),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.full if name in ("small", "two-devices") else ())
        for name in CONFIGS
    ],
)
def test_programmer_matches_the_model(simulate, name):
    config = CONFIGS[name]
    simulate(
        Programmer(config),
        config,
        bench="phasecore.verification.core.tb_programmer",
        top="programmer",
    )


def test_verilator_agrees(simulate):
    simulate(
        Programmer(CONFIGS["two-devices"]), CONFIGS["two-devices"],
        bench="phasecore.verification.core.tb_programmer", top="programmer", sim="verilator",
    )  # fmt: skip


def test_handshakes_keep_the_stream_rules(tmp_path):
    """Offers stay until they are taken, as long as the crossbar stays idle."""

    def environment(m, programmer):
        m.d.comb += [Assume(~ResetSignal()), Assume(programmer.crossbar_idle)]

    config = TINY.replace(rows=8, cols=8, queue_depth=2, pulse_bits=1)
    contract = StreamContract(
        Programmer(config), requests=("macro", "read"), environment=environment
    )
    prove(contract, name="programmer", tmp_path=tmp_path, depth=12)


class Log:
    """Stub crossbar with fixed codes by (row, polarity); remembers calls."""

    def __init__(self, config, codes=()):
        self.calls = []
        self.codes = dict(codes)
        self.model = Model(
            config,
            read_row=self.read_row,
            set_pulse=lambda *devices: self.note("set", devices),
            reset=lambda *devices: self.note("reset", devices),
        )
        self.cols = config.cols

    def read_row(self, row, polarity):
        self.calls.append(("read", row, polarity))
        codes = self.codes.get((row, polarity), [])
        if codes and isinstance(codes[0], list):
            codes = codes.pop(0)
        return np.array([*codes, *[0] * (self.cols - len(codes))])

    def note(self, kind, devices):
        chosen = [tuple(int(part) for part in device) for device in zip(*devices, strict=True)]
        self.calls.append((kind, *chosen))


ROW_2 = Segment(row_start=2, row_count=1, col_start=0, col_count=4)


def test_blind_pulses_rotate_over_devices():
    log = Log(TINY.replace(devices_per_polarity=2))
    pulses = log.model.pulses([(1, 3, 3), (1, 4, -1), (2, 0, 1), (2, 5, -2)])
    assert pulses.tolist() == [
        [1, 3, 0, 0], [1, 3, 0, 1], [1, 3, 0, 0], [1, 4, 1, 0], [2, 0, 0, 1], [2, 5, 1, 1],
        [2, 5, 1, 0],
    ]  # fmt: skip
    # The third pulse meets the device of the first again.
    assert log.calls == [("set", tuple(device)) for device in pulses.tolist()]
    assert log.model.selection == [0, 1]
    assert np.flatnonzero(log.model.dirty).tolist() == [1, 2]
    assert log.model.set_pulses == 7


def test_no_pulses():
    log = Log(TINY)
    assert log.model.pulses([]).shape == (0, 4)
    assert log.calls == []


def test_worn_pairs_are_rebuilt():
    # High 40, low 20, both exclusive. Columns 0..3: A 41 B 21 worn, target 20; A 40 B 30 not
    # (40 is not above 40); A 50 B 20 not; A 30 B 60 worn, target -30. Column 4 is outside.
    codes = {
        (2, 1): [[41, 40, 50, 30, 90], [19, 0, 0, 0], [20, 0, 0, 0]],
        (2, 2): [[-21, -30, -20, -60, -90], [0, 0, 0, -30]],
    }
    log = Log(TINY, codes)
    log.model.pulses([(2, 9, 1)])
    log.calls.clear()
    log.model.refresh(ROW_2, False, 40, 20)
    assert log.calls == [
        ("read", 2, 1), ("read", 2, 2),
        ("reset", (2, 0, 0, 0), (2, 0, 1, 0), (2, 3, 0, 0), (2, 3, 1, 0)),
        ("read", 2, 1), ("read", 2, 2),
        ("set", (2, 0, 0, 0)),
        ("read", 2, 1),
    ]  # fmt: skip
    assert log.model.refreshed == 2
    assert log.model.reset_pulses == 4
    assert log.model.unverified == 0
    assert not log.model.dirty.any()


def test_clean_rows_are_not_read():
    log = Log(TINY)
    log.model.refresh(ROW_2, False, 40, 20)
    assert log.calls == []
    log.model.refresh(ROW_2, True, 40, 20)
    assert log.calls == [("read", 2, 1), ("read", 2, 2)]


def test_programming_gives_up_after_the_last_pulse():
    config = TINY.replace(devices_per_polarity=2, verify_iterations=2)
    log = Log(config, {(5, 1): [9, 0, 0, 0], (5, 2): [0, 0, -4, 0]})
    # Column 0 has reached 9, column 1 is 0, column 2 stays at -4 of -5, column 3 at 0 of 1.
    log.model.program(ROW_2, 5, [9, 0, -5, 1])
    resets = [(5, col, negative, device) for col in range(4) for negative in (0, 1)
              for device in (0, 1)]  # fmt: skip
    assert log.calls == [
        ("reset", *resets),
        ("read", 5, 1), ("read", 5, 2), ("set", (5, 2, 1, 0), (5, 3, 0, 0)),
        ("read", 5, 1), ("read", 5, 2), ("set", (5, 2, 1, 1), (5, 3, 0, 1)),
    ]  # fmt: skip
    assert log.model.unverified == 2
    assert log.model.set_pulses == 4
    assert log.model.reset_pulses == 16
    assert not log.model.dirty.any()


def test_most_negative_target_is_symmetric():
    log = Log(TINY, {(0, 2): [-127]})
    log.model.program(Segment(row_start=0, row_count=1, col_start=0, col_count=1), 0, [-128])
    assert log.calls == [("reset", (0, 0, 0, 0), (0, 0, 1, 0)), ("read", 0, 2)]


PULSES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-7, 7).filter(bool)), max_size=20
)


@given(pulses=PULSES, split=st.integers(0, 20), devices=st.sampled_from([1, 2, 4, 8]))
def test_pulses_are_spread_evenly_and_in_order(pulses, split, devices):
    """Splitting a sequence changes nothing; every call has a device once; none is lost."""
    config = TINY.replace(devices_per_polarity=devices, lsb_log2_max=21)
    whole, parts = Log(config), Log(config)
    named = whole.model.pulses(pulses)
    named_parts = [parts.model.pulses(pulses[:split]), parts.model.pulses(pulses[split:])]
    assert named.tolist() == np.concatenate(named_parts).tolist()
    assert whole.model.selection == parts.model.selection
    assert len(named) == sum(abs(p) for _, _, p in pulses)
    for kind in (0, 1):
        used = named[named[:, 2] == kind, 3]
        assert used.tolist() == [i % devices for i in range(len(used))]
    pulsed = []
    for _, *chosen in whole.calls:
        assert len(set(chosen)) == len(chosen)
        pulsed += chosen
    assert sorted(pulsed) == sorted(map(tuple, named.tolist()))
