# SPDX-License-Identifier: Apache-2.0
"""cocotb bench of the window unit: vector memory in Python, results from the golden kernel."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.models.compiler.windows import LayerInput, window_object
from phasecore.models.golden.window import gather, gather_cycles, scatter
from phasecore.rtl.core.interfaces import Exponents, ScatterChunk, WindowCommand
from phasecore.rtl.spec.instructions import SCATTER_SHIFT_MAX
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset
from phasecore.verification.support.windows import random_case, window_at

CONFIG = config_from_env()
WORDS = CONFIG.memory_words
COMMANDS = int(os.environ.get("COMMANDS", "500"))
LINES, LANES = CONFIG.lines, CONFIG.post_lanes
COMMAND = WindowCommand(CONFIG)
IN_WORDS = {"block": "start", "ring_base": "ring_base", "ring_size": "ring_size"}
"""Fields of the command in words, and the names of the same in bytes."""
ANY_WIDTH = (1 << 10) - 1
"""Width of packed rows in the command: no column of a window is beyond it."""
LONGEST = 2000
"""Cycles after which a command hangs."""


def payload(window, **sums):
    """Integer of the command of a golden record; ``sums``: fields of SCATTER."""
    fields = {name: int(window[name]) for name in COMMAND.members if name in window.dtype.names}
    fields |= {field: int(window[name]) // LANES for field, name in IN_WORDS.items()}
    fields["width"] = min(fields["width"], ANY_WIDTH)
    return COMMAND.const({**fields, "sources": covered(window), **sums}).as_value().value


def covered(window):
    """One bit for every slot that a part of the ring lies in."""
    first, last = window.ring_base // LINES, (window.ring_base + window.ring_size - 1) // LINES
    return sum(1 << slot for slot in range(CONFIG.slots) if first <= slot <= last)


class Memory:
    """Vector memory with stalls, and what it must hold; one step per clock cycle."""

    def __init__(self, dut, duty):
        self.dut, self.duty = dut, duty
        seed = random.getrandbits(32)
        self.bytes = np.random.default_rng(seed).integers(-128, 128, WORDS * LANES)
        self.expected = self.bytes.copy()
        self.written = []
        self.window = None
        self.held = {"read": None, "write": None, "scatter": None}
        rng = np.random.default_rng(seed + 1)
        limit = 1 << (CONFIG.acc_bits - 1)
        self.sums = rng.integers(-limit, limit, CONFIG.accumulator_lines)
        self.expected_sums, self.saturated, self.expected_saturated = self.sums.copy(), 0, 0
        self.unit = None
        self.chunk_cycles, self.since_chunk = 1, 0
        self.busy_cycles = self.idle_cycles = 0

    async def run(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.step()

    def offer(self, name, members):
        """What a channel offers, which must not change or go away while it waits."""
        valid = int(getattr(self.dut, f"{name}__valid").value)
        ready = int(getattr(self.dut, f"{name}__ready").value)
        found = None
        if valid:
            found = tuple(int(getattr(self.dut, f"{name}__{key}").value) for key in members)
        assert self.held[name] in (None, found), f"{name} changed before it was taken"
        self.held[name] = None if ready or int(self.dut.rst.value) else found
        return found if ready else None

    def step(self):
        dut = self.dut
        self.busy_cycles += int(dut.status__busy.value)
        self.idle_cycles += 1 - int(dut.status__busy.value)
        self.check_status()
        read = self.offer("read", ["address"])
        write = self.offer("write", ["address", "mask", "data"])
        # A read of a word that is being written has the old one; without a read there is anything.
        dut.read__data.value = random.getrandbits(8 * LANES)
        if read:
            dut.read__data.value = self.read(*read)
        if write:
            self.write(*write)
        if chunk := self.offer("scatter", ["payload"]):
            self.add(ScatterChunk(CONFIG).from_bits(*chunk))
        self.since_chunk = 0 if chunk else self.since_chunk + 1
        room = self.since_chunk + 1 >= self.chunk_cycles
        dut.scatter__ready.value = room and random.random() < self.duty
        dut.read__ready.value = random.random() < self.duty
        dut.write__ready.value = random.random() < self.duty

    def check_status(self):
        busy, window = int(self.dut.status__busy.value), self.window
        reads, writes = int(self.dut.status__reads.value), int(self.dut.status__writes.value)
        if not busy:
            assert (reads, writes) == (0, 0), "hazards while not busy"
        elif self.unit is not None:
            assert (reads, writes) == (1 << int(window.slot), 0), "hazards of SCATTER"
        else:
            assert writes == 1 << int(window.slot), "writes"
            assert reads in (0, covered(window)), "reads"

    def add(self, chunk):
        """Post-processing takes a chunk."""
        assert self.unit is not None, "chunk of GATHER"
        assert chunk["mask"], "chunk without a sum"
        codes = np.frombuffer(chunk["codes"].to_bytes(LANES, "little"), dtype=np.int8)
        limit = 1 << (CONFIG.acc_bits - 1)
        for lane in range(LANES):
            if chunk["mask"] >> lane & 1:
                at = chunk["word"] * LANES + lane
                exact = int(self.sums[at]) + (int(codes[lane]) << chunk["shift"])
                self.sums[at] = min(max(exact, -limit), limit - 1)
                self.saturated += bool(exact != self.sums[at] or (chunk["cut"] and codes[lane]))

    def read(self, address):
        ring = self.window.ring_base, self.window.ring_size
        if self.unit is not None:
            ring = self.window.slot * LINES, LINES
        assert ring[0] <= address * LANES < sum(ring), "read"
        assert self.unit is not None or int(self.dut.status__reads.value) == covered(self.window), (
            "read after its hazard"
        )
        word = self.bytes[address * LANES : (address + 1) * LANES].astype(np.int8)
        return int.from_bytes(word.tobytes(), "little")

    def write(self, address, mask, data):
        assert mask, "write without a byte"
        word = np.frombuffer(data.to_bytes(LANES, "little"), dtype=np.int8)
        for lane in range(LANES):
            if mask >> lane & 1:
                self.bytes[address * LANES + lane] = word[lane]
                self.written.append(address * LANES + lane)

    def accept(self, window, shift=None):
        """A command is taken; ``shift`` of a SCATTER."""
        self.check_memory()
        self.window, self.unit = window, shift
        if shift is None:
            gather(self.expected, LINES, window)
        else:
            self.expected_saturated += scatter(
                self.bytes, self.expected_sums, LINES, shift, CONFIG.acc_bits, window
            )

    def check_memory(self):
        """All of a command is there, every line written once, when the next one is taken."""
        assert np.array_equal(self.sums, self.expected_sums), f"sums of {self.window}"
        assert self.saturated == self.expected_saturated, f"saturations of {self.window}"
        if self.window is not None and self.unit is None:
            first = int(self.window.slot) * LINES + int(self.window.start)
            assert self.written == list(range(first, first + self.window.count)), "lines written"
            wrong = np.flatnonzero(self.bytes != self.expected)
            assert not len(wrong), f"bytes {wrong[:8]} of {self.window}"
        elif self.window is not None:
            assert not self.written, "SCATTER writes"
        self.written = []
        self.window = None


async def start(dut, duty):
    await reset(
        dut, i__valid=0, i__payload=0, read__ready=0, read__data=0, write__ready=0,
        exponents=0, scatter__ready=0,
    )  # fmt: skip
    memory = Memory(dut, duty)
    cocotb.start_soon(memory.run())
    return memory


async def give(dut, memory, window, shift=None):
    """Offer a command until it is taken; from then on the memory expects it.

    ``shift``: of a SCATTER, which adds mantissas shifted by as much.
    """
    sums = {}
    if shift is not None:
        # Exponents of -128..127, and units.
        exponent = random.randint(max(-128, shift - 128), min(127, shift + 127))
        given = [random.randint(-128, 127) for _ in range(CONFIG.slots)]
        given[int(window.slot)] = exponent
        sums = {"scatter": 1, "unit": exponent - shift, "sources": 0}
        # Those of the command before, which has just been taken, count until it is done.
        await RisingEdge(dut.clk)
        while int(dut.status__busy.value):
            await RisingEdge(dut.clk)
        dut.exponents.value = Exponents(CONFIG).const(given).as_value().value
    dut.i__payload.value = payload(window, **sums)
    dut.i__valid.value = 1
    for _ in range(LONGEST):
        await RisingEdge(dut.clk)
        if int(dut.i__ready.value):
            break
    else:
        raise AssertionError(f"hangs before {window}")
    dut.i__valid.value = 0
    memory.accept(window, shift)


async def finish(dut, memory):
    """Wait until the unit is idle; return the busy cycles since the last time."""
    await RisingEdge(dut.clk)
    for _ in range(LONGEST):
        if not int(dut.status__busy.value):
            break
        await RisingEdge(dut.clk)
    else:
        raise AssertionError(f"hangs in {memory.window}")
    memory.check_memory()
    cycles, memory.busy_cycles = memory.busy_cycles, 0
    return cycles


def random_window():
    return random_case(random, CONFIG).window(CONFIG)


def random_sums():
    """Window and shift of a SCATTER."""
    shift = random.choice([random.randint(0, SCATTER_SHIFT_MAX), random.randint(-255, 255)])
    return random_case(random, CONFIG, sums=True).window(CONFIG), shift


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.6, 0.25])
async def windows_are_those_of_the_model(dut, duty):
    """Random windows one behind the other, with stalls on both ports."""
    memory = await start(dut, duty)
    for _ in range(-(-COMMANDS // 3)):
        if CONFIG.sum_words and random.random() < 0.4:
            await give(dut, memory, *random_sums())
        else:
            await give(dut, memory, random_window())
        if random.random() < 0.2:
            await finish(dut, memory)
    await finish(dut, memory)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def cycles_are_those_of_the_closed_form(dut):
    """Without stalls, and another command is taken in the cycle after the last one of a window."""
    memory = await start(dut, 1.0)
    for _ in range(-(-COMMANDS // 5)):
        windows = random_window(), random_window()
        expected = [gather_cycles(LANES, window) for window in windows]
        await give(dut, memory, windows[0])
        memory.idle_cycles = 0
        await give(dut, memory, windows[1])
        assert memory.idle_cycles == 1, "the second one was taken late"
        assert await finish(dut, memory) == sum(expected), windows


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reset_ends_a_command(dut):
    """At any time; lines of that command may be written or not, and the next one is not hurt."""
    memory = await start(dut, 0.6)
    for _ in range(30):
        window = random_window()
        await give(dut, memory, window)
        for _ in range(random.randint(1, 30)):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        assert not int(dut.status__busy.value)
        assert int(dut.i__ready.value)
        first = int(window.slot) * LINES + int(window.start)
        others = np.ones(WORDS * LANES, dtype=bool)
        others[first : first + window.count] = False
        assert np.array_equal(memory.bytes[others], memory.expected[others])
        memory.expected, memory.written, memory.window = memory.bytes.copy(), [], None
        await give(dut, memory, random_window())
        await finish(dut, memory)


def object_of(channels, kernel, *, tile=None, largest=False):
    """A layer over an object of eight by eight pixels, all of it in the ring."""
    layer = LayerInput(height=8, width=8, channels=channels, kernel=kernel, largest=largest)
    rows = min(layer.matrix_rows, LINES) if tile is None else tile[1]
    tile = (0, rows) if tile is None else tile
    return window_object(
        CONFIG, layer, base=CONFIG.slot_words, size=-(-64 * 8 * layer.pitch(CONFIG) // LANES),
        tile=tile,
    )  # fmt: skip


def largest(channels, side):
    """The same, with the largest of the pixels."""
    return object_of(channels, (side, side), tile=(0, channels), largest=True)


def packed(channels, side):
    """Rows of 28 pixels of an image, each as one vector."""
    layer = LayerInput(height=28, width=28, channels=channels, kernel=(side, side), packed=True)
    return window_object(CONFIG, layer, base=CONFIG.slot_words)


LIMITS = {
    "5x5 packed, C 1": (lambda: packed(1, 5), 12),
    "7x7 packed, C 3": (lambda: packed(3, 7), 16),
    "5x5, C 6": (lambda: object_of(6, (5, 5)), 27),
    "5x5, C 8": (lambda: object_of(8, (5, 5)), 27),
    "3x3, C 16": (lambda: object_of(16, (3, 3)), 14),
    "3x3, C 24": (lambda: object_of(24, (3, 3)), 14),
    "1x1, C 256": (lambda: object_of(256, (1, 1)), 8),
    "tile of 3x3, C 64": (lambda: object_of(64, (3, 3), tile=(192, 384)), 14),
    "tile of 3x3, C 128": (lambda: object_of(128, (3, 3), tile=(256, 512)), 14),
    "tile of 3x3, C 96": (lambda: object_of(96, (3, 3), tile=(320, 576)), 14),
    "tile of 3x3, C 256": (lambda: object_of(256, (3, 3), tile=(896, 1152)), 14),
    "MAX 2x2, C 64": (lambda: largest(64, 2), 14),
    "MAX 3x3, C 64": (lambda: largest(64, 3), 14),
    "MAX 3x3, C 128": (lambda: largest(128, 3), 21),
    "MAX 3x3, C 256": (lambda: largest(256, 3), 39),
    "MAX 5x5, C 64": (lambda: largest(64, 5), 27),
}
"""Objects of layers, and the cycles that each of their windows may take."""


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=LANES != 64)
async def windows_take_no_more_cycles_than_they_may(dut):
    """At all places of an object, in the padding too: a window of the crossbar is 128 cycles."""
    memory = await start(dut, 1.0)
    for name, (make, limit) in LIMITS.items():
        entry, found = make(), []
        fields = {"destination": 0, "largest": int(name.startswith("MAX"))}
        for row, col in np.ndindex(3, 3):
            await give(dut, memory, window_at(CONFIG, entry, fields, row=row, col=col))
            found.append(await finish(dut, memory))
        dut._log.info("%s: %d..%d cycles", name, min(found), max(found))
        assert max(found) <= limit, (name, found)


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=LANES != 64)
async def sums_take_no_more_cycles_than_they_may(dut):
    """Post-processing takes a chunk in three cycles: 150 sums of 25 pixels within an update."""
    memory = await start(dut, 1.0)
    memory.chunk_cycles = 3
    sums = {"base": CONFIG.blocks, "sums": 1, "cursor": 1}
    for channels, side, limit in ((6, 5, 95), (16, 5, 52), (16, 3, 32), (8, 5, 97)):
        layer, found = LayerInput(height=8, width=8, channels=channels, kernel=(side, side)), []
        tile = 0, min(layer.matrix_rows, LINES)
        entry = window_object(CONFIG, layer, tile=tile, **sums)
        for row, col in np.ndindex(9 - side, 9 - side):
            window = window_at(CONFIG, entry, {"destination": 0}, row=row, col=col)
            await give(dut, memory, window, 3)
            found.append(await finish(dut, memory))
        dut._log.info("SCATTER %d x %d, C %d: %d..%d", side, side, channels, min(found), max(found))
        assert max(found) <= limit, (channels, side, found)


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=LANES != 64)
async def any_256_lines_of_25_pixels_take_at_most_27_cycles(dut):
    memory = await start(dut, 1.0)
    for _ in range(100):
        entry = object_of(random.randint(11, 256), (5, 5))
        place = {"row": random.randrange(4), "col": random.randrange(4)}
        fields = {"destination": random.randrange(CONFIG.slots)}
        window = window_at(CONFIG, entry, fields, **place)
        await give(dut, memory, window)
        assert await finish(dut, memory) <= 27, window
