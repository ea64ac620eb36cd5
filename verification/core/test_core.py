# SPDX-License-Identifier: Apache-2.0
"""The whole core against the golden model: random programs, every observable result."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from phasecore.models.golden.core import Core
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.core import SHORTEST_WINDOW, SMALL, TINY
from phasecore.rtl.spec.instructions import Axis, Drift, Function, Opcode, Segment, encode
from phasecore.verification.cosim import core as core_session
from phasecore.verification.cosim.core import Batch, compare, compare_state, read_trace
from phasecore.verification.cosim.counters import COUNTERS
from phasecore.verification.cosim.random_programs import RandomProgram

DRIFT = {
    "DRIFT_BASELINE": lambda core: core.adc.drift_baseline,
    "DRIFT_SCALE": lambda core: core.adc.drift_scale,
}
"""Registers of the drift compensation, and where the model has the same."""


def check(config, folder, *, sim, seed, batches, length, profile, has_overranges=False):
    """Run random programs on hardware and model; return the number of compared ADC codes.

    ``has_overranges``: some lines must reach the limit of their converters.
    """
    rng = random.Random(seed)
    core = Core(config, DeviceProfile.load(profile), seed)
    core.refresh_high, core.refresh_low = 40, 5
    programs = [RandomProgram(config, rng, length) for _ in range(batches)]
    times = [rng.getrandbits(rng.randrange(33)) for _ in programs]
    codes = check_programs(core, programs, folder, sim=sim, seed=seed, times=times)
    assert core.adc.overranges or not has_overranges, "no line was ever at its limit"
    return codes


def check_programs(core, programs, folder, *, sim, seed, times=None):
    """Run programs on hardware and model; return the number of compared ADC codes.

    ``times`` are those of the programs in seconds since power-up, by default 0.
    """
    config, times = core.config, times or [0] * len(programs)
    core_session.write_macro(folder, core)
    for index, program in enumerate(programs):
        batch = Batch(config, packets=program.packets)
        if index == 0:
            batch.write("DRIFT_BASELINE", core.adc.drift_baseline)
        batch.write("TIME_S", times[index])
        batch.write("REFRESH_HIGH", core.refresh_high)
        batch.write("REFRESH_LOW", core.refresh_low)
        batch.load(program.words, program.segments)
        batch.run()
        batch.read("FAULT_COUNT", *COUNTERS, *DRIFT)
        batch.dump()
        batch.save(folder, index)
    build = core_session.build_top(config, sim=sim)
    core_session.simulate(build, folder, config, sim=sim, seed=seed, batches=len(programs))
    codes = 0
    for index, program in enumerate(programs):
        core.segments = list(program.segments)
        core.crossbar.set_time(times[index])
        results = core.run(program.words, program.packets)
        hardware = read_trace(folder / f"trace_{index}.txt", config)
        mismatches = compare(hardware, core.trace, results, config.lines)
        for name, value in (COUNTERS | DRIFT).items():
            if hardware.register(config, name) != value(core):
                mismatches.append(f"{name}: {hardware.register(config, name)}, not {value(core)}")
        if hardware.register(config, "FAULT_COUNT"):
            mismatches.append("the hardware counted errors")
        mismatches += compare_state(folder, index, core)
        assert not mismatches, f"batch {index}, seed {seed}: " + "; ".join(mismatches[:5])
        codes += len(hardware.codes)
        core.trace = type(core.trace)()
    return codes


@pytest.mark.parametrize(
    ("profile", "devices"),
    [
        ("pcm_inference", 2),
        *(
            pytest.param(profile, devices, marks=pytest.mark.full)
            for profile, devices in (
                ("pcm", 1),
                ("ideal", 1),
                ("ideal", 2),
                ("pcm", 2),
                ("pcm_drift", 1),
            )
        ),
    ],
)
def test_random_programs_in_icarus(tmp_path, seed, profile, devices):
    config = TINY.replace(devices_per_polarity=devices)
    codes = check(config, tmp_path, sim="icarus", seed=seed, batches=6, length=50, profile=profile)
    assert codes > 100


SHAPES = {
    "tall": TINY.replace(
        rows=32,
        input_bits=6,
        devices_per_polarity=4,
        update_lanes=16,
        chi_bits=24,
        lsb_log2_min=6,
        adc_bits=6,
    ),
    "wide": TINY.replace(
        rows=8,
        cols=64,
        input_bits=5,
        update_lanes=64,
        chi_bits=13,
        pulse_bits=1,
        lsb_log2_min=4,
        increment_bits=7,
        adc_bits=7,
    ),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_random_programs_on_other_shapes(tmp_path, seed, config):
    codes = check(
        config,
        tmp_path,
        sim="icarus",
        seed=seed + 2,
        batches=4,
        length=50,
        profile="pcm",
        has_overranges=True,
    )
    assert codes > 100


def test_read_out_keeps_up_with_the_shortest_windows(tmp_path, seed):
    """As many words as a window of 5-bit inputs has cycles, products in a stream."""
    config = TINY.replace(rows=8, cols=128)
    assert config.blocks == SHORTEST_WINDOW
    core = Core(config, DeviceProfile.load("pcm"), seed)
    segment = Segment(
        row_start=0, row_count=8, col_start=0, col_count=128, forward_lsb_log2=config.lsb_log2_min
    )
    steps = []
    for slot in (0, 1, 0, 1):
        steps += [
            encode(
                Opcode.FORWARD, segment=0, slot=slot, precision=5, input_signs=3, polarities=3
            ),
            encode(
                Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
                function=Function.IDENTITY, shift=7, affine=0, table=0, destination=2,
                destination_line=0,
            ),
        ]  # fmt: skip
    loads = [encode(Opcode.LOAD, affine=0, slot=slot) for slot in (0, 1)]
    rng = random.Random(seed)
    packets = [
        vector_packet([rng.randint(-127, 127) for _ in range(8)], config=config, start=0)
        for _ in loads
    ]
    program = SimpleNamespace(
        words=[*loads, *steps, encode(Opcode.HALT)], packets=packets,
        segments=[segment],
    )  # fmt: skip
    assert check_programs(core, [program], tmp_path, sim="icarus", seed=seed) == 4 * 128


def product(config, rng_seed, *first, slot=1):
    """Program: instructions, then a product of the whole array with a random vector."""
    codes = np.random.default_rng(rng_seed).integers(-127, 128, config.rows)
    segment = Segment(
        row_start=0, row_count=config.rows, col_start=0, col_count=config.cols,
        forward_lsb_log2=config.drift_lsb_log2 + config.input_bits - 10,
    )  # fmt: skip
    words = [
        *first,
        encode(Opcode.LOAD, affine=0, slot=0),
        encode(
            Opcode.FORWARD, segment=0, slot=0, precision=config.input_bits, input_signs=3,
            polarities=3,
        ),
        encode(
            Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
            function=Function.IDENTITY, shift=7, affine=0, table=0, destination=slot,
            destination_line=0,
        ),
        encode(Opcode.HALT),
    ]  # fmt: skip
    packet = vector_packet(codes, config=config, start=0)
    return SimpleNamespace(words=words, packets=[packet], segments=[segment])


BASELINE, COMPENSATE = (
    encode(Opcode.CALIBRATE, drift=drift) for drift in (Drift.BASELINE, Drift.COMPENSATE)
)


def conductances(config, seed):
    """Conductance codes of all devices, evenly spread."""
    shape = config.rows, config.cols, 2, config.devices_per_polarity
    return np.random.default_rng(seed).integers(0, config.g_max + 1, shape)


@pytest.mark.parametrize("config", [TINY, SHAPES["tall"].replace(adc_bits=8)], ids=["tiny", "tall"])
def test_drift_compensation_after_a_power_cycle(tmp_path, seed, config):
    """The host has kept the baseline; devices that have lost 40 % give the products of before."""
    products, baseline = [], 0
    for calibrate, factor in ((BASELINE, 1), (COMPENSATE, 0.6)):
        initial = (factor * conductances(config, seed)).astype(np.int64)
        core = Core(config, DeviceProfile.load("ideal"), seed, initial=initial)
        core.adc.drift_baseline = baseline
        folder = tmp_path / str(factor)
        folder.mkdir()
        check_programs(core, [product(config, seed, calibrate)], folder, sim="icarus", seed=seed)
        baseline = core.adc.drift_baseline
        products.append(core.slots[1, : config.cols].copy())
    assert core.adc.drift_scale / 1024 == pytest.approx(1 / 0.6, rel=0.01)
    assert np.abs(products[0]).mean() > 30
    inside = np.abs(products[0]) < 120
    assert (np.abs(products[1] - products[0]) <= 4)[inside].all()


def test_drift_compensation_after_a_day(tmp_path, seed):
    """Devices that drift by themselves: what a day takes from the products comes back."""
    initial = conductances(TINY, seed)
    core = Core(TINY, DeviceProfile.load("pcm_inference"), seed, initial=initial)
    programs = [
        product(TINY, seed, BASELINE, slot=1),
        product(TINY, seed, slot=2),
        product(TINY, seed, COMPENSATE, slot=3),
    ]
    check_programs(
        core, programs, tmp_path, sim="icarus", seed=seed, times=[25, 25 + 86400, 25 + 86400]
    )
    fresh, drifted, restored = np.abs(core.slots[1:4, : TINY.cols]).mean(axis=1)
    assert core.adc.drift_scale > 1.3 * 1024
    assert drifted < 0.9 * fresh
    assert restored == pytest.approx(fresh, rel=0.15)


@pytest.mark.parametrize(
    ("config", "batches"),
    [(TINY, 30), pytest.param(SMALL, 30, marks=pytest.mark.full)],
    ids=["tiny", "small"],
)
def test_random_programs_in_verilator(tmp_path, seed, config, batches):
    codes = check(
        config, tmp_path, sim="verilator", seed=seed + 1, batches=batches, length=50, profile="pcm"
    )
    assert codes > 500
