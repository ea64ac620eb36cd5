# SPDX-License-Identifier: Apache-2.0
"""Programmer with stub macro, converter and vector memory against its golden model."""

import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.interfaces import MvmCommand, MvmSource, Pulse, RowCommand
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.programmer import Programmer
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import StreamPort, reset, send

CONFIG = config_from_env()
N = CONFIG.devices_per_polarity
EVENTS = ("set_pulses", "reset_pulses", "refreshed", "unverified")


class Cells:
    """Conductances with a fixed increment per device (0: stuck) and a noise by window."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        shape = (CONFIG.rows, CONFIG.cols, 2, N)
        self.g = rng.integers(0, 70 // N, shape)
        self.increment = rng.choice([0, 1, 4, 15, 40], shape, p=[0.05, 0.15, 0.3, 0.3, 0.2])
        self.residue = rng.integers(-2, 4, shape)
        self.windows = 0

    def read_row(self, row, polarity):
        noise = (np.arange(CONFIG.cols) * 7 + self.windows * 5) % 5 - 2
        self.windows += 1
        codes = np.clip(self.g[row, :, polarity - 1].sum(axis=-1) + noise, -127, 127)
        return -codes if polarity == 2 else codes

    def set_pulse(self, *devices):
        self.g[devices] += self.increment[devices]

    def reset(self, *devices):
        self.g[devices] = self.residue[devices]


class Expected:
    """The model on cells of its own, with the sequence of selections that it asks for."""

    def __init__(self, seed):
        self.cells = Cells(seed)
        self.selections = []
        self.blind = False
        self.model = Programmer(
            CONFIG, read_row=self.cells.read_row, set_pulse=self.set_pulse, reset=self.reset
        )

    def pulses(self, entries):
        """Selections of blind pulses; ``fire`` is None where it depends on the queue."""
        self.blind = True
        devices = self.model.pulses(entries)
        self.blind = False
        fires = []
        following = [*entries[1:], (-1, 0, 0)]
        for (row, col, p), (next_row, next_col, next_p) in zip(entries, following, strict=True):
            ends = abs(p) > 1 or next_row != row or next_col <= col or abs(next_p) > 1
            fires += [True if ends else None] * abs(p)
        self.selections += [
            (*map(int, device), 0, fire) for device, fire in zip(devices, fires, strict=True)
        ]

    def set_pulse(self, *devices):
        self.cells.set_pulse(*devices)
        if not self.blind:
            self.select(devices, 0)

    def reset(self, *devices):
        self.cells.reset(*devices)
        self.select(devices, 1)

    def select(self, devices, is_reset):
        chosen = [tuple(map(int, device)) for device in zip(*devices, strict=True)]
        self.selections += [(*device, is_reset, False) for device in chosen[:-1]]
        self.selections.append((*chosen[-1], is_reset, True))


class World:
    """Everything around the programmer, advanced cycle by cycle by :meth:`run`."""

    def __init__(self, dut, duty, seed):
        self.dut, self.duty, self.seed = dut, duty, seed
        self.cells = Cells(seed)
        self.vectors = np.random.default_rng(seed).integers(-128, 128, (CONFIG.slots, CONFIG.lines))
        self.selections = []
        self.group = []
        self.lasting = 0
        self.window = 0
        self.latched = 0
        self.held = [0] * CONFIG.lines
        self.counts = dict.fromkeys(EVENTS, 0)
        self.fires = 0
        self.cycles = 0
        self.gap = False
        """Set by a test to keep the crossbar busy."""
        self.expected = Expected(seed)

    def forget(self):
        """What a reset leaves: devices, and the windows of the stub."""
        self.expected = Expected(self.seed)
        self.expected.cells.g[...] = self.cells.g
        self.expected.cells.windows = self.cells.windows
        self.selections, self.group = [], []
        self.counts = dict.fromkeys(EVENTS, 0)

    def chance(self):
        return random.random() < self.duty

    async def start(self):
        await reset(
            self.dut, pulses__valid=0, rows__valid=0, mvm__ready=0, adc__codes=0, latched=0,
            read__ready=0, read__data=0, macro__ready=1, crossbar_idle=1, refresh_high=40,
            refresh_low=20,
        )  # fmt: skip
        cocotb.start_soon(self.run())

    async def run(self):
        """One iteration per cycle: look at what the programmer did, drive the next cycle."""
        dut = self.dut
        await RisingEdge(dut.clk)
        asked = None
        while True:
            self.cycles += 1
            self._macro(dut)
            self._windows(dut)
            self._memory(dut)
            codes = self._block(self.held, asked) if asked is not None else None
            asked = int(dut.adc__block.value) if int(dut.adc__en.value) else None
            if asked is not None:
                assert not int(dut.adc__mask.value), "row reads must not count clipped codes"
            if codes is not None or self.chance():
                garbage = random.getrandbits(8 * CONFIG.post_lanes)
                dut.adc__codes.value = garbage if codes is None else codes
            for name in EVENTS:
                self.counts[name] += int(getattr(dut, name).value)
            dut.crossbar_idle.value = not (self.gap or self.window) and self.chance()
            await RisingEdge(dut.clk)

    @staticmethod
    def _block(values, block):
        lanes = CONFIG.post_lanes
        part = [int(value) & 255 for value in values[block * lanes : (block + 1) * lanes]]
        return int.from_bytes(bytes(part), "little")

    def _macro(self, dut):
        if int(dut.macro__valid.value) and int(dut.macro__ready.value):
            assert int(dut.crossbar_idle.value), "transfer while the crossbar is busy"
            names = ("row", "col", "negative", "device", "reset", "fire")
            item = tuple(int(getattr(dut, f"macro__{name}").value) for name in names)
            self.selections.append(item)
            self.group.append(item)
            if item[-1]:
                self._fire()
        busy = self.lasting or self.group or self.window
        assert int(dut.status__busy.value) or not busy, (
            "idle while a pulse or a read is in progress"
        )
        self.lasting = max(self.lasting - 1, 0)
        dut.macro__ready.value = not self.lasting and self.chance()

    def _fire(self):
        group, self.group = self.group, []
        rows, kinds = {item[0] for item in group}, {item[4] for item in group}
        assert len(rows) == len(kinds) == 1, f"one fire over rows {rows}, kinds {kinds}"
        assert len({item[1:4] for item in group}) == len(group), f"device twice in {group}"
        devices = tuple(np.array(group).T[:4])
        (self.cells.reset if group[0][4] else self.cells.set_pulse)(*devices)
        self.fires += 1
        self.lasting = 1 + random.randint(1, 6)

    def _windows(self, dut):
        if int(dut.mvm__valid.value) and int(dut.mvm__ready.value):
            assert not self.lasting, "read during a pulse"
            assert not self.group, "read with devices selected"
            assert not self.window, "read before the last one has been seen"
            command = MvmCommand(CONFIG).from_bits(int(dut.mvm__payload.value))
            assert command.source == MvmSource.ONE_HOT
            assert command.backward == 0
            assert command.precision == 6
            assert command.lsb_log2 == CONFIG.lsb_log2_min + N.bit_length() - 1
            assert command.input_signs == 3
            assert command.polarities in (1, 2)
            codes = self.cells.read_row(command.line, command.polarities)
            garbage = [random.getrandbits(8) for _ in range(CONFIG.lines - CONFIG.cols)]
            self.read = [*codes.tolist(), *garbage]
            self.window = random.randint(2, 9)
        elif self.window:
            self.window -= 1
            if not self.window:
                self.held = self.read
                self.latched = (self.latched + 1) % 4
                dut.latched.value = self.latched
        dut.mvm__ready.value = self.chance()

    def _memory(self, dut):
        word = random.getrandbits(8 * CONFIG.post_lanes)
        if int(dut.read__valid.value) and int(dut.read__ready.value):
            slot, block = divmod(int(dut.read__address.value), CONFIG.blocks)
            assert int(dut.status__reads.value) == 1 << slot, "slot read that is not in reads"
            word = self._block(self.vectors[slot], block)
            dut.read__data.value = word
        elif self.chance():
            dut.read__data.value = word
        dut.read__ready.value = self.chance()

    async def pulses(self, entries):
        """Offer blind pulses (row, col, signed count)."""
        layout = Pulse(CONFIG)
        payloads = [
            layout.const({"row": row, "col": col, "negative": p < 0, "count": abs(p)}).as_bits()
            for row, col, p in entries
        ]
        await send(StreamPort(self.dut, "pulses"), payloads, self.duty)

    async def command(self, segment, **fields):
        """Offer a row command."""
        geometry = {key: getattr(segment, key) for key in SEGMENT}
        payload = RowCommand(CONFIG).const({**geometry, **fields}).as_bits()
        await send(StreamPort(self.dut, "rows"), [payload], self.duty)

    async def refresh(self, segment, all_rows, high, low):
        self.dut.refresh_high.value, self.dut.refresh_low.value = high, low
        self.expected.model.refresh(segment, all_rows, high, low)
        await self.command(segment, program=0, all_rows=all_rows)

    async def program(self, segment, row, slot):
        self.expected.model.program(segment, row, self.vectors[slot])
        await self.command(segment, program=1, row=row, slot=slot)

    async def idle(self):
        """Wait until the programmer is idle, then compare it with the model."""
        await RisingEdge(self.dut.clk)
        while int(self.dut.status__busy.value):
            await RisingEdge(self.dut.clk)
        self.compare()

    def compare(self):
        expected, model = self.expected.selections, self.expected.model
        for index, (got, want) in enumerate(zip(self.selections, expected, strict=False)):
            fits = got[:-1] == want[:-1] and want[-1] in (None, bool(got[-1]))
            assert fits, f"selection[{index}]: got {got}, expected {want}"
        assert len(self.selections) == len(expected), (
            f"{len(self.selections)} selections, expected {len(expected)}"
        )
        assert self.cells.windows == self.expected.cells.windows, "number of row reads"
        assert (self.cells.g == self.expected.cells.g).all(), "conductances"
        for name in EVENTS:
            want = getattr(model, name)
            assert self.counts[name] == want, f"{name}: got {self.counts[name]}, expected {want}"


SEGMENT = ("row_start", "row_count", "col_start", "col_count")


def random_segment(max_rows=4):
    rows = random.randint(1, min(max_rows, CONFIG.rows))
    cols = random.choice([1, random.randint(1, CONFIG.cols), CONFIG.cols])
    return Segment(
        row_start=random.randint(0, CONFIG.rows - rows), row_count=rows,
        col_start=random.randint(0, CONFIG.cols - cols), col_count=cols,
    )  # fmt: skip


def random_entries(count):
    """Pulses as an update pass makes them, and some that no pass makes."""
    entries = []
    row, col = random.randrange(CONFIG.rows), 0
    for _ in range(count):
        if random.random() < 0.2 or col >= CONFIG.cols:
            row, col = random.randrange(CONFIG.rows), random.randrange(CONFIG.cols)
        p = random.choice([1, 1, 1, random.randint(1, CONFIG.pulse_max)])
        entries.append((row, col, random.choice([-p, p])))
        col += random.choice([0, 1, 1, 1, 5]) if random.random() < 0.9 else -col
    return entries


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.4])
async def blind_pulses(dut, duty):
    """Random pulses with random counts; the macro, the crossbar and the sender stall."""
    world = World(dut, duty, seed=1)
    await world.start()
    for count in (1, 2, 40, 150):
        entries = random_entries(count)
        world.expected.pulses(entries)
        await world.pulses(entries)
        await world.idle()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def back_pressure_and_grouping(dut):
    """A busy crossbar fills the queue; what it holds of one row then leaves in one fire."""
    world = World(dut, 1.0, seed=2)
    await world.start()
    world.gap = True
    count = min(CONFIG.queue_depth + 2, CONFIG.cols)
    row = [(3, col, random.choice([-1, 1])) for col in range(count)]
    entries = [*row, *([(4, 0, 1)] * (CONFIG.queue_depth + 2 - count)), (5, 1, -1), (5, 2, 1)]
    world.expected.pulses(entries)
    sender = cocotb.start_soon(world.pulses(entries))
    for _ in range(3 * CONFIG.queue_depth + 20):
        await RisingEdge(dut.clk)
    assert not int(dut.pulses__ready.value), "a full queue takes more"
    assert not sender.done()
    assert not world.selections
    assert int(dut.status__busy.value)
    world.gap = False
    while not sender.done():
        await RisingEdge(dut.clk)
    await world.idle()
    # The first two left the queue before the third came, the last row may come in two pieces.
    assert [item[-1] for item in world.selections[2:count]] == [0] * (count - 3) + [1]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def throughput(dut):
    """A row of single pulses is selected at one device per cycle."""
    world = World(dut, 1.0, seed=3)
    await world.start()
    world.gap = True
    entries = [(1, col, 1) for col in range(min(CONFIG.queue_depth, CONFIG.cols))]
    world.expected.pulses(entries)
    await world.pulses(entries)
    world.gap = False
    while not world.selections:
        await RisingEdge(dut.clk)
    began = world.cycles
    while len(world.selections) != len(entries):
        await RisingEdge(dut.clk)
    # The first entry is ahead of the others by what the queue takes to answer.
    assert world.cycles - began <= len(entries) + 10
    await world.idle()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def rows_wait_for_pulses(dut):
    """A row command is not taken before the last blind pulse is over."""
    world = World(dut, 0.6, seed=4)
    await world.start()
    world.gap = True
    entries = random_entries(CONFIG.queue_depth)
    world.expected.pulses(entries)
    await world.pulses(entries)
    segment = random_segment()
    command = cocotb.start_soon(world.refresh(segment, 1, 30, 10))
    for _ in range(50):
        await RisingEdge(dut.clk)
        assert not int(dut.rows__ready.value), "row command taken before the pulses"
    world.gap = False
    await command
    await world.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def random_commands(dut, duty):
    """Pulses, refreshes of dirty and all rows, and programming, in random order."""
    world = World(dut, duty, seed=5)
    await world.start()
    full = Segment(row_start=1, row_count=2, col_start=0, col_count=CONFIG.cols)
    await world.program(full, 1, 0)
    await world.idle()
    await world.refresh(full, 1, 10, 5)
    await world.idle()
    assert world.counts["unverified"], "the stimuli do not reach the iteration limit"
    assert world.counts["refreshed"], "the stimuli wear no pair"
    for _ in range(int(12 * 16 / CONFIG.cols) + 8):
        kind = random.choice(["pulses", "refresh", "program"])
        if kind == "pulses":
            entries = random_entries(random.randint(1, 20))
            world.expected.pulses(entries)
            await world.pulses(entries)
        elif kind == "refresh":
            all_rows = random.random() < 0.3
            segment = random_segment(max_rows=4 if all_rows else CONFIG.rows)
            await world.refresh(segment, all_rows, random.randint(0, 60), random.randint(0, 30))
        else:
            row, slot = random.randrange(CONFIG.rows), random.randrange(CONFIG.slots)
            await world.program(random_segment(), row, slot)
        await world.idle()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def only_dirty_rows_are_refreshed_once(dut):
    """A pulse makes its row dirty, a refresh makes it clean, also without worn pairs."""
    world = World(dut, 1.0, seed=6)
    await world.start()
    everything = Segment(row_start=0, row_count=CONFIG.rows, col_start=0, col_count=CONFIG.cols)
    await world.refresh(everything, 0, 0, 0)
    await world.idle()
    assert world.cells.windows == 0
    rows = [0, 5, CONFIG.rows - 1]
    world.expected.pulses([(row, 0, 1) for row in rows])
    await world.pulses([(row, 0, 1) for row in rows])
    await world.idle()
    part = Segment(row_start=1, row_count=5, col_start=0, col_count=CONFIG.cols)
    for segment, windows in [(part, 2), (part, 2), (everything, 6), (everything, 6)]:
        await world.refresh(segment, 0, 127, 127)
        await world.idle()
        assert world.cells.windows == windows


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_pulse_outlasts_a_reset(dut):
    """Nothing is read before the macro is ready again; selections and dirty rows are forgotten."""
    world = World(dut, 1.0, seed=8)
    await world.start()
    for _ in range(6):
        fires = world.fires
        await world.pulses(random_entries(random.randint(1, CONFIG.queue_depth)))
        while world.fires == fires or not world.lasting:
            await RisingEdge(dut.clk)
        world.lasting = 40
        for level in (1, 0):
            dut.rst.value = level
            await RisingEdge(dut.clk)
        world.forget()
        await world.refresh(random_segment(), 0, 30, 10)
        await world.refresh(random_segment(), 1, 30, 10)
        await world.idle()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def zero_and_extreme_targets(dut):
    """A target of 0 takes no SET; -128 counts as -127; thresholds are exclusive."""
    world = World(dut, 1.0, seed=7)
    await world.start()
    lines = np.arange(CONFIG.lines)
    world.vectors[0] = 0
    world.vectors[1] = np.array([0, 127, -127, -128, 1, -1])[lines % 6]
    whole = Segment(row_start=0, row_count=1, col_start=0, col_count=CONFIG.cols)
    for slot in (0, 1):
        await world.program(whole, 2, slot)
        await world.idle()
    for cells in (world.cells, world.expected.cells):
        cells.g[7] = 0
        cells.g[7, :, 0, 0] = 20 + lines[: CONFIG.cols] % 5
        cells.g[7, :, 1, 0] = 10 + lines[: CONFIG.cols] // 5 % 5
    row = Segment(row_start=7, row_count=1, col_start=1, col_count=CONFIG.cols - 2)
    await world.refresh(row, 1, 22, 12)
    await world.idle()
