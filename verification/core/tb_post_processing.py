# SPDX-License-Identifier: Apache-2.0
"""cocotb bench of post-processing: vector memory and ADC in Python, results from the model."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.interfaces import Exponents, PostCommand, ScatterChunk
from phasecore.rtl.spec.instructions import SCATTER_SHIFT_MAX, DeltaSource, Function
from phasecore.verification.oracle.post_processing import PostProcessing
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
LINES, LANES, SLOTS = CONFIG.lines, CONFIG.post_lanes, CONFIG.slots
COMMANDS = int(os.environ.get("COMMANDS", "120"))
BYTE_MAX = 255
SUMS = CONFIG.accumulator_words > CONFIG.blocks
"""There are accumulators behind those of a vector."""


def lanes_int(values, bits):
    """One integer of signed ``values``, ``bits`` each, lane 0 lowest."""
    word = 0
    for value in reversed(list(values)):
        word = word << bits | (int(value) & ((1 << bits) - 1))
    return word


class Environment:
    """Vector memory, converter and observers around the DUT; one step per clock cycle."""

    def __init__(self, dut, duty):
        self.dut, self.duty = dut, duty
        self.cycle = 0
        self.memory = np.random.default_rng(random.getrandbits(32)).integers(
            -128, 128, (SLOTS, LINES), dtype=np.int64
        )
        self.exponents = {}
        self.codes = np.zeros(LINES, dtype=np.int64)
        self.asked = None
        self.latched = 0
        self.latch_delay = 0
        self.write_cycles = []
        self.ask_cycles = []
        self.reads = self.writes = 0
        self.accumulator_saturations = self.code_saturations = 0
        self.processed = set()
        self.held_write = self.held_read = None
        self.busy = False
        self.chunk = self.take_chunk = None
        self.chunks = 0

    def word(self, address):
        slot, block = divmod(address, CONFIG.blocks)
        return slot, slice(block * LANES, (block + 1) * LANES)

    async def run(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.step()

    def step(self):
        dut = self.dut
        self.cycle += 1
        self.busy = bool(int(dut.status__busy.value))
        used = int(dut.status__reads.value), int(dut.status__writes.value)
        if self.busy:
            # While a chunk is added, no slot is in use.
            assert used in ((self.reads, self.writes), (0, 0)), "slots in use"
        self.accumulator_saturations += int(dut.accumulator_saturations.value)
        self.code_saturations += int(dut.code_saturations.value)
        if int(dut.exponent_write__valid.value):
            slot = int(dut.exponent_write__slot.value)
            self.exponents[slot] = dut.exponent_write__exponent.value.to_signed()
        if SUMS:
            self.step_scatter()
        self.step_read()
        self.step_write()
        self.step_adc()

    def step_scatter(self):
        """Chunks come between commands, or wait."""
        dut = self.dut
        if self.chunk is not None and int(dut.scatter__ready.value):
            self.take_chunk(self.chunk)
            self.chunk, self.chunks = None, self.chunks + 1
        if self.take_chunk is None:
            return
        if self.chunk is None and random.random() < 0.4:
            codes = np.random.default_rng(random.getrandbits(32)).integers(-128, 128, LANES)
            shift = random.choice([SCATTER_SHIFT_MAX, random.randrange(SCATTER_SHIFT_MAX)])
            self.chunk = {
                "word": random.randrange(CONFIG.blocks, CONFIG.accumulator_words),
                "mask": random.getrandbits(LANES), "codes": lanes_int(codes, 8),
                "shift": shift, "cut": shift == SCATTER_SHIFT_MAX and random.random() < 0.4,
            }  # fmt: skip
            dut.scatter__payload.value = ScatterChunk(CONFIG).const(self.chunk).as_value().value
        dut.scatter__valid.value = self.chunk is not None

    def step_read(self):
        dut = self.dut
        valid, ready = int(dut.read__valid.value), int(dut.read__ready.value)
        address = int(dut.read__address.value)
        if self.held_read is not None:
            assert valid, "read request withdrawn"
            assert address == self.held_read, "read request changed before it was taken"
        self.held_read = address if valid and not ready else None
        if valid and ready:
            slot, lines = self.word(address)
            dut.read__data.value = lanes_int(self.memory[slot, lines], 8)
        else:
            dut.read__data.value = random.getrandbits(8 * LANES)
        dut.read__ready.value = random.random() < self.duty

    def step_write(self):
        dut = self.dut
        ready = int(dut.write__ready.value)
        offer = None
        if int(dut.write__valid.value):
            offer = tuple(
                int(getattr(dut, f"write__{name}").value) for name in ("address", "mask", "data")
            )
        if self.held_write is not None:
            assert offer == self.held_write, "write changed before it was taken"
        self.held_write = offer if offer and not ready else None
        if offer and ready:
            address, mask, data = offer
            assert mask, "write without a byte"
            self.write_cycles.append(self.cycle)
            slot, lines = self.word(address)
            for lane in range(LANES):
                if mask >> lane & 1:
                    byte = data >> (8 * lane) & BYTE_MAX
                    self.memory[slot, lines.start + lane] = byte - 256 if byte > 127 else byte
        dut.write__ready.value = random.random() < self.duty

    def step_adc(self):
        dut = self.dut
        if self.asked is None:
            dut.adc__codes.value = random.getrandbits(8 * LANES)
        else:
            block = self.asked * LANES
            dut.adc__codes.value = lanes_int(self.codes[block : block + LANES], 8)
        self.asked = None
        if int(dut.adc__en.value):
            assert int(dut.latched.value) == self.latched, "the converter was asked too early"
            self.ask_cycles.append(self.cycle)
            self.asked = int(dut.adc__block.value)
            mask = int(dut.adc__mask.value)
            for lane in range(LANES):
                if mask >> lane & 1:
                    self.processed.add(self.asked * LANES + lane)
        # What the window before had is still there until the tag matches.
        if self.latch_delay:
            self.latch_delay -= 1
        else:
            dut.latched.value = self.latched

    def latch(self, codes, exponent, delay):
        """The next window ends ``delay`` cycles from now."""
        self.codes = codes
        self.latched = (self.latched + 1) % 4
        self.latch_delay = delay
        self.dut.window_exponent.value = exponent & BYTE_MAX
        if not delay:
            self.dut.latched.value = self.latched


def random_codes(rng):
    """Codes of one window: full range, small, or extreme."""
    limit, factor = random.choice([(127, 1), (127, 1), (20, 1), (1, 1), (1, 127)])
    return rng.integers(-limit, limit + 1, LINES) * factor


def random_command():
    """Fields of a PostCommand, every option."""
    start = random.choice([0, random.randrange(LINES)])
    count = random.choice([LINES - start, random.randint(1, LINES - start)])
    error = random.random() < 0.4
    from_slot = random.random() < 0.4
    return {
        "delta": error,
        "from_slot": from_slot,
        "mantissas": error and from_slot and random.random() < 0.5,
        "normalise": 0,
        "unit": 0,
        "first_line": start,
        "count": count,
        "slot": random.randrange(SLOTS),
        "output": random.randrange(SLOTS),
        "accumulate": not error and random.random() < 0.6,
        "function": random.randint(1 if error else 0, 4),
        "shift": random.randrange(32) if error else random.randrange(16),
        "fixed": error and random.random() < 0.4,
        "bias": random.choice([0, random.randint(-64, 63)]) if error else 0,
        "affine": not error and random.random() < 0.6,
        "table": random.randrange(CONFIG.affine_tables),
        "destination": random.randrange(SLOTS),
        "destination_line": random.choice([start, 0, random.randrange(LINES)]),
    }


def random_normalise():
    """Of accumulators anywhere behind those of a vector, or among them."""
    start = random.choice([LINES, random.randrange(CONFIG.accumulator_lines)])
    count = random.randint(1, min(LINES, CONFIG.accumulator_lines - start))
    return {
        **NORMALISE, "first_line": start,
        "count": count, "unit": random.choice([random.randint(-128, 127), -5]),
        "destination": random.randrange(SLOTS),
        "destination_line": random.choice([0, random.randrange(LINES)]),
    }  # fmt: skip


PLAIN = {**dict.fromkeys(random_command(), 0), "count": LINES}


NORMALISE = {**PLAIN, "normalise": 1, "function": Function.IDENTITY}
NETWORK = (
    "accumulators__read", "accumulators__write", "accumulators__block", "accumulators__mask",
    "accumulators__write_block", "accumulators__write_data", "scatter__valid", "scatter__payload",
)  # fmt: skip


class Golden:
    """The model with vectors, exponents and expected writes."""

    def __init__(self, memory):
        self.post = PostProcessing(CONFIG)
        self.memory = memory.copy()
        self.exponents = {}
        self.slot_exponents = [random.randint(-128, 127) for _ in range(SLOTS)]
        self.words = 0

    def run(self, command, codes, window_exponent):
        start, count = command["first_line"], command["count"]
        lines = slice(start, start + count)
        function = Function(command["function"])
        from_slot = command["from_slot"]
        c = (self.memory[command["slot"]] if from_slot else codes)[lines]
        if command["normalise"]:
            y, exponent = self.post.normalise(self.post.accumulators[lines], command["unit"])
        elif command["delta"]:
            source = DeltaSource.MANTISSAS if command["mantissas"] else DeltaSource.DIFFERENCE
            of_slot = self.slot_exponents[command["slot"]]
            y, exponent = self.post.delta(
                c,
                self.memory[command["output"], lines],
                start=start,
                function=function,
                source=source if from_slot else DeltaSource.CODES,
                shift=command["shift"] if command["fixed"] else None,
                exponent=of_slot if from_slot else window_exponent,
                bias=command["bias"],
            )
        else:
            exponent = 0
            y = self.post.activate(
                c,
                start=start,
                function=function,
                shift=command["shift"],
                accumulate=command["accumulate"],
                from_slot=from_slot,
                table=command["table"] if command["affine"] else None,
            )
        self.words = 0
        if y is not None:
            first = command["destination_line"]
            self.post.place(y, self.memory[command["destination"]], first=first)
            self.exponents[command["destination"]] = exponent
            words = (first + count - 1) // LANES - first // LANES + 1
            blocks = (start + count - 1) // LANES - start // LANES + 1
            self.words = words if CONFIG.blocks > 1 else blocks

    def scatter(self, chunk):
        """Add a chunk of SCATTER."""
        for lane in range(LANES):
            if chunk["mask"] >> lane & 1:
                at = chunk["word"] * LANES + lane
                code = (chunk["codes"] >> 8 * lane & BYTE_MAX ^ 128) - 128
                exact = int(self.post.accumulators[at]) + (code << chunk["shift"])
                limit = 1 << (CONFIG.acc_bits - 1)
                self.post.accumulators[at] = min(max(exact, -limit), limit - 1)
                lost = exact != self.post.accumulators[at] or (chunk["cut"] and code)
                self.post.accumulator_saturations += bool(lost)


class Tester:
    """Runs commands one behind the other and compares after each."""

    def __init__(self, dut, duty):
        self.dut = dut
        self.env = Environment(dut, duty)
        self.golden = Golden(self.env.memory)
        self.rng = np.random.default_rng(random.getrandbits(32))
        self.codes = np.zeros(LINES, dtype=np.int64)
        self.exponent = 0
        self.last = None

    async def start(self):
        await reset(
            self.dut, i__valid=0, latched=0, read__ready=1, write__ready=1, affine_write__en=0,
            window_exponent=0, adc__codes=0, read__data=0, i__payload=0,
            exponents=Exponents(CONFIG).const(self.golden.slot_exponents).as_value().value,
            **(dict.fromkeys(NETWORK, 0) if SUMS else {}),
        )  # fmt: skip
        cocotb.start_soon(self.env.run())
        # Reset leaves the memories alone, and another test has filled them.
        for table in range(CONFIG.affine_tables):
            for block in range(CONFIG.blocks):
                await self.fill_affine(table, block, (1 << LANES) - 1)
        await self.issue({**PLAIN, "from_slot": True})
        for first in range(LINES, CONFIG.accumulator_lines, LINES):
            await self.issue({**NORMALISE, "first_line": first})
            await self.accept()
            self.golden.memory[:] = self.env.memory
            self.golden.exponents |= self.env.exponents
            self.env.code_saturations = 0
            self.last = None
        self.env.take_chunk = self.golden.scatter

    async def fill_affine(self, table, block, mask):
        """Write random scales and offsets into the lanes of ``mask``."""
        dut, post = self.dut, self.golden.post
        scales = self.rng.integers(0, 256, LANES)
        offsets = self.rng.integers(-128, 128, LANES)
        dut.affine_write__en.value = 1
        dut.affine_write__address.value = table * CONFIG.blocks + block
        dut.affine_write__mask.value = mask
        dut.affine_write__data.value = lanes_int(scales | (offsets & BYTE_MAX) << 8, 16)
        await RisingEdge(dut.clk)
        dut.affine_write__en.value = 0
        for lane in range(LANES):
            if mask >> lane & 1:
                post.scales[table, block * LANES + lane] = scales[lane]
                post.offsets[table, block * LANES + lane] = offsets[lane]

    def window(self):
        self.codes = random_codes(self.rng)
        self.exponent = random.choice([0, random.randint(-128, 127)])
        self.env.latch(self.codes, self.exponent, random.choice([0, 0, 1, 2, 5, 20]))

    async def accept(self):
        """Wait until the command on ``i`` is taken, which is after the end of the one before."""
        await RisingEdge(self.dut.clk)
        while not int(self.dut.i__ready.value):
            await RisingEdge(self.dut.clk)

    async def issue(self, command):
        """Run a command; compare the one before."""
        dut, env = self.dut, self.env
        fields = {**command, "tag": env.latched}
        dut.i__payload.value = PostCommand(CONFIG).const(fields).as_bits()
        dut.i__valid.value = 1
        await self.accept()
        dut.i__valid.value = 0
        self.compare()
        env.processed.clear()
        env.write_cycles.clear()
        env.ask_cycles.clear()
        env.reads = command["from_slot"] << command["slot"] | command["delta"] << command["output"]
        writing = command["delta"] or command["function"] != Function.NONE
        env.writes = writing << command["destination"]
        self.last = command
        self.golden.run(command, self.codes, self.exponent)

    def compare(self):
        env, golden, post = self.env, self.golden, self.golden.post
        if self.last is None:
            return
        context = str(self.last)
        wrong = np.argwhere(env.memory != golden.memory)
        assert not len(wrong), (
            f"slot, line {wrong[0]}: got {env.memory[tuple(wrong[0])]},"
            f" expected {golden.memory[tuple(wrong[0])]} ({len(wrong)} wrong): {context}"
        )
        assert env.exponents == golden.exponents, context
        got = (env.accumulator_saturations, env.code_saturations)
        assert got == (post.accumulator_saturations, post.code_saturations), f"{got}: {context}"
        assert len(env.write_cycles) == golden.words, f"{len(env.write_cycles)} writes: {context}"
        if not (self.last["from_slot"] or self.last["normalise"]):
            start = self.last["first_line"]
            assert env.processed == set(range(start, start + self.last["count"])), context

    async def finish(self):
        await self.accept()
        self.compare()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.6, 0.15])
async def matches_the_model(dut, duty):
    tester = Tester(dut, duty)
    await tester.start()
    for _ in range(COMMANDS):
        command = random_command()
        if SUMS and random.random() < 0.3:
            command = random_normalise()
        if not (command["from_slot"] or command["normalise"]) or random.random() < 0.5:
            # A window may end only when the codes of the one before have been taken.
            await tester.accept()
            tester.window()
        if random.random() < 0.1:
            await tester.accept()
            await tester.fill_affine(
                random.randrange(CONFIG.affine_tables), random.randrange(CONFIG.blocks),
                random.getrandbits(LANES),
            )  # fmt: skip
        await tester.issue(command)
    await tester.finish()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def accumulators_saturate(dut):
    """The largest error values of both signs, then sums on top until they no longer fit."""
    tester = Tester(dut, 0.7)
    await tester.start()
    signs = np.where(np.arange(LINES) % 3 == 1, -1, 1)
    for slot, value in ((0, 127), (1, -128)):
        vector = np.where(signs > 0, value, -1 - value)
        tester.env.memory[slot] = tester.golden.memory[slot] = vector
    plain = {**PLAIN, "from_slot": True, "output": 1, "destination": 2}
    await tester.issue({**plain, "delta": True, "function": Function.IDENTITY})
    for affine in (False, True):
        for function in (Function.NONE, Function.IDENTITY, Function.TANH, Function.NONE) * 4:
            await tester.issue({
                **plain, "accumulate": True, "affine": affine, "function": function, "shift": 15,
            })  # fmt: skip
    await tester.finish()
    if CONFIG.acc_bits == 24:
        assert tester.env.accumulator_saturations > LINES


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(rotation=[0, 1, LANES - 1, LANES])
async def one_block_per_cycle(dut, rotation):
    """All lines without a stall: a write per cycle, and a latency of 6 cycles."""
    tester = Tester(dut, 1.0)
    await tester.start()
    await tester.accept()
    tester.window()
    await tester.issue({
        **PLAIN, "function": Function.SIGMOID, "destination_line": rotation % LINES, "shift": 5,
    })  # fmt: skip
    await tester.finish()
    env = tester.env
    asks, writes = list(env.ask_cycles), list(env.write_cycles)
    extra = bool(rotation % LANES) and CONFIG.blocks > 1
    assert len(asks) == CONFIG.blocks
    assert asks[-1] - asks[0] == CONFIG.blocks - 1, "one request per cycle"
    assert len(writes) == CONFIG.blocks + extra
    assert writes[-1] - writes[0] == len(writes) - 1, "one write per cycle"
    assert writes[0] - asks[0] == 6, f"latency {writes[0] - asks[0]}"
