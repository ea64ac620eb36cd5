# SPDX-License-Identifier: Apache-2.0
"""Kernels have the bits of the oracle, program by program and kernel by kernel."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phasecore.models.compiler.mapping import NONE_SENT, ChipMapping, map_network
from phasecore.models.compiler.networks import CHIP_NETWORKS, NETWORKS
from phasecore.models.engine.programs import Decoder
from phasecore.models.golden import hash as hashing
from phasecore.models.golden import packet_arrays as kernel_packets
from phasecore.models.golden import post_processing, update_unit
from phasecore.models.golden import trace as log
from phasecore.models.golden.adc_interface import calibrate, read_out
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Core
from phasecore.models.golden.crossbar import Crossbar
from phasecore.models.golden.device import IDEAL, N_MAX, PCM, PCM_INFERENCE
from phasecore.models.golden.fabric import FabricError
from phasecore.models.golden.fixed_point import round_shift
from phasecore.models.golden.packets import affine_packet, header, vector_packet
from phasecore.models.golden.state import CoreState
from phasecore.models.training.learner import Learner
from phasecore.models.training.model import Kinds
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import (
    Drift,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    Segment,
    StreamDescriptor,
    encode,
)
from phasecore.verification.cosim.counters import COUNTERS
from phasecore.verification.cosim.random_chip import SEGMENT, Pipeline
from phasecore.verification.cosim.random_programs import RandomProgram
from phasecore.verification.oracle import activation, device
from phasecore.verification.oracle import crossbar as oracle_crossbar
from phasecore.verification.oracle import fixed_point as arithmetic
from phasecore.verification.oracle.adc_interface import AdcInterface
from phasecore.verification.oracle.chip import Chip as OracleChip
from phasecore.verification.oracle.core import Core as OracleCore
from phasecore.verification.oracle.update_unit import UpdateUnit

DEFECTIVE = replace(
    PCM_INFERENCE, name="defective", stuck_low=0.1, stuck_high=0.1, dead_rows=0.05, dead_adcs=0.1
)
PROFILES = pytest.mark.parametrize(
    "profile", [IDEAL, PCM, DEFECTIVE], ids=lambda profile: profile.name
)
WORDS = st.integers(0, 2**32 - 1)

ARRAYS = {
    "crossbar": (
        "g",
        "n",
        "e",
        "t",
        "resets",
        "time",
        "conductances",
        "weights",
        "gain",
        "offset",
    ),
    "adc": ("offsets", "gains"),
    "post": ("accumulators", "scales", "offsets"),
    "update": ("chi",),
    "programmer": ("dirty", "selection"),
}
HALT = encode(Opcode.HALT)


def held(core):
    """What the latest window has left."""
    if isinstance(core, Core):
        crossbar = core.crossbar
        return crossbar.counts, crossbar.at_limit, core.range, core.precision, core.exponent
    window = core._window
    return window.counts, window.at_limit, window.range_, window.precision, window.exponent


def assert_same_core(one: OracleCore, other: Core, name: str = "core") -> None:
    for block, names in ARRAYS.items():
        for array in names:
            values = [getattr(getattr(core, block), array) for core in (one, other)]
            assert np.array_equal(*values), f"{name}.{block}.{array}"
    assert np.array_equal(one.slots, other.slots), name
    assert np.array_equal(one.exponents, other.exponents), name
    assert one.dropped_packets == other.dropped_packets, name
    for counter, of in COUNTERS.items():
        assert of(one) == of(other), f"{name}: {counter}"
    for number in ("calibration_errors", "drift_baseline", "drift_scale"):
        assert getattr(one.adc, number) == getattr(other.adc, number), f"{name}.adc.{number}"
    for field, found, expected in zip(
        ("counts", "at_limit", "range", "precision", "exponent"), held(other), held(one),
        strict=True,
    ):  # fmt: skip
        assert np.array_equal(found, expected), f"{name}: {field} of the latest window"


def assert_same_chip(one: OracleChip, other: Chip) -> None:
    for node, core in one.cores.items():
        assert_same_core(core, other.cores[node], f"core {node}")
        locals_ = [chip.interfaces[node].local for chip in (one, other)]
        for name in ("arrived", "dead", "row", "col", "position", "lines", "refused"):
            assert np.array_equal(*(getattr(local, name) for local in locals_)), (node, name)
        streams = [chip.interfaces[node].streams.credits for chip in (one, other)]
        assert np.array_equal(*streams), f"core {node}"
        assert one.interfaces[node].errors == other.interfaces[node].errors, f"core {node}"
    assert one.host.errors == other.host.errors
    assert np.array_equal(one.host.streams.credits, other.host.streams.credits)
    assert one.host.malformed == other.host.malformed
    assert one.undeliverable == other.undeliverable


def assert_same_traces(one: OracleCore, other: Core) -> None:
    """Events by kind; of vector elements and pulses the order is that of each element or device."""
    nothing = np.zeros(0, dtype=np.int64)
    lines, trace = one.config.lines, one.trace
    vectors = [
        np.stack([slot * lines + where, values], axis=1) for slot, where, values in trace.vectors
    ]
    found = other.trace.vectors
    found = np.stack([found[:, 0] * lines + found[:, 1], found[:, 2]], axis=1)
    assert np.array_equal(other.trace.codes, np.concatenate([nothing, *trace.codes]))
    expected = np.concatenate([nothing.reshape(0, 2), *vectors])
    assert np.array_equal(in_order(found), in_order(expected))
    expected = np.concatenate([nothing.reshape(0, 3), *trace.devices])
    assert np.array_equal(in_order(other.trace.devices), in_order(expected))


def in_order(events):
    return events[np.argsort(events[:, 0], kind="stable")]


def assert_same_results(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.slot, a.start) == (b.slot, b.start)
        assert a.codes.dtype == b.codes.dtype
        assert np.array_equal(a.codes, b.codes)


# Cores

CONFIGS = {
    "tiny": TINY,
    "wide, 4 devices": TINY.replace(
        rows=8, cols=32, devices_per_polarity=4, g_bits=14, range_max=28
    ),
    "high, coarse": TINY.replace(
        rows=64, cols=16, devices_per_polarity=2, g_bits=6, chi_bits=8, pulse_bits=1, input_bits=6,
        range_max=14, verify_iterations=3,
    ),
    "long words": TINY.replace(
        chi_bits=24, acc_bits=32, range_min=4, range_max=12, update_lanes=4
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
    assert one.adc.overranges or config.range_min == 10


def test_bounds_follow_the_weights():
    """Pulses bring a line to the limit of its converter in a program that began far below it."""
    config = TINY.replace(range_min=8)
    segment = Segment(
        row_start=0,
        row_count=16,
        col_start=0,
        col_count=1,
        range_forward=8,
        range_backward=8,
        threshold=1,
        chi_shift=-7,
    )
    x = np.full(16, 127)
    steps = [
        encode(Opcode.LOAD, affine=0, slot=0), encode(Opcode.LOAD, affine=0, slot=1),
        *[encode(Opcode.OUTER, segment=0, slot=0, error=1, transfer=1)] * 3,
        encode(
            Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3
        ),
        encode(
            Opcode.ACTIVATE, segment=0, side=0, from_slot=0, slot=0, accumulate=0,
            function=Function.IDENTITY, shift=7, affine=0, table=0, destination=2, start=0,
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
    shape = cores[0].crossbar.g.shape
    conductances = np.random.default_rng(seed).integers(config.g_max // 2, size=shape)
    steps = [
        (Drift.COMPENSATE, 1), (Drift.BASELINE, 1), (Drift.COMPENSATE, 0.7),
        (Drift.COMPENSATE, 0.1), (Drift.COMPENSATE, 0), (Drift.NONE, 0.7), (Drift.COMPENSATE, 1.5),
        (Drift.BASELINE, 0), (Drift.COMPENSATE, 1), (Drift.BASELINE, 1.5),
    ]  # fmt: skip
    scales = []
    for drift, factor in steps:
        for core in cores:
            core.crossbar.g[...] = conductances * factor
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
        encode(Opcode.READ, slot=0, start=0, length=1),
        encode(Opcode.READ, slot=1, start=8, length=8),
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
        ([encode(Opcode.READ, slot=8, start=0, length=8), HALT], []),
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


def error(function=Function.IDENTITY, **fields):
    """ERROR of the latest window into slot 1, shifted by 3 unless it is said otherwise."""
    values = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "output": 2, "function": function,
        "fixed": 1, "shift": 3, "bias": 0, "destination": 1, "start": 0,
    }  # fmt: skip
    return encode(Opcode.ERROR, **{**values, **fields})


FORWARD = encode(
    Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3
)  # fmt: skip


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
    outer = encode(Opcode.OUTER, segment=0, slot=0, error=1, transfer=1)
    for core in (one, other):
        core.segments[0] = Segment(
            row_start=0, row_count=16, col_start=0, col_count=16, threshold=900
        )
        core.slots[:2] = np.arange(-120, 121, 16)
        core.crossbar.windows = 2**32 - 1
        core.crossbar.e[:] = 2**32 - 2
        core.run([
            FORWARD, outer, FORWARD, encode(Opcode.PROGRAM, segment=0, row=3, slot=0), FORWARD,
            error(), HALT,
        ])  # fmt: skip
        assert 2 < core.crossbar.windows < 100
        events = core.crossbar.e.reshape(-1)
        assert {0, 2**32 - 1} <= set(events[events < 2**32])
        assert events.max() < 2**32
    assert_same_core(one, other)


def test_segments_are_not_remembered():
    """The same words mean something else when their segment has changed."""
    outer = encode(Opcode.OUTER, segment=0, slot=0, error=1, transfer=1)
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
    unused = dict.fromkeys(("slot", "accumulate", "shift", "affine", "table", "start"), 0)

    def activate(segment, side, from_slot=0):
        return encode(
            Opcode.ACTIVATE, segment=segment, side=side, from_slot=from_slot,
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
        core.crossbar.g[...] //= 2
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
            {node: tables.streams for node, tables in setup.tables.items()},
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


# Messages between cores

CHIP = CHIPS["tiny"]
LINES = CHIP.core.lines


def configure(chip, objects, streams):
    for node, entries in objects.items():
        for index, entry in enumerate(entries):
            chip.define_object(node, index, entry)
    for node, entries in streams.items():
        for index, entry in enumerate(entries):
            chip.define_stream(node, index, entry)


def send(stream, **values):
    defaults = {"partial": 0, "slot": 0, "start": 0, "length": LINES, "merge": 0, "object": 0}
    return encode(Opcode.SEND, stream=stream, **{**defaults, **values})


def both(objects, streams, *works):
    """Run works (programs, packets) on oracle and model; both chips, and the errors of the last."""
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    errors = []
    for chip in chips:
        configure(chip, objects, streams)
        for node, core in chip.cores.items():
            core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
            core.slots[:] = np.random.default_rng(node).integers(-128, 128, core.slots.shape)
            core.post.accumulators[:] = 1 << 22
            core.exponents[:] = np.arange(len(core.exponents)) - 4
    for programs, packets in works:
        results = []
        for chip in chips:
            try:
                results.append(chip.run(programs, packets))
                errors.append("")
            except ValueError as error:
                errors.append(str(error))
        if len(results) == 2:
            assert_same_results(*results)
    assert_same_chip(*chips)
    return chips, errors[-2:]


def at(node, **values):
    x, y = CHIP.place(node)
    return {"x": x, "y": y, **values}


def test_everything_that_fabrics_drop():
    """Rings that are full, sums for vectors, undefined or unreachable consumers and producers."""
    vector, sums = ObjectDescriptor(**at(0, stream=0)), ObjectDescriptor(**at(0, stream=7))
    objects = {
        1: [vector, replace(sums, partial=1), ObjectDescriptor(x=7, y=7, stream=0)],
        3: [ObjectDescriptor(**at(CHIP.host, stream=0))],
        CHIP.host: [ObjectDescriptor(**at(0, stream=2))],
    }
    streams = {
        0: [
            StreamDescriptor(object=0, **at(1), credits=9),
            StreamDescriptor(object=1, **at(1), credits=9),
            StreamDescriptor(object=3, x=7, y=0, credits=9),
            StreamDescriptor(object=2, multicast=1, cols=7, rows=1, credits=9, consumers=3),
        ],
        CHIP.host: [
            StreamDescriptor(object=0, **at(3), credits=3),
            StreamDescriptor(object=1, **at(3)),
            StreamDescriptor(object=6, **at(3)),
            StreamDescriptor(object=1, enable=0, **at(3)),
        ],
    }
    programs = {
        0: [
            send(0, slot=3), send(0), send(0, partial=1), send(1), send(1, partial=1, length=9),
            send(1, partial=1, start=8, length=8), send(2), send(3), send(2, partial=1), HALT,
        ],
    }  # fmt: skip
    codes = np.arange(16)
    affine = affine_packet(codes + 200, codes - 9, config=CHIP.core, slot=1)
    packets = [
        b"short", vector_packet(codes, config=CHIP.core), affine,
        affine_packet(codes, codes, config=CHIP.core, slot=2),
        vector_packet(codes, config=CHIP.core, slot=3),
        vector_packet(codes, config=CHIP.core, slot=200),
        header(PacketKind.VECTOR, start=8, length=16, slot=0) + bytes(16), affine[:-2],
    ]  # fmt: skip
    release = encode(Opcode.RELEASE, objects=0b0111)
    (one, _), errors = both(
        objects, streams, (programs, packets), ({1: [release, release, HALT]}, []),
        ({3: [encode(Opcode.RELEASE, objects=0b1111), HALT]}, []),
    )  # fmt: skip
    assert errors == ["", ""]
    assert one.undeliverable == 3
    assert one.host.malformed == 3
    counted = [node.errors for node in (*one.interfaces.values(), one.host)]
    found = {error.name for errors in counted for error, count in errors.items() if count}
    assert found == {"FABRIC_OBJECT", "FABRIC_CREDIT"}


def test_the_ends_of_slots_channels_and_credits():
    """By hand: a ring goes on at slot 0, channel 2 does not exist, `needed` must be there."""
    last = CHIP.core.slots - 1
    objects = {1: [ObjectDescriptor(**at(0, stream=0), slot=last, depth=2)]}
    streams = {
        0: [
            StreamDescriptor(object=0, **at(1), credits=2),
            StreamDescriptor(object=0, **at(1), credits=2, vc=2),
        ],
        CHIP.host: [StreamDescriptor(object=0, **at(3), credits=1, needed=2)],
    }
    program = [send(0, slot=3), send(0, slot=4), send(1), HALT]
    packets = [vector_packet(np.arange(16), config=CHIP.core)]
    chips, errors = both(objects, streams, ({0: program}, packets))
    assert errors == ["deadlock: host waits for credits of stream 0"] * 2
    sent = chips[0].cores[0].slots
    for chip in chips:
        assert np.array_equal(chip.cores[1].slots[last], sent[3])
        assert np.array_equal(chip.cores[1].slots[0], sent[4])
        assert chip.interfaces[0].errors[FabricError.FABRIC_OBJECT] == 1


def test_affine_tables_need_no_credits():
    streams = {CHIP.host: [StreamDescriptor(object=1, **at(3), credits=0)]}
    codes = np.arange(16)
    packet = affine_packet(codes + 240, codes - 8, config=CHIP.core)
    (one, _), errors = both({}, streams, ({}, [packet]))
    assert errors == ["", ""]
    assert one.cores[3].post.scales[1].tolist() == (codes + 240).tolist()
    assert one.cores[3].post.offsets[1].tolist() == (codes - 8).tolist()


def test_credits_beyond_the_counter():
    entry = ObjectDescriptor(
        **at(0, stream=0), height=20, width=20, kernel_height=20, kernel_width=20, depth=31,
        arrived=31,
    )  # fmt: skip
    objects = {1: [replace(entry, arrived=400)]}
    streams = {0: [StreamDescriptor(object=0, **at(1), credits=3)]}
    (one, _), errors = both(objects, streams, ({1: [encode(Opcode.RELEASE, objects=1), HALT]}, []))
    assert errors == ["", ""]
    assert one.interfaces[0].streams.credits[0] == 255


def test_merging_and_waiting_sends():
    """Sums of three cores meet; a SEND that waits holds up what it must and nothing else.

    Consumers have the lower numbers, so that it is their turn before that of their producers.
    """
    objects = {
        1: [ObjectDescriptor(**at(4, stream=0), partial=1)],
        0: [ObjectDescriptor(**at(1, stream=0), partial=1, replace=1)],
        CHIP.host: [ObjectDescriptor(**at(0, stream=0))],
    }
    streams = {
        4: [StreamDescriptor(object=0, **at(1))],
        1: [StreamDescriptor(object=0, **at(0))],
        0: [StreamDescriptor(object=0, **at(CHIP.host))],
    }
    none = encode(
        Opcode.ACTIVATE, segment=0, side=0, from_slot=1, slot=1, accumulate=1,
        function=Function.IDENTITY, shift=7, affine=0, table=0, destination=2, start=3,
    )  # fmt: skip
    wait = encode(Opcode.WAIT, units=1 << 5)
    released = encode(Opcode.RELEASE, objects=1)
    merge = send(0, partial=1, merge=1)
    programs = {
        4: [send(0, partial=1), none, send(0, partial=1), HALT],
        1: [merge, none, released, merge, wait, released, HALT],
        0: [
            encode(Opcode.AWAIT, objects=1), none, send(0, slot=2), none, released,
            encode(Opcode.AWAIT, objects=1), send(0), released, HALT,
        ],
    }  # fmt: skip
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    for chip in chips:
        configure(chip, objects, streams)
        for node, core in chip.cores.items():
            core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
            core.slots[:] = np.random.default_rng(node).integers(-128, 128, core.slots.shape)
    assert_same_results(*(chip.run(programs) for chip in chips))
    assert_same_chip(*chips)


def test_what_a_waiting_send_holds_up():
    """By hand: what follows the instructions that wait for a SEND without credits is not done."""
    objects = {0: [ObjectDescriptor(**at(1, stream=0), arrived=1)]}
    streams = {0: [StreamDescriptor(object=0, **at(1), credits=0)]}
    outer = encode(Opcode.OUTER, segment=0, slot=3, error=2, transfer=0)
    held = [
        send(0, slot=4), encode(Opcode.RELEASE, objects=1), encode(Opcode.CALIBRATE),
        encode(Opcode.REFRESH, segment=0, all_rows=1),
        encode(Opcode.PROGRAM, segment=0, row=1, slot=4), encode(Opcode.WAIT, units=1 << 5),
        error(from_slot=1, destination=2),
    ]  # fmt: skip
    free = [
        FORWARD, outer, encode(Opcode.TRANSFER, segment=0), encode(Opcode.AWAIT, objects=1),
        encode(Opcode.WAIT, units=0b11111), error(from_slot=1, destination=4),
    ]  # fmt: skip
    cases = [
        *((word, 0, True) for word in held), *((word, 0, False) for word in free),
        (error(from_slot=1, destination=4), 1, True), (outer, 1, False),
    ]  # fmt: skip
    for word, partial, waits in cases:
        program = [send(0, slot=2, partial=partial), word, FORWARD, HALT]
        chips, errors = both(objects, streams, ({0: program}, []))
        assert errors[0] == errors[1]
        assert errors[0].startswith("deadlock: core 0 waits for its SEND; SEND of core 0 waits for")
        assert all((chip.cores[0].crossbar.windows == 0) == waits for chip in chips), word
        assert all(chip.interfaces[0].local.dead[0] == 0 for chip in chips)


@pytest.mark.parametrize("number", range(8))
def test_pipelines(number, seed):
    """Windows over frames of vectors, through rings, forks and joins."""
    config = CHIP.replace(core=TINY.replace(objects=4, streams=4, slots=16))
    chips = [kind(config, IDEAL, 1) for kind in (OracleChip, Chip)]
    pipelines = [Pipeline(config, 100 * seed + number) for _ in chips]
    for chip, pipeline in zip(chips, pipelines, strict=True):
        configure(chip, pipeline.objects, pipeline.streams)
        for stage in pipeline.stages:
            chip.cores[stage.node].segments[SEGMENT] = pipeline.segment
    for _ in range(4):
        results = [
            chip.run(pipeline.programs(), pipeline.packets())
            for chip, pipeline in zip(chips, pipelines, strict=True)
        ]
        assert results[0]
        assert_same_results(*results)
        assert_same_chip(*chips)
        for node, core in chips[0].cores.items():
            assert_same_traces(core, chips[1].cores[node])


@pytest.mark.parametrize(
    ("programs", "packets"),
    [
        ({1: [encode(Opcode.AWAIT, objects=0b11), HALT], 3: [HALT]}, 0),
        ({0: [send(0), send(0), send(0), HALT]}, 0),
        ({0: [send(0, partial=1, merge=1), HALT]}, 0),
        ({3: [HALT]}, 3),
        ({1: [encode(Opcode.WAIT, units=1)]}, 0),
    ],
)
def test_deadlocks_have_the_same_reasons(programs, packets):
    objects = {1: [ObjectDescriptor(**at(0, stream=0))] * 2}
    streams = {
        0: [StreamDescriptor(object=0, **at(1))],
        CHIP.host: [StreamDescriptor(object=1, **at(1), credits=1)],
    }
    packet = vector_packet(np.arange(16), config=CHIP.core)
    _, (expected, found) = both(objects, streams, (programs, [packet] * packets))
    assert expected.startswith(("deadlock: ", "program of 1 instructions has no HALT"))
    assert found == expected


# Kernels


@given(value=st.integers(-(2**60), 2**60), shift=st.integers(0, 40))
def test_round_shift(value, shift):
    assert round_shift(value, shift) == arithmetic.round_shift(value, shift)


@given(seed=WORDS, index=WORDS, event=WORDS)
def test_hash(seed, index, event):
    key = device.key(seed, device.SET, index, event)
    assert hashing.event_key(seed, hashing.Stream.SET, index, event) == key
    assert hashing.gauss(np.uint32(key)) == device.gauss(key)


@pytest.mark.parametrize("mean", [0.0, 12.0])
def test_pulses_within_bounds(mean):
    """Conductances, deviations, programming memory and event counters at their limits."""
    profile = replace(
        PCM, reset_mean=mean, reset_sd=5.0, set_sd_slope=-1.0, set_mean=0.3, set_mean_slope=0.1
    )
    one, other = (kind(TINY, profile, 1) for kind in (oracle_crossbar.Crossbar, Crossbar))
    for crossbar in (one, other):
        crossbar.e[:] = 2**32 - 5
    rng = random.Random(7)
    for number in range(600):
        # Few devices, so that each gets many pulses in a row.
        place = rng.randrange(4), rng.randrange(2), rng.randrange(2), 0
        reset = number < 100 or rng.random() < 0.01
        for crossbar in (one, other):
            crossbar.program(*place, reset=reset)
        # After each pulse: a later one may hide what an earlier one has left.
        for name in ("g", "n", "e", "resets"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.weights, other.weights)
    assert one.n.max() == N_MAX
    assert one.g.min() >= 0
    assert one.e.min() < 100


@PROFILES
@given(time=st.integers(0, 2**32 - 1), seed=WORDS)
@settings(max_examples=20)
def test_drift_and_noise(profile, time, seed):
    """What devices of every kind conduct at any time, and their noise."""
    drifting = replace(profile, drift_exponent=0.05, drift_exponent_high=0.5, drift_spread=0.02)
    one, other = (kind(TINY, drifting, seed) for kind in (oracle_crossbar.Crossbar, Crossbar))
    rng = np.random.default_rng(seed)
    past = rng.integers(0, 2**32, one.t.shape) >> rng.integers(0, 32, one.t.shape)
    for crossbar in (one, other):
        crossbar.g[...] = past % (TINY.g_max + 1)
        crossbar.t[...] = past
        crossbar.set_time(time)
        crossbar.refresh_weights()
    assert np.array_equal(one.conductances, other.conductances)
    assert np.array_equal(one.weights, other.weights)
    assert one.g_noise == other.cores.scalars["crossbar_g_noise"][0]


@given(
    x=st.integers(-128, 127), d=st.lists(st.integers(-128, 127), min_size=16, max_size=16),
    shift=st.integers(-256, 254), bits=st.sampled_from([8, 16, 24]), data=st.data(),
)  # fmt: skip
def test_chi_increments(x, d, shift, bits, data):
    config = TINY.replace(chi_bits=bits)
    limit = 1 << (bits - 1)
    chi = np.array(data.draw(st.lists(
        st.sampled_from([-limit, 1 - limit, -1, 0, 1, 77, limit - 1]), min_size=16, max_size=16
    )), dtype=np.int32)  # fmt: skip
    unit = UpdateUnit(config)
    unit.chi[3] = chi
    segment = Segment(row_start=3, row_count=1, col_start=0, col_count=16)
    vector = np.full(16, x)
    unit.outer(segment, vector, d, shift, False)
    saturated, largest = update_unit.add_increments(
        chi, x, np.array(d, dtype=np.int32), shift, bits
    )
    assert np.array_equal(chi, unit.chi[3])
    if x:
        assert saturated == unit.chi_saturations
        assert largest == np.abs(chi).max()


@given(data=st.data(), range_=st.integers(10, 21), precision=st.integers(5, 8))
def test_read_out(data, range_, precision):
    def drawn(low, high):
        values = st.one_of(st.integers(low, high), st.sampled_from([low, high]))
        return np.array(data.draw(st.lists(values, min_size=16, max_size=16)))

    config = TINY.replace(adc_bits=data.draw(st.integers(4, 8)))
    unit = AdcInterface(config)
    counts, unit.offsets, unit.gains = drawn(-(2**20), 2**20), drawn(-8192, 8191), drawn(0, 1023)
    state = CoreState(config, IDEAL, [1])
    state.cores.adc_offsets[0], state.cores.adc_gains[0] = unit.offsets, unit.gains
    state.cores.counts[0] = counts
    state.cores.at_limit[0] = at_limit = counts % 3 == 0
    state.cores.scalars[0]["range"], state.cores.scalars[0]["precision"] = range_, precision
    codes = np.zeros(16, dtype=np.int64)
    clipped, overranges = read_out(state.cores, state.geometry, 0, 0, 16, codes)
    assert np.array_equal(codes, unit.read_out(counts, range_, precision, at_limit=at_limit))
    assert (clipped, overranges) == (unit.clipped, unit.overranges)


@given(scale=st.integers(0, 4095), data=st.data())
def test_calibrate(scale, data):
    """Offsets beyond their register, lines without a reference, gains with a scale."""
    sums = st.integers(-(2**15), 2**15) | st.sampled_from([-8193, -8192, 8191, 8192])
    zero, reference = (
        np.array(data.draw(st.lists(sums, min_size=16, max_size=16))) for _ in range(2)
    )
    core = Core(TINY, IDEAL, 1)
    core.adc.drift_scale = scale
    state = core.state
    calibrate(state.cores, state.geometry, 0, zero, reference)
    unit = AdcInterface(TINY)
    unit.drift_scale = scale
    unit.calibrate(zero, reference)
    assert np.array_equal(state.cores.adc_offsets[0], unit.offsets)
    assert np.array_equal(state.cores.adc_gains[0], unit.gains)
    assert state.cores.scalars[0]["adc_calibration_errors"] == unit.calibration_errors


@given(u=st.integers(-(2**31), 2**31 - 1), function=st.sampled_from(list(Function)[1:]))
def test_activation(u, function):
    y, saturated = activation.activation(np.array([u]), function)
    assert post_processing._activation(u, int(function)) == y[0]
    assert post_processing._overflows(u, int(function)) == saturated


@given(y=st.integers(-128, 127), function=st.sampled_from(list(Function)[1:]))
@example(y=-128, function=Function.TANH)
@example(y=-128, function=Function.SIGMOID)
def test_derivative(y, function):
    expected = activation.derivative(np.array([y]), function)[0]
    assert post_processing.derivative(y, int(function)) == expected
