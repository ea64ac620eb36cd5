# SPDX-License-Identifier: Apache-2.0
"""ADC interface: counts, codes, clip counts and calibration against the golden model."""

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from phasecore.rtl.core.interfaces import MvmCommand, MvmSource
from phasecore.rtl.spec.core import CALIBRATION_WINDOWS_LOG2, DRIFT_FRACTION
from phasecore.rtl.spec.instructions import Drift
from phasecore.verification.oracle.adc_interface import AdcInterface
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import StreamPort, reset

CONFIG = config_from_env()
COMMAND = MvmCommand(CONFIG)
LANES = CONFIG.post_lanes
INCREMENT_MAX = CONFIG.increment_max


def pack(values, bits):
    """Vector of signed or unsigned items as one integer, item 0 lowest."""
    mask = (1 << bits) - 1
    return sum((int(value) & mask) << (bits * i) for i, value in enumerate(values))


def unpack_bytes(word):
    """Signed bytes of a word."""
    return np.frombuffer(int(word).to_bytes(LANES, "little"), dtype=np.int8).astype(np.int64)


@dataclass
class Window:
    """Increments of shape (cycles, lines) and what goes with them."""

    increments: np.ndarray
    lsb_log2: int
    precision: int
    exponent: int

    @property
    def counts(self):
        """Final counts."""
        return self.increments.sum(axis=0)

    @property
    def at_limit(self):
        """Lines whose converter was at its limit."""
        return np.any(np.abs(self.increments) == INCREMENT_MAX, axis=0)


def random_window(kind):
    """A window of any precision and range; ``kind`` decides how large its counts are."""
    precision = random.randint(5, CONFIG.input_bits)
    shape = 1 << (precision - 1), CONFIG.lines
    rng = np.random.default_rng(random.getrandbits(32))
    if kind == "extreme":
        sign = rng.integers(0, 2, size=(1, CONFIG.lines))
        increments = np.broadcast_to(np.where(sign, INCREMENT_MAX, -INCREMENT_MAX), shape)
    elif kind == "wild":
        increments = rng.integers(-INCREMENT_MAX, INCREMENT_MAX + 1, size=shape)
        # On one line in two an only increment is at the limit, or none.
        increments[:, ::2] = increments[:, ::2].clip(1 - INCREMENT_MAX, INCREMENT_MAX - 1)
        increments[rng.integers(shape[0]), ::4] = rng.choice([-1, 1]) * INCREMENT_MAX
    else:
        # Totals about as large as a code, in single steps, so that codes clip now and then.
        target = rng.integers(-160, 161, size=CONFIG.lines)
        cycle = np.arange(shape[0] + 1)[:, None]
        increments = np.diff((cycle * target) // shape[0], axis=0)
        noise = rng.integers(-3, 4, size=shape)
        increments = increments + noise - np.roll(noise, 1, axis=0)
        increments = increments.clip(1 - INCREMENT_MAX, INCREMENT_MAX - 1)
    return Window(
        increments,
        random.randint(CONFIG.lsb_log2_min, CONFIG.lsb_log2_max),
        precision,
        random.randint(-128, 127),
    )


class Bench:
    """Plays driver and macro (windows), and reads codes at random."""

    def __init__(self, dut):
        self.dut = dut
        self.model = AdcInterface(CONFIG)
        self.windows = deque()
        self.held = None
        self.latched = 0
        self.cycle = 0
        self.first_cycle = None
        self.latencies = []
        self.clipped = 0
        self.overranges = 0

    async def start(self):
        """Reset, and run windows as they are queued."""
        await reset(
            self.dut, read__en=0, calibrate=0, drift=0, baseline=0, mvm__ready=0, line=0,
            increments=0, timing__active=0, timing__first=0, timing__last=0, timing__lsb_log2=0,
            timing__precision=0, timing__exponent=0,
        )  # fmt: skip
        cocotb.start_soon(self.macro())

    def increments(self):
        """Increments outside a window mean nothing."""
        return random.getrandbits(CONFIG.lines * CONFIG.increment_bits)

    async def macro(self):
        """Windows back to back while there are any; increments one cycle behind the timing."""
        dut = self.dut
        timing = dut.timing__first, dut.timing__active, dut.timing__last
        delayed = self.increments()
        latching = deque([None, None])
        while True:
            window = self.windows.popleft() if self.windows else None
            cycles = len(window.increments) if window else 1
            for t in range(cycles):
                flags = (t == 0, True, t == cycles - 1) if window else (False, False, False)
                for handle, flag in zip(timing, flags, strict=True):
                    handle.value = flag
                dut.increments.value = delayed
                delayed = self.increments()
                if window:
                    dut.timing__lsb_log2.value = window.lsb_log2
                    dut.timing__precision.value = window.precision
                    dut.timing__exponent.value = window.exponent & 0xFF
                    delayed = pack(window.increments[t], CONFIG.increment_bits)
                await RisingEdge(dut.clk)
                self.cycle += 1
                if flags[0]:
                    self.first_cycle = self.cycle
                latching.append(window if flags[2] else None)
                done = latching.popleft()
                if done:
                    self.held = done
                    self.latched += 1
                    self.latencies.append((self.cycle - done.first, len(done.increments)))
                if flags[2]:
                    window.first = self.first_cycle
                assert int(dut.latched.value) == self.latched % 4
                if done:
                    assert dut.exponent.value.to_signed() == done.exponent

    async def reader(self, duty):
        """Read random blocks; codes and clip counts are due exactly two cycles later."""
        dut = self.dut
        due = deque([None, None])
        while True:
            enable = self.held is not None and random.random() < duty
            block = random.randrange(CONFIG.blocks)
            mask = random.choice([(1 << LANES) - 1, random.getrandbits(LANES)])
            dut.read__en.value = enable
            dut.read__block.value = block
            dut.read__mask.value = mask
            await RisingEdge(dut.clk)
            # The macro coroutine, started first, has brought ``held`` up to this cycle.
            due.append((self.held, block, mask) if enable else None)
            asked = due.popleft()
            if asked is None:
                assert int(dut.clipped.value) == int(dut.overranges.value) == 0
                continue
            held, block, mask = asked
            lines = slice(block * LANES, (block + 1) * LANES)
            masked = np.zeros(CONFIG.lines, dtype=bool)
            masked[lines] = [mask >> lane & 1 for lane in range(LANES)]
            before = self.model.clipped, self.model.overranges
            expected = self.model.read_out(
                held.counts, held.lsb_log2, held.precision, masked, held.at_limit
            )[lines]
            codes = unpack_bytes(dut.read__codes.value)
            wrong = np.flatnonzero(codes != expected)
            assert not wrong.size, (
                f"block {block}, lanes {wrong}: {codes[wrong]}, expected {expected[wrong]}"
            )
            clipped = self.model.clipped - before[0]
            overranges = self.model.overranges - before[1]
            assert (int(dut.clipped.value), int(dut.overranges.value)) == (clipped, overranges)
            self.clipped += clipped
            self.overranges += overranges

    async def run(self, windows, gap):
        """Queue windows, up to ``gap`` cycles apart, until all are held."""
        goal = self.latched + len(windows)
        for window in windows:
            if gap:
                await ClockCycles(self.dut.clk, random.randint(0, gap))
                while self.windows:
                    await RisingEdge(self.dut.clk)
            self.windows.append(window)
        while self.latched < goal:
            await RisingEdge(self.dut.clk)
        await ClockCycles(self.dut.clk, 20)

    async def check_registers(self):
        """Compare the calibration registers of all lines."""
        dut = self.dut
        for line in range(CONFIG.lines):
            dut.line.value = line
            await ClockCycles(dut.clk, 2)
            got = dut.offset.value.to_signed(), int(dut.gain.value)
            expected = int(self.model.offsets[line]), int(self.model.gains[line])
            assert got == expected, f"registers of line {line}: {got}, expected {expected}"

    async def calibrate(self, macro, drift=Drift.NONE):
        """Run the sequence on ``macro(source, polarities) -> counts`` and update the model.

        Returns the calibration errors.
        """
        dut, model = self.dut, self.model
        sums = {}
        errors = 0
        finished = False

        async def count_errors():
            nonlocal errors
            while not finished:
                await RisingEdge(dut.clk)
                errors += int(dut.calibration_error.value)
                if int(dut.baselined.value):
                    assert drift is Drift.BASELINE
                    dut.baseline.value = int(dut.conductance.value)

        dut.calibrate.value, dut.drift.value = 1, drift
        await RisingEdge(dut.clk)
        dut.calibrate.value, dut.drift.value = 0, random.randrange(3)
        counter = cocotb.start_soon(count_errors())
        kinds = [(MvmSource.NOTHING, 3), (MvmSource.REFERENCE, 3)]
        if drift is not Drift.NONE:
            kinds = [(MvmSource.ALL, 1), (MvmSource.ALL, 2), *kinds]
        for kind in kinds:
            sums[kind] = sum([
                await self.window(macro, *kind) for _ in range(1 << CALIBRATION_WINDOWS_LOG2)
            ])  # fmt: skip
        while int(dut.calibrating.value):
            await RisingEdge(dut.clk)
        finished = True
        await counter
        plus, minus = (sums.get((MvmSource.ALL, polarities), 0) for polarities in (1, 2))
        expected = model.compare(drift, int(np.sum(plus - minus)))
        expected += model.calibrate(sums[MvmSource.NOTHING, 3], sums[MvmSource.REFERENCE, 3])
        assert errors == expected, f"{errors} calibration errors, expected {expected}"
        assert int(dut.baseline.value) == model.drift_baseline
        assert int(dut.scale.value) == model.drift_scale
        await self.check_registers()
        return errors

    async def window(self, macro, source, polarities):
        """Take the command of one window of the sequence; the counts that it is given."""
        dut = self.dut
        port = StreamPort(dut, "mvm")
        await ClockCycles(dut.clk, random.randint(1, 3))
        while not int(port.valid.value):
            await RisingEdge(dut.clk)
            assert int(dut.calibrating.value)
        bits = COMMAND.from_bits(int(port.payload.value))
        command = {name: bits[name] for name in COMMAND.members}
        assert command == {
            "source": source, "backward": int(CONFIG.rows > CONFIG.cols), "slot": 0,
            "first_line": 0, "count": min(CONFIG.rows, CONFIG.cols), "line": 0,
            "precision": CONFIG.input_bits,
            "lsb_log2": CONFIG.drift_lsb_log2 if source == MvmSource.ALL else CONFIG.lsb_log2_min,
            "input_signs": 3, "polarities": polarities,
        }  # fmt: skip
        port.ready.value = 1
        await RisingEdge(dut.clk)
        port.ready.value = 0
        counts = macro(source, polarities)
        cycle = np.arange(CONFIG.window_cycles + 1)[:, None]
        increments = np.diff((cycle * counts) // CONFIG.window_cycles, axis=0)
        await ClockCycles(dut.clk, random.randint(1, 9))
        self.windows.append(Window(increments, command["lsb_log2"], CONFIG.input_bits, 0))
        return counts


def analog_lines(rng, *, spread, conductance=300):
    """A macro with an offset and gain per line: count = noise + offset + gain 1024.

    G+ of a line counts up to twice ``conductance``, G- a third of G+.
    """
    offset = rng.integers(-40, 41, size=CONFIG.lines)
    gain = rng.integers(1024 - spread, 1024 + spread + 1, size=CONFIG.lines)
    plus = rng.integers(0, 2 * abs(conductance) + 1, size=CONFIG.lines) * np.sign(conductance)

    def counts(source, polarities):
        noise = rng.integers(-2, 3, size=CONFIG.lines)
        drives = {
            MvmSource.REFERENCE: gain,
            MvmSource.ALL: plus if polarities == 1 else -(plus // 3),
        }
        return offset + noise + drives.get(source, 0)

    return counts


def broken_lines(rng):
    """Offsets and gains far outside the registers, dead and inverted lines."""
    offset = rng.integers(-700, 701, size=CONFIG.lines)
    largest = INCREMENT_MAX * CONFIG.window_cycles - 700
    gain = np.resize([0, -300, 1, 3, 200, 256, 260, largest, largest // 4], CONFIG.lines)

    def counts(source, _polarities):
        return offset + (gain if source == MvmSource.REFERENCE else 0)

    return counts


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(gap=[0, 40], duty=[1.0, 0.3])
async def matches_golden_model(dut, gap, duty):
    """Random windows with reset registers, read while the next one runs."""
    bench = Bench(dut)
    await bench.start()
    cocotb.start_soon(bench.reader(duty))
    kinds = random.choices(["extreme", "wild", "small"], [1, 1, 3], k=10)
    await bench.run([random_window(kind) for kind in kinds], gap)
    assert bench.clipped, "no code was ever clipped"
    assert bench.overranges, "no line was ever at its limit"
    assert all(cycles == length + 1 for cycles, length in bench.latencies)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def latches_within_130_cycles(dut):
    """Full-precision windows are held 129 cycles after their first cycle, one per 128."""
    bench = Bench(dut)
    await bench.start()
    windows = [random_window("small") for _ in range(30)]
    windows = [w for w in windows if w.precision == CONFIG.input_bits]
    begin = bench.cycle
    await bench.run(windows, 0)
    assert {cycles for cycles, _ in bench.latencies} == {CONFIG.window_cycles + 1}
    assert bench.cycle - begin <= len(windows) * CONFIG.window_cycles + 30


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def calibrates(dut):
    """Registers come out as in the model, twice over, and the codes use them."""
    bench = Bench(dut)
    await bench.start()
    rng = np.random.default_rng(random.getrandbits(32))
    await bench.check_registers()
    errors = await bench.calibrate(broken_lines(rng))
    assert errors >= CONFIG.lines // 10 * 2
    reader = cocotb.start_soon(bench.reader(0.5))
    await bench.run([random_window("small") for _ in range(6)], 0)
    reader.cancel()
    dut.read__en.value = 0
    assert await bench.calibrate(analog_lines(rng, spread=200)) == 0
    cocotb.start_soon(bench.reader(1.0))
    await bench.run([random_window(kind) for kind in ["small"] * 8 + ["wild", "extreme"]], 20)


@cocotb.test(timeout_time=8, timeout_unit="ms")
async def compensates_drift(dut):
    """Baselines and scales as in the model; what cannot be compared is counted, with scale 1."""
    bench = Bench(dut)
    await bench.start()
    rng = np.random.default_rng(random.getrandbits(32))

    async def run(drift, conductance):
        return await bench.calibrate(analog_lines(rng, spread=99, conductance=conductance), drift)

    assert await run(Drift.COMPENSATE, 200) == 1
    assert await run(Drift.BASELINE, 300) == 0
    assert await run(Drift.COMPENSATE, 200) == 0
    assert bench.model.drift_scale > 1100
    reader = cocotb.start_soon(bench.reader(0.5))
    await bench.run([random_window("small") for _ in range(4)], 0)
    reader.cancel()
    dut.read__en.value = 0
    assert await run(Drift.COMPENSATE, 20) == 0
    assert bench.model.drift_scale == (1 << CONFIG.drift_scale_bits) - 1
    assert await run(Drift.COMPENSATE, -20) == 1
    assert await run(Drift.NONE, 200) == 0
    assert bench.model.drift_scale == 1 << DRIFT_FRACTION
    assert await run(Drift.BASELINE, -300) == 1
    assert bench.model.drift_baseline == 0
    dut.baseline.value = bench.model.drift_baseline = random.getrandbits(CONFIG.drift_bits - 3)
    assert await run(Drift.COMPENSATE, 300) == 0
    assert bench.model.drift_scale < 1000
