# SPDX-License-Identifier: Apache-2.0
"""Compiled cores have the bits of the oracle, program by program and network by network."""

import random
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.mapping import NONE_SENT, ChipMapping, map_network
from phasecore.models.compiler.networks import CHIP_NETWORKS, NETWORKS
from phasecore.models.engine.programs import Decoder
from phasecore.models.golden import packet_arrays as kernel_packets
from phasecore.models.golden import trace as log
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import vector_packet
from phasecore.models.golden.state import CoreState
from phasecore.models.training.learner import Learner
from phasecore.models.training.model import Kinds
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import (
    Axis,
    Drift,
    Function,
    Opcode,
    Segment,
    encode,
)
from phasecore.verification.cosim.random_programs import RandomProgram
from phasecore.verification.models.same import (
    FORWARD,
    HALT,
    PROFILES,
    assert_same_chip,
    assert_same_core,
    assert_same_results,
    assert_same_traces,
    configure,
    error,
)
from phasecore.verification.oracle.chip import Chip as OracleChip
from phasecore.verification.oracle.core import Core as OracleCore

# Cores

CONFIGS = {
    "tiny": TINY,
    "wide, 4 devices": TINY.replace(
        rows=8, cols=32, devices_per_polarity=4, g_bits=14, lsb_log2_max=28
    ),
    "high, coarse": TINY.replace(
        rows=64, cols=16, devices_per_polarity=2, g_bits=6, chi_bits=8, pulse_bits=1, input_bits=6,
        lsb_log2_max=14, verify_iterations=3,
    ),
    "long words": TINY.replace(
        chi_bits=24, acc_bits=32, lsb_log2_min=4, lsb_log2_max=12, update_lanes=4
    ),
}  # fmt: skip


@PROFILES
@pytest.mark.parametrize("name", CONFIGS)
def test_random_programs(name, profile, seed):
    """Programs in a row on the same core."""
    config = CONFIGS[name]
    rng = random.Random(f"{name} {profile.name} {seed}")
    one, other = OracleCore(config, profile, seed), Core(config, profile, seed)
    for _ in range(5):
        program = RandomProgram(config, rng, 60)
        high, low = rng.choice([(100, 20), (12, 3)])
        time = rng.getrandbits(rng.randrange(33))
        for core in (one, other):
            core.crossbar.set_time(time)
            core.segments = list(program.segments)
            core.refresh_high, core.refresh_low = high, low
        bad = [bytes(rng.randrange(256) for _ in range(rng.randrange(20))), program.packets[0][:-1]]
        packets = [*bad, *program.packets]
        assert_same_results(*(core.run(program.words, packets) for core in (one, other)))
        assert_same_core(one, other)
        assert_same_traces(one, other)
    assert one.dropped_packets > 0
    assert one.programmer.set_pulses > 0
    assert one.adc.overranges or config.lsb_log2_min == 10


def test_bounds_follow_the_weights():
    """Pulses bring a line to the limit of its converter in a program that began far below it."""
    config = TINY.replace(lsb_log2_min=8)
    segment = Segment(
        row_start=0,
        row_count=16,
        col_start=0,
        col_count=1,
        forward_lsb_log2=8,
        backward_lsb_log2=8,
        threshold=1,
        chi_shift=-7,
    )
    x = np.full(16, 127)
    steps = [
        encode(Opcode.LOAD, affine=0, slot=0), encode(Opcode.LOAD, affine=0, slot=1),
        *[encode(Opcode.OUTER, segment=0, slot=0, delta=1, transfer=1)] * 3,
        encode(
            Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3
        ),
        encode(
            Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
            function=Function.IDENTITY, shift=7, affine=0, table=0, destination=2,
            destination_line=0,
        ),
        HALT,
    ]  # fmt: skip
    packets = [vector_packet(x, config=config) for _ in range(2)]
    cores = OracleCore(config, IDEAL, 1, initial=0), Core(config, IDEAL, 1, initial=0)
    for core in cores:
        core.segments[0] = segment
        core.run(steps, packets)
    assert_same_core(*cores)
    assert cores[0].adc.overranges == 1


@PROFILES
@pytest.mark.parametrize("name", CONFIGS)
def test_drift_compensation(name, profile, seed):
    """Baselines, scales and what cannot be compared, with conductances that change between."""
    config = CONFIGS[name]
    cores = OracleCore(config, profile, seed), Core(config, profile, seed)
    shape = cores[0].crossbar.conductance.shape
    conductances = np.random.default_rng(seed).integers(config.g_max // 2, size=shape)
    steps = [
        (Drift.COMPENSATE, 1), (Drift.BASELINE, 1), (Drift.COMPENSATE, 0.7),
        (Drift.COMPENSATE, 0.1), (Drift.COMPENSATE, 0), (Drift.NONE, 0.7), (Drift.COMPENSATE, 1.5),
        (Drift.BASELINE, 0), (Drift.COMPENSATE, 1), (Drift.BASELINE, 1.5),
    ]  # fmt: skip
    scales = []
    for drift, factor in steps:
        for core in cores:
            core.crossbar.conductance[...] = conductances * factor
            core.crossbar.refresh_weights()
            core.run([encode(Opcode.CALIBRATE, drift=drift), HALT])
        assert_same_core(*cores)
        scales.append(cores[0].adc.drift_scale)
    assert scales[2] > 1200
    assert scales[3] == 4095
    assert scales[6] < 900


def test_log_beyond_the_room_at_first(monkeypatch, seed):
    """A log that is full makes the programs wait, between two instructions, until it is larger."""
    monkeypatch.setattr(log, "_ROOM", 16)
    one, other = OracleCore(TINY, PCM, 1), Core(TINY, PCM, 1)
    program = RandomProgram(TINY, random.Random(seed), 60)
    for core in (one, other):
        core.segments = list(program.segments)
    assert_same_results(*(core.run(program.words, program.packets) for core in (one, other)))
    assert_same_traces(one, other)
    assert len(other.trace.codes) > 16


def test_results_beyond_the_room_at_first(monkeypatch):
    monkeypatch.setattr(kernel_packets, "RESULTS", 1)
    one, other = OracleCore(TINY, IDEAL, 1), Core(TINY, IDEAL, 1)
    program = [
        encode(Opcode.READ, slot=0, first_line=0, length=1),
        encode(Opcode.READ, slot=1, first_line=8, length=8),
        encode(Opcode.LOOP, counter=0, target=0, count=20),
        HALT,
    ]
    for core in (one, other):
        core.slots[:2] = np.arange(32).reshape(2, 16)
    results = other.run(program)
    assert len(results) == 40
    assert_same_results(one.run(program), results)


@pytest.mark.parametrize(
    ("program", "packets"),
    [
        ([31, HALT], []),
        ([encode(Opcode.READ, slot=8, first_line=0, length=8), HALT], []),
        ([encode(Opcode.TRANSFER, segment=0), HALT], []),
        ([encode(Opcode.AWAIT, objects=0), HALT], []),
        ([encode(Opcode.WAIT, units=1)], []),
        ([], []),
        ([encode(Opcode.LOAD, affine=0, slot=0), HALT], [b"nothing"]),
    ],
)
def test_what_the_hardware_refuses(program, packets):
    one, other = OracleCore(TINY, IDEAL, 1), Core(TINY, IDEAL, 1)
    errors = []
    for core in (one, other):
        with pytest.raises(ValueError, match=r".") as raised:
            core.run(program, packets)
        errors.append(str(raised.value))
    assert errors[0] == errors[1]
    assert_same_core(one, other)


@pytest.mark.parametrize(
    ("own", "exponent"),
    [
        (encode(Opcode.WAIT, units=1), 5 + 3),
        (encode(Opcode.CALIBRATE), 3),
        (encode(Opcode.CALIBRATE, drift=Drift.BASELINE), 3),
        (encode(Opcode.REFRESH, segment=0, all_rows=1), 3),
        (encode(Opcode.PROGRAM, segment=0, row=9, slot=3), 3),
    ],
)
def test_only_products_have_an_exponent(own, exponent):
    """Windows of calibration and row reads replace the latest product's, and have exponent 0.

    A target of -128 counts as -127, which a gain above 1 lets the largest conductances reach.
    """
    one, other = OracleCore(TINY, IDEAL, 1), Core(TINY, IDEAL, 1)
    for core in (one, other):
        core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
        core.slots[:] = np.arange(-8, 8)
        core.slots[3] = -128
        core.exponents[0] = 5
        core.adc.gains[:] = 300
        core.run([FORWARD, own, error(), HALT])
        assert core.exponents[1] == exponent
        assert core.programmer.unverified == 0
    assert_same_core(one, other)


def test_counters_of_the_macro_wrap():
    """Windows and events of a device are counted in 32 bits, which the hash takes."""
    one, other = OracleCore(TINY, PCM, 1), Core(TINY, PCM, 1)
    outer = encode(Opcode.OUTER, segment=0, slot=0, delta=1, transfer=1)
    for core in (one, other):
        core.segments[0] = Segment(
            row_start=0, row_count=16, col_start=0, col_count=16, threshold=900
        )
        core.slots[:2] = np.arange(-120, 121, 16)
        core.crossbar.windows = 2**32 - 1
        core.crossbar.events[:] = 2**32 - 2
        core.run([
            FORWARD, outer, FORWARD, encode(Opcode.PROGRAM, segment=0, row=3, slot=0), FORWARD,
            error(), HALT,
        ])  # fmt: skip
        assert 2 < core.crossbar.windows < 100
        events = core.crossbar.events.reshape(-1)
        assert {0, 2**32 - 1} <= set(events[events < 2**32])
        assert events.max() < 2**32
    assert_same_core(one, other)


def test_segments_are_not_remembered():
    """The same words mean something else when their segment has changed."""
    outer = encode(Opcode.OUTER, segment=0, slot=0, delta=1, transfer=1)
    one, other = OracleCore(TINY, PCM, 1), Core(TINY, PCM, 1)
    segment = Segment(row_start=0, row_count=16, col_start=0, col_count=16, threshold=1000)
    for columns, threshold in ((16, 1000), (7, 1000), (7, 20)):
        for core in (one, other):
            core.slots[:2] = np.arange(-8, 8)
            core.segments[0] = replace(segment, col_count=columns, threshold=threshold)
            core.run([outer, outer, HALT])
        assert_same_core(one, other)
    for core in (one, other):
        core.segments[0] = replace(segment, col_count=17)
        with pytest.raises(ValueError, match=r"^segment cols 0\.\.16 are outside 0\.\.15$"):
            core.run([outer, HALT])


def test_live_lines():
    """Of a product only what is read out before the next window counts, loops included."""
    core = Core(TINY, IDEAL, 1)
    core.segments[:2] = [
        Segment(row_start=2, row_count=3, col_start=1, col_count=4),
        Segment(row_start=9, row_count=4, col_start=6, col_count=5),
    ]
    fields = {"slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
    unused = dict.fromkeys(
        ("slot", "accumulate", "shift", "affine", "table", "destination_line"), 0
    )

    def activate(segment, side, from_slot=0):
        return encode(
            Opcode.ACTIVATE, segment=segment, axis=side, from_slot=from_slot,
            function=Function.NONE, destination=0, **unused,
        )  # fmt: skip

    program = [
        activate(1, 1),
        activate(1, 0, from_slot=1),
        encode(Opcode.FORWARD, segment=0, **fields),
        activate(0, 0),
        encode(Opcode.LOOP, counter=0, target=0, count=2),
        encode(Opcode.BACKWARD, segment=0, **fields),
        encode(Opcode.FORWARD, segment=0, **fields),
        HALT,
    ]
    code = Decoder(TINY).decode(program, core.segments)
    live = [(int(code["live_start"][pc]), int(code["live_stop"][pc])) for pc in (2, 5, 6)]
    assert live == [(1, 13), (0, 0), (0, 16)]


@pytest.mark.parametrize(("results", "codes", "full"), [(4, 32, 0), (5, 32, 1), (4, 33, 1)])
def test_full(results, codes, full):
    """There must be room for a whole vector, and for the packets of eight lines that it has."""
    room = kernel_packets.Results(np.zeros((6, 3), np.int64), np.zeros(48, np.int8))
    progress = kernel_packets.Progress.start()
    progress.result[0], progress.code[0] = results, codes
    state = CoreState(TINY, IDEAL, [1])
    found = kernel_packets.is_full(state.cores, state.geometry, room, progress)
    assert found == full == progress.full[0]
    more = room.larger()
    assert (len(more.heads), len(more.codes)) == (12, 96)


# Networks


@PROFILES
@pytest.mark.parametrize("name", ["mlp-8-6-10", "mlp-48-14-10", "mlp-48-12-10", "mlp-64-14-10"])
def test_training(name, profile):
    """Learning, refreshes and inference, with stretches of odd lengths."""
    network = NETWORKS[name]
    network = replace(
        network, training=replace(network.training, eta=3.0, refresh_high=25, refresh_low=10)
    )
    rng = np.random.default_rng(8)
    mapping = map_network(network, network.config, profile)
    learners = [Learner(mapping, 5, Kinds(OracleCore, OracleChip)), Learner(mapping, 5)]
    for count in (5, 4, 1, 3):
        images = rng.integers(0, 128, (count, network.layers[0].inputs), dtype=np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        for learner in learners:
            learner.set_rate(3.0 / count)
        learnt = [learner.learn(images, labels) for learner in learners]
        assert np.array_equal(*learnt)
        inferred = [learner.infer(images[: count // 2 + 1]) for learner in learners]
        assert np.array_equal(*inferred)
    for one, other in zip(*(learner.cores for learner in learners), strict=True):
        assert isinstance(one, OracleCore)
        assert_same_core(one, other)
    assert sum(core.programmer.refreshed for core in learners[0].cores) > 0
    states = [learner.state() for learner in learners]
    for key, value in states[0].items():
        assert np.array_equal(value, states[1][key]), key

    # A run that one has begun goes on with the other.
    resumed = Learner(mapping, 5)
    resumed.set_rate(1.0)
    resumed.restore({key: np.array(value) for key, value in states[0].items()})
    assert np.array_equal(learners[0].infer(images), resumed.infer(images))
    for key, value in learners[0].state().items():
        assert np.array_equal(value, resumed.state()[key]), key


@pytest.mark.parametrize("name", ["mlp-8-6-10", "mlp-48-12-10"])
def test_learners_compensate_drift(name):
    """All cores have baselines of their own, which are part of the state."""
    network = NETWORKS[name]
    mapping = map_network(network, network.config, IDEAL)
    learner, other = (Learner(mapping, 5) for _ in range(2))
    images = np.random.default_rng(1).integers(0, 128, (3, network.layers[0].inputs))
    images = images.astype(np.uint8)
    learner.calibrate("baseline")
    before = np.array(learner.infer(images))
    other.restore({key: np.array(value) for key, value in learner.state().items()})
    for core in other.cores:
        assert core.adc.drift_baseline > 0
        core.crossbar.conductance[...] //= 2
        core.crossbar.refresh_weights()
    other.calibrate("compensate")
    assert [core.adc.drift_scale for core in other.cores] == pytest.approx(
        [2048] * len(other.cores), rel=0.01
    )
    # A code in front of the function is worth up to eight behind it.
    assert np.abs(np.array(other.infer(images)) - before).mean() < 8
    other.calibrate()
    assert {core.adc.drift_scale for core in other.cores} == {1024}
    with pytest.raises(ValueError, match=r"^drift must be None, baseline or compensate, not 'no'$"):
        other.calibrate("no")


def test_programs_of_a_network_on_a_chip():
    network = CHIP_NETWORKS["mlp-48-12-10"]
    rng = np.random.default_rng(3)
    mapping = ChipMapping(network, network.chip, PCM)
    chips = [kind(mapping.hardware, PCM, 5) for kind in (OracleChip, Chip)]
    setup, sent = mapping.setup(), NONE_SENT
    for chip in chips:
        configure(
            chip,
            {node: tables.objects for node, tables in setup.tables.items()},
            {node: tables.routes for node, tables in setup.tables.items()},
        )
        for node, segments in mapping.segments(2.0).items():
            chip.cores[node].segments[: len(segments)] = segments
        chip.run(setup.programs, setup.packets)
    for number in range(5):
        images = rng.integers(0, 128, (2 + number % 2, 48), dtype=np.uint8)
        labels = rng.integers(0, 10, len(images)).astype(np.uint8)
        job = mapping.training(images, labels, sent)
        sent = sent.after(job)
        assert_same_results(*(chip.run(job.programs, job.packets) for chip in chips))
        assert_same_chip(*chips)
