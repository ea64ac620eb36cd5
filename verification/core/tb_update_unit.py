# SPDX-License-Identifier: Apache-2.0
"""Update unit against its model: every chi word, every pulse, every count."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.interfaces import Exponents, Pulse, UpdateCommand
from phasecore.rtl.spec.core import EXPONENT_BITS
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.update_unit import UpdateUnit
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import StreamPort, reset, throttle

CONFIG = config_from_env()
COMMANDS = int(os.environ.get("COMMANDS", "40"))
CHI_MIN, CHI_MAX = -(2 ** (CONFIG.chi_bits - 1)), 2 ** (CONFIG.chi_bits - 1) - 1
EXPONENT_MAX = 2 ** (EXPONENT_BITS - 1) - 1


def byte(value):
    return int(value) & 0xFF


class Bench:
    """The unit with a vector memory whose slots are overwritten as soon as they may be."""

    def __init__(self, dut):
        self.dut = dut
        self.model = UpdateUnit(CONFIG)
        self.rng = np.random.default_rng(random.getrandbits(32))
        self.pulses = []
        self.slots = np.zeros((CONFIG.slots, CONFIG.lines), dtype=np.int64)
        self.totals = dict.fromkeys(("products", "chi_saturations", "transfer_saturations"), 0)
        self.stalled = self.waited = 0
        self.cycle = 0

    async def start(self, *, read_duty, pulse_duty):
        await reset(
            self.dut, i__valid=0, i__payload=0, read__ready=0, read__data=0, exponents=0,
            pulses__ready=0,
        )  # fmt: skip
        cocotb.start_soon(throttle(StreamPort(self.dut, "pulses"), pulse_duty))
        cocotb.start_soon(self._memory(read_duty))
        cocotb.start_soon(self._watch())

    async def _memory(self, duty):
        """One word per accepted read, in the next cycle only."""
        read = self.dut
        while True:
            read.read__ready.value = random.random() < duty
            await RisingEdge(read.clk)
            data = random.getrandbits(8 * CONFIG.post_lanes)
            if int(read.read__valid.value) and int(read.read__ready.value):
                slot, block = divmod(int(read.read__address.value), CONFIG.blocks)
                assert int(read.status__reads.value) >> slot & 1, (
                    f"slot {slot} is read, but not announced"
                )
                lanes = slice(block * CONFIG.post_lanes, (block + 1) * CONFIG.post_lanes)
                data = sum(byte(v) << 8 * i for i, v in enumerate(self.slots[slot, lanes]))
            read.read__data.value = data

    async def _watch(self):
        """Collect pulses and counts; check that a waiting pulse does not change."""
        dut, waiting, reads = self.dut, None, 0
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            valid, ready = int(dut.pulses__valid.value), int(dut.pulses__ready.value)
            payload = int(dut.pulses__payload.value) if valid else None
            assert waiting is None or payload == waiting, "a waiting pulse changed"
            waiting = payload if not ready else None
            self.waited += valid & ~ready & 1
            self.stalled += int(dut.stalled.value)
            if valid and ready:
                self.pulses.append(payload)
            if valid:
                assert int(dut.status__busy.value), "a pulse while not busy"
            for name in self.totals:
                self.totals[name] += int(getattr(dut, name).value)
            released, reads = reads & ~int(dut.status__reads.value), int(dut.status__reads.value)
            for slot in range(CONFIG.slots):
                if released >> slot & 1:
                    self.slots[slot] = self.rng.integers(-128, 128, CONFIG.lines)

    async def run(self, segment, *, outer, transfer, x=None, d=None, exponent=0):
        """One command in the unit and in the model; compare all that they leave. Its cycles."""
        dut, model = self.dut, self.model
        x_slot, d_slot = random.sample(range(CONFIG.slots), 2)
        exponents = [random.randint(-EXPONENT_MAX - 1, EXPONENT_MAX) for _ in range(CONFIG.slots)]
        before = dict(self.totals), {name: getattr(model, name) for name in self.totals}
        if outer:
            self.slots[x_slot], self.slots[d_slot] = x, d
            exponents[d_slot] = exponent
            expected = model.outer(segment, x, d, exponent, transfer)
        else:
            expected = model.transfer(segment)
        command = UpdateCommand(CONFIG).const({
            "outer": outer, "transfer": transfer, "x_slot": x_slot, "d_slot": d_slot,
            "row_start": segment.row_start, "row_count": segment.row_count,
            "col_start": segment.col_start, "col_count": segment.col_count,
            "threshold": segment.threshold, "chi_shift": segment.chi_shift,
        })  # fmt: skip
        dut.i__payload.value = command.as_bits()
        dut.exponents.value = Exponents(CONFIG).const(exponents).as_bits()
        dut.i__valid.value = 1
        await RisingEdge(dut.clk)
        while not int(dut.i__ready.value):
            await RisingEdge(dut.clk)
        accepted = self.cycle
        dut.i__valid.value = 0
        dut.i__payload.value = random.getrandbits(len(dut.i__payload))
        dut.exponents.value = random.getrandbits(len(dut.exponents))
        await RisingEdge(dut.clk)
        slots = (1 << x_slot | 1 << d_slot) if outer else 0
        assert int(dut.status__reads.value) == slots, "reads after acceptance"
        assert int(dut.status__busy.value), "not busy after acceptance"
        while int(dut.status__busy.value):
            assert not int(dut.i__ready.value), "ready while busy"
            await RisingEdge(dut.clk)
        cycles = self.cycle - accepted
        assert not int(dut.status__reads.value), "reads after the command"
        self.compare_chi(segment)
        await RisingEdge(dut.clk)
        self.compare_pulses(expected, segment)
        for name, value in self.totals.items():
            got, wanted = value - before[0][name], getattr(model, name) - before[1][name]
            assert got == wanted, f"{name}: got {got}, expected {wanted} ({segment})"
        assert self.stalled == self.waited
        return cycles

    def compare_pulses(self, expected, segment):
        layout = Pulse(CONFIG)
        got = []
        for payload in self.pulses:
            pulse = layout.from_bits(payload)
            got.append((pulse.row, pulse.col, -pulse.count if pulse.negative else pulse.count))
        self.pulses.clear()
        wanted = [tuple(pulse) for pulse in expected.tolist()]
        for index, (actual, pulse) in enumerate(zip(got, wanted, strict=False)):
            assert actual == pulse, f"pulse {index}: got {actual}, expected {pulse} ({segment})"
        assert len(got) == len(wanted), f"{len(got)} pulses, expected {len(wanted)} ({segment})"

    def compare_chi(self, segment):
        memory, bits = self.dut.chi.macro.mem, CONFIG.chi_bits
        for address, word in enumerate(self.words()):
            got = int(memory[address].value)
            for lane, value in enumerate(word):
                actual = got >> lane * bits & (2**bits - 1)
                row, block = divmod(address, CONFIG.chi_words_per_row)
                assert actual == int(value) & (2**bits - 1), (
                    f"chi[{row}, {block * CONFIG.update_lanes + lane}]: got {actual:#x},"
                    f" expected {int(value) & (2**bits - 1):#x} ({segment})"
                )

    def words(self):
        """chi of the model as the memory holds it: one row of lanes per address."""
        return self.model.chi.reshape(CONFIG.chi_depth, CONFIG.update_lanes)

    def preset(self, thresholds):
        """Random chi in memory and model, many at the ends and at multiples of a threshold."""
        shape = self.model.chi.shape
        multiples = self.rng.choice(thresholds, shape) * self.rng.integers(-9, 10, shape)
        corner = multiples + self.rng.integers(-1, 2, shape)
        uniform = self.rng.integers(CHI_MIN, CHI_MAX + 1, shape)
        ends = self.rng.choice([CHI_MIN, CHI_MIN + 1, CHI_MAX, 0], shape)
        kind = self.rng.choice(4, shape, p=[0.6, 0.1, 0.1, 0.2])
        chi = np.choose(kind, [corner, uniform, ends, np.zeros(shape, dtype=np.int64)])
        self.load(np.clip(chi, CHI_MIN, CHI_MAX))

    def vector(self, density):
        """Random slot, of which a part is not 0."""
        codes = self.rng.integers(-128, 128, CONFIG.lines)
        ends = self.rng.choice([-128, -127, 127, 1, -1], CONFIG.lines)
        codes = np.where(self.rng.random(CONFIG.lines) < 0.2, ends, codes)
        return np.where(self.rng.random(CONFIG.lines) < density, codes, 0)

    def load(self, chi):
        """Set all of chi in memory and model."""
        self.model.chi[:] = chi
        bits = CONFIG.chi_bits
        for address, word in enumerate(self.words()):
            packed = sum((int(v) & (2**bits - 1)) << i * bits for i, v in enumerate(word))
            self.dut.chi.macro.mem[address].value = packed


def random_range(size, aligned):
    """Start and count within ``size``; often one line, everything, or ends on ``aligned``."""
    kind = random.randrange(4)
    if kind == 0:
        return random.randrange(size), 1
    if kind == 1:
        return 0, size
    first, last = sorted(random.choices(range(size), k=2))
    if kind == 2:
        first, last = first - first % aligned, last | (aligned - 1)
    return first, last - first + 1


def random_shift():
    """chi_shift and exponent: mostly with a sum that neither kills nor saturates everything."""
    total = random.choice([0, 0, random.randint(-18, 4), random.randint(-8, CONFIG.chi_bits + 2)])
    exponent = random.randint(-EXPONENT_MAX // 2, EXPONENT_MAX // 2)
    if random.random() < 0.1:
        return random.randint(-128, 127), random.randint(-EXPONENT_MAX - 1, EXPONENT_MAX)
    return total - exponent, exponent


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(read_duty=[1.0, 0.5], pulse_duty=[1.0, 0.4])
async def matches_the_model(dut, read_duty, pulse_duty):
    """Random commands; slots, exponents and command change as soon as the unit lets them go."""
    bench = Bench(dut)
    await bench.start(read_duty=read_duty, pulse_duty=pulse_duty)
    thresholds = [1, 2, 3, CHI_MAX // 9, CHI_MAX // 8, CHI_MAX // 3, CHI_MAX - 1, CHI_MAX]
    bench.preset(thresholds)
    for _ in range(COMMANDS):
        if random.random() < 0.1:
            bench.preset(thresholds)
        row_start, row_count = random_range(CONFIG.rows, CONFIG.post_lanes)
        col_start, col_count = random_range(CONFIG.cols, CONFIG.update_lanes)
        chi_shift, exponent = random_shift()
        segment = Segment(
            row_start=row_start, row_count=row_count, col_start=col_start, col_count=col_count,
            threshold=random.choice([*thresholds, random.randint(1, CHI_MAX)]),
            chi_shift=chi_shift,
        )  # fmt: skip
        outer = random.random() < 0.75
        await bench.run(
            segment, outer=outer, transfer=not outer or random.random() < 0.5,
            x=bench.vector(random.choice([0, 0.05, 0.2, 0.5, 1])),
            d=bench.vector(random.choice([0, 0.5, 1])), exponent=exponent,
        )  # fmt: skip
    assert all(bench.totals.values()), f"the stimuli leave out {bench.totals}"
    assert pulse_duty == 1 or bench.stalled > COMMANDS


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def shifts_and_clips(dut):
    """Products of the extreme bytes under every shift that changes anything, and some beyond."""
    bench = Bench(dut)
    await bench.start(read_duty=1.0, pulse_duty=1.0)
    x = np.resize([1, -1, 2, -2, 3, -3, 127, -127, -128], CONFIG.lines)
    d = np.resize([-1, 1, 0, 3, -3, 5, -127, 127, -128], CONFIG.lines)
    for shift in range(-18, CONFIG.chi_bits + 3):
        bench.load(0)
        segment = Segment(
            row_start=0, row_count=CONFIG.rows, col_start=0, col_count=CONFIG.cols,
            threshold=CHI_MAX, chi_shift=shift // 2,
        )  # fmt: skip
        await bench.run(segment, outer=True, transfer=False, x=x, d=d, exponent=shift - shift // 2)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def keeps_pace(dut):
    """Nothing but loading and the pipeline comes on top of one cycle per visited word."""
    bench = Bench(dut)
    await bench.start(read_duty=1.0, pulse_duty=1.0)
    bench.load(0)
    everything = Segment(
        row_start=0, row_count=CONFIG.rows, col_start=0, col_count=CONFIG.cols, threshold=CHI_MAX
    )
    d = np.ones(CONFIG.lines, dtype=np.int64)
    loads = (CONFIG.cols + CONFIG.post_lanes) // CONFIG.post_lanes
    for period in (1, 2, 5, CONFIG.rows):
        x = np.where(np.arange(CONFIG.lines) % period == period - 1, 3, 0)
        visited = len(range(period - 1, CONFIG.rows, period)) * CONFIG.chi_words_per_row
        cycles = await bench.run(everything, outer=True, transfer=True, x=x, d=d)
        gaps = CONFIG.rows // CONFIG.post_lanes - 1 if period == CONFIG.rows else 0
        assert cycles == visited + loads + gaps + PIPELINE, (period, cycles, visited)


PIPELINE = 5
"""Cycles from the last word of x that is awaited to the first chi word stored, and to idle."""
