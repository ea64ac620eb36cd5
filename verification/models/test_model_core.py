# SPDX-License-Identifier: Apache-2.0
"""What the golden model of the core refuses, and what its drift compensation restores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import (
    affine_bytes,
    affine_packet,
    vector_bytes,
    vector_packet,
)
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import Axis, Drift, Function, Opcode, Segment, encode

HALT = encode(Opcode.HALT)
MVM = {"segment": 0, "slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
ACTIVATE = {
    "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0,
    "function": Function.IDENTITY, "shift": 7, "affine": 0, "table": 0, "destination": 1,
    "destination_line": 0,
}  # fmt: skip
DELTA = {
    "segment": 0, "axis": Axis.COLS, "source": 0, "slot": 0, "output": 0,
    "function": Function.IDENTITY, "fixed": 0, "shift": 0, "bias": 0, "destination": 1,
    "destination_line": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (31, r"31 is not a valid Opcode"),
        (HALT | 1 << 63, r"HALT: unused bits of 0x8000000000000000 are not zero"),
        (
            encode(Opcode.READ, slot=8, first_line=0, length=8),
            r"READ: slot must be in 0\.\.7, not 8",
        ),
        (
            encode(Opcode.READ, slot=0, first_line=4, length=8),
            r"READ: first_line must be a multiple of 8, ",
        ),
        (
            encode(Opcode.READ, slot=0, first_line=8, length=9),
            r"READ: length must be in 1\.\.8, not 9",
        ),
        (
            encode(Opcode.READ, slot=0, first_line=0, length=0),
            r"READ: length must be in 1\.\.16, not 0",
        ),
        (encode(Opcode.LOAD, affine=1, slot=2), r"LOAD: slot must be in 0\.\.1, not 2"),
        (encode(Opcode.FORWARD, **MVM | {"precision": 4}), r"FORWARD: precision must be in 5\.\.8"),
        (encode(Opcode.BACKWARD, **MVM | {"segment": 1}), r"segment rows 9\.\.16 are outside 0\."),
        (encode(Opcode.FORWARD, **MVM | {"segment": 2}), r"segment 2 is not defined"),
        (encode(Opcode.FORWARD, **MVM | {"segment": 9}), r"segment 9 is not defined"),
        (encode(Opcode.ACTIVATE, **ACTIVATE | {"table": 2}), r"ACTIVATE: table must be in 0\.\.1"),
        (
            encode(Opcode.ACTIVATE, **ACTIVATE | {"destination_line": 16}),
            r"ACTIVATE: destination_line must be in 0\.\.1",
        ),
        (encode(Opcode.DELTA, **DELTA | {"function": 0}), r"DELTA: function must be in 1\.\.4"),
        (encode(Opcode.CALIBRATE, drift=3), r"CALIBRATE: drift must be in 0\.\.2, not 3"),
        (encode(Opcode.PROGRAM, segment=0, row=7, slot=0), r"PROGRAM: row must be in 8\.\.9"),
        (encode(Opcode.LOOP, counter=0, target=0, count=0), r"LOOP: count must be in 1\.\."),
        (encode(Opcode.LOOP, counter=0, target=64, count=2), r"LOOP: target must be in 0\.\.63"),
    ],
)
def test_illegal_instructions_are_refused(word, message):
    core = Core(TINY, IDEAL, 1)
    legal = Segment(row_start=8, row_count=2, col_start=0, col_count=16)
    core.segments[:2] = [legal, Segment(row_start=9, row_count=8, col_start=0, col_count=1)]
    with pytest.raises(ValueError, match=rf"^{message}"):
        core.run([word, HALT])


SHAPES = {
    "square": TINY,
    "wide": TINY.replace(rows=8, cols=64, devices_per_polarity=2),
    "tall": TINY.replace(rows=64, input_bits=6),
}


def test_memory_written_by_registers_is_that_of_packets():
    """Also where a slot had an exponent, and lines of two slots are written at once."""
    rng = np.random.default_rng(3)
    vectors, offsets = rng.integers(-127, 128, (2, 16)), rng.integers(-128, 128, 16)
    scales = rng.integers(0, 256, 16)
    loaded, written = Core(TINY, IDEAL, 1), Core(TINY, IDEAL, 1)
    for core in (loaded, written):
        core.exponents[:] = -3
    packets = [*(vector_packet(codes, config=TINY) for codes in vectors)]
    packets.append(affine_packet(scales, offsets, config=TINY))
    loads = [encode(Opcode.LOAD, affine=0, slot=slot) for slot in (4, 5)]
    loaded.run([*loads, encode(Opcode.LOAD, affine=1, slot=1), HALT], packets)
    written.write_memory(64, vector_bytes(vectors.reshape(-1), config=TINY))
    written.write_memory(0x8000_0020, affine_bytes(scales, offsets))
    for name in ("slots", "exponents", "scales", "offsets"):
        assert (getattr(written.cores, name) == getattr(loaded.cores, name)).all(), name
    assert (written.trace.vectors == loaded.trace.vectors).all()


def test_memory_behind_the_slots_has_no_exponent():
    core = Core(TINY.replace(objects=4, routes=4, vector_words=32), IDEAL, 1)
    core.exponents[:] = -3
    core.write_memory(TINY.slots * TINY.lines - 4, vector_bytes(range(8), config=TINY))
    assert core.exponents.tolist() == [-3] * 7 + [0]
    assert core.slots.reshape(-1)[124:132].tolist() == [*range(8)]


@pytest.mark.parametrize(
    ("address", "length", "message"),
    [
        (2, 4, r"^address and length must be multiples of 4, not 0x2 and 4$"),
        (0, 3, r"^address and length must be multiples of 4, not 0x0 and 3$"),
        (124, 8, r"^0x7c and 8 bytes from there are not in a memory$"),
        (0x8000_0040, 4, r"^0x80000040 and 4 bytes from there are not in a memory$"),
        (1 << 32, 4, r"^0x100000000 and 4 bytes from there are not in a memory$"),
    ],
    ids=["address", "length", "slots", "tables", "space"],
)
def test_memory_outside_is_refused(address, length, message):
    with pytest.raises(ValueError, match=message):
        Core(TINY, IDEAL, 1).write_memory(address, bytes(length))


def products(core, slot=0):
    """Codes of a forward product at a range that uses many of them."""
    config = core.config
    core.segments[0] = Segment(
        row_start=0, row_count=config.rows, col_start=0, col_count=config.cols,
        forward_lsb_log2=config.drift_lsb_log2 - 2,
    )  # fmt: skip
    mvm = MVM | {"slot": slot, "precision": config.input_bits}
    core.run([encode(Opcode.FORWARD, **mvm), encode(Opcode.ACTIVATE, **ACTIVATE), HALT])
    return core.trace.codes[-config.cols :]


def calibrate(core, drift=Drift.NONE):
    core.run([encode(Opcode.CALIBRATE, drift=drift), HALT])


def compensated(config, profile, factor, seed):
    """Core after a baseline, conductances ``factor`` times as large, and COMPENSATE.

    Besides its codes of a product before and after.
    """
    rng = np.random.default_rng(seed)
    shape = config.rows, config.cols, 2, config.devices_per_polarity
    core = Core(config, profile, seed % 1000, initial=rng.integers(0, 3300, shape))
    core.slots[0] = rng.integers(-127, 128, config.lines)
    calibrate(core, Drift.BASELINE)
    before = products(core)
    core.crossbar.conductance[...] = np.rint(factor * core.crossbar.conductance)
    core.crossbar.refresh_weights()
    calibrate(core, Drift.COMPENSATE)
    return core, before, products(core)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@given(factor=st.floats(0.3, 1.2), seed=st.integers(0, 2**32 - 1))
def test_compensation_restores_the_codes(config, factor, seed):
    """Of conductances that have all become ``factor`` times as large, within the roundings.

    Those are a count of each of the two products, the later of which is scaled, that of the code,
    and 1/512 of gain and scale; where there is no read noise. A drift read rounds each line's
    count once per polarity and counts it 16 times: 6 sigma of the sum of these uniform errors.
    """
    core, before, after = compensated(config, IDEAL, factor, seed)
    scale = core.adc.drift_scale / 1024
    rounding = 6 * 16 * np.sqrt(2 * config.lines / 12) / core.adc.drift_baseline
    tolerance = 0.001 + rounding * np.hypot(1, 1 / factor)
    assert scale == pytest.approx(1 / factor, rel=tolerance)
    inside = np.abs(before) < 120
    bound = 1.5 + scale + (0.004 + tolerance) * np.abs(before)
    assert (np.abs(after - before) <= bound)[inside].all()
    assert core.adc.calibration_errors == 0


@settings(max_examples=20)
@given(factor=st.floats(0.3, 1.2), seed=st.integers(0, 2**32 - 1))
def test_the_scale_does_not_depend_on_converters_and_earlier_scales(factor, seed):
    """Lines with gains, offsets and noise; compensating twice is compensating once."""
    core, *_ = compensated(TINY, PCM, factor, seed)
    for _ in range(2):
        assert core.adc.drift_scale / 1024 == pytest.approx(1 / factor, rel=0.02)
        gains = core.adc.gains.copy()
        calibrate(core, Drift.COMPENSATE)
        assert core.adc.gains == pytest.approx(gains, rel=0.02)
    calibrate(core)
    assert core.adc.gains == pytest.approx(gains * factor, rel=0.02)
    assert core.adc.drift_scale == 1024
