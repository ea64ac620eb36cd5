# SPDX-License-Identifier: Apache-2.0
"""LocalControl against the golden model: full, ready, credits and refusals in every cycle."""

import itertools
import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, WindowPlace
from phasecore.rtl.spec.instructions import ObjectDescriptor
from phasecore.rtl.spec.registers.table import OBJECT_WORDS
from phasecore.verification.oracle.local_control import LocalControl
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
OBJECTS = range(CONFIG.objects)
PLAIN = {
    "enable": 1, "cursor": 0, "stride_row": 1, "stride_col": 1, "padding_row": 0, "padding_col": 0,
}  # fmt: skip
LATENCY = 4
"""Cycles from a RELEASE, or a written descriptor, to what follows from it."""


def descriptor(**values):
    """A descriptor of random sizes; ``values`` are kept."""
    small = random.random() < 0.8
    side = 6 if small else 1023
    sizes = {name: random.randint(1, side) for name in ("height", "width")}
    cursor = CONFIG.objects > 2 and random.random() < 0.3
    most = 3 if small else 15
    chosen = {
        "cursor": cursor,
        "source": random.choice(OBJECTS),
        **sizes,
        "out_height": random.randint(1, 7),
        "out_width": random.randint(1, 7),
        **{
            f"kernel_{name}": random.randint(1, random.choice([3, min(side, 255)]))
            for name in ("height", "width")
        },
        **random.choice(
            [
                {"stride_row": 0, "stride_col": 0},
                {"stride_row": random.randint(1, most), "stride_col": random.randint(0, most)},
            ]
        ),
        **{
            f"padding_{name}": random.choice([0, 0, 1, random.randint(-16, 15)])
            for name in ("row", "col")
        },
        "depth": random.randint(1, random.choice([31, 4095])),
        "arrived": random.choice([0, 0, 1, 31]),
        "enable": random.random() < 0.9,
        **pointers(),
    }
    return ObjectDescriptor(**{"x": 1, "y": 2, "route": 3, **chosen, **values})


def pointers():
    """Ring and steps in it."""
    size = random.choice([1, 2, random.randint(1, CONFIG.memory_words)])
    ring = size * CONFIG.post_lanes
    steps = ("origin", "col_step", "row_step", "frame_step")
    return {"size": size, **{name: random.choice([0, random.randrange(ring)]) for name in steps}}


def signed(value):
    """Coordinate as the hardware has it, in 12 bits; beyond them there is no pixel."""
    return (value + 2048) % 4096 - 2048


class Bench:
    """Model and DUT side by side; what the model gives in a cycle the DUT shows in the next."""

    def __init__(self, dut, *, take=1.0):
        self.dut, self.take = dut, take
        self.model = LocalControl(CONFIG)
        self.grants, self.got = deque(), 0
        self.refused = 0
        self.looked_up = None

    async def start(self):
        await reset(
            self.dut, table=0, arrived=0, release__valid=0, release__payload=0, grants__ready=0,
            counted=0, lookup__en=0, lookup__object=0,
        )  # fmt: skip

    async def cycle(self, *, arrived=0, table=0, release=None):
        """One cycle; whether a RELEASE that was offered has been taken."""
        dut, model = self.dut, self.model
        dut.arrived.value = arrived
        dut.table.value = table
        dut.release__valid.value = release is not None
        dut.release__payload.value = release or 0
        dut.grants__ready.value = random.random() < self.take
        dut.counted.value = random.random() < self.take
        dut.lookup__object.value = looked_up = random.choice(OBJECTS)
        dut.lookup__en.value = asked = random.random() < 0.9
        await RisingEdge(dut.clk)
        self._check()
        self.looked_up = looked_up if asked else None
        if int(dut.grants__valid.value) and int(dut.grants__ready.value):
            grant = CreditGrant().from_bits(int(dut.grants__payload.value))
            assert self.grants, f"{grant.count} credits too many of object {grant.object}"
            expected = self.grants.popleft()
            assert (grant.object, grant.count) == (expected.object, expected.credits)
        self.refused += int(dut.refused.value) and int(dut.counted.value)
        taken = release is not None and int(dut.release__ready.value)
        if taken:
            self.grants.extend(model.release(release))
        for index in OBJECTS:
            if arrived >> index & 1:
                model.arrive(index)
        return taken

    def _check(self):
        """Full is exact at all times, ready when nothing is left to do; never ready too early."""
        dut, model = self.dut, self.model
        full, ready = int(dut.full.value), int(dut.ready.value)
        if self.looked_up is not None and ready >> self.looked_up & 1:
            place = WindowPlace(CONFIG).from_bits(int(dut.place.value))
            seen = {name: place[name] for name, _ in WindowPlace(CONFIG)}
            assert seen == self._place(self.looked_up), f"window of object {self.looked_up}"
        for index in OBJECTS:
            known = model.descriptors[index] is not None
            assert ready >> index & 1 <= model.ready(index), f"object {index} ready too early"
            if not int(dut.busy.value):
                assert full >> index & 1 == (not known or model.full(index)), f"full {index}"
                assert ready >> index & 1 == model.ready(index), f"object {index} not ready"
                assert not self.grants, "credits owed while idle"
                assert self.refused == model.refused

    def _place(self, index):
        """Where the window of a ready object is, by the closed form."""
        model, entry = self.model, self.model.descriptors[index]
        row, col, frame = model.row[index], model.col[index], model.frame_number[index]
        pointer = entry.origin + frame * entry.frame_step
        pointer += row * entry.row_step + col * entry.col_step
        y, x = row * entry.stride_row - entry.padding_row, col * entry.stride_col
        return {
            "pointer": pointer % (entry.size * CONFIG.post_lanes),
            "row": signed(y), "col": signed(x - entry.padding_col),
        }  # fmt: skip

    async def write(self, index, wanted, words=range(OBJECT_WORDS)):
        """Write a descriptor, or some words of it, in random order; each restarts the object."""
        order = list(words)
        random.shuffle(order)
        for word in order:
            fields = {"en": 1, "route": 0, "index": index, "word": word}
            given = TableWrite().const({**fields, "data": wanted.pack()[word]})
            self.model.descriptors[index] = None
            await self._write_cycle(given.as_value().value)
        self.model.define(index, wanted)

    async def _write_cycle(self, table):
        dut = self.dut
        dut.table.value, dut.arrived.value, dut.release__valid.value = table, 0, 0
        dut.lookup__en.value, self.looked_up = 0, None
        await RisingEdge(dut.clk)
        dut.table.value = 0

    def fills(self, index):
        """A vector may arrive for the object."""
        entry = self.model.descriptors[index]
        return entry is not None and not entry.cursor and not self.model.full(index)

    async def settle(self):
        """Until nothing is left to do."""
        for _ in range(20000):
            await self.cycle()
            if not int(self.dut.busy.value):
                return
        raise AssertionError("busy for ever")


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(take=[1.0, 0.3])
async def closed_forms_hold_for_any_descriptor(dut, take):
    """Arrivals and RELEASEs of random masks, ready or not, through several frames."""
    bench = Bench(dut, take=take)
    await bench.start()
    for _ in range(40):
        for index in OBJECTS:
            await bench.write(index, descriptor())
        await bench.settle()
        for _ in range(120):
            arrived = sum(
                1 << index for index in OBJECTS
                if random.random() < 0.7 and bench.fills(index)
            )  # fmt: skip
            ready = sum(1 << index for index in OBJECTS if bench.model.ready(index))
            release = None
            if random.random() < 0.5:
                release = random.choice([ready, ready & random.getrandbits(16),
                                         random.getrandbits(CONFIG.objects)])  # fmt: skip
            await bench.cycle(arrived=arrived, release=release)
        await bench.settle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_frame_of_the_largest_size(dut):
    """255 x 255 vectors given back at once, 255 credits at a time; need and dead do not wrap."""
    bench = Bench(dut)
    await bench.start()
    side = 255
    await bench.write(0, descriptor(
        height=side, width=side, out_height=1, out_width=1, kernel_height=side,
        kernel_width=side, depth=31, arrived=31, **PLAIN,
    ))  # fmt: skip
    await bench.settle()
    # The ring is no limit here: local control counts what it is told.
    for _ in range(side * side - 31):
        dut.arrived.value = 1
        await RisingEdge(dut.clk)
        bench.model.arrived[0] += 1
    dut.arrived.value = 0
    await bench.cycle()
    assert int(dut.ready.value) & 1, "a whole frame is not ready"
    assert await bench.cycle(release=1)
    await bench.settle()
    assert bench.model.arrived[0] == 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def release_to_ready_and_credits_takes_four_cycles(dut):
    bench = Bench(dut)
    await bench.start()
    wanted = descriptor(
        height=4, width=1, out_height=4, out_width=1, kernel_height=1, kernel_width=1,
        depth=4, arrived=4, **PLAIN,
    )  # fmt: skip
    for index in (0, 1):
        await bench.write(index, wanted)
    await bench.settle()
    assert await bench.cycle(release=0b11)
    seen = []
    for _ in range(2 * LATENCY + 2):
        await bench.cycle()
        seen.append((int(dut.grants__valid.value), int(dut.ready.value)))
    offered = [cycle for cycle, (valid, _) in enumerate(seen, 1) if valid]
    assert offered == [LATENCY, 2 * LATENCY + 1]
    assert next(cycle for cycle, (_, ready) in enumerate(seen, 1) if ready & 1) == LATENCY


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_written_object_begins_anew(dut):
    """Also when it is written in any cycle of a RELEASE, and arrivals right after count."""
    bench = Bench(dut)
    await bench.start()
    for delay, words in itertools.product(range(8), ((2,), range(OBJECT_WORDS))):
        first = descriptor(
            height=3, width=3, out_height=3, out_width=3, kernel_height=1, kernel_width=1,
            depth=9, arrived=9, **PLAIN,
        )  # fmt: skip
        await bench.write(0, first)
        await bench.settle()
        for _ in range(4):
            assert await bench.cycle(release=1)
            await bench.settle()
        bench.model.arrived[0] = 0
        dut.release__payload.value, dut.release__valid.value = 1, 1
        await RisingEdge(dut.clk)
        dut.release__valid.value = 0
        for _ in range(delay):
            await RisingEdge(dut.clk)
        bench.grants.clear()
        dut.grants__ready.value = 1
        await bench.write(0, descriptor(**{**vars(first), "arrived": 2, "depth": 5}), words)
        for _ in range(3):
            dut.arrived.value = 1
            await RisingEdge(dut.clk)
            bench.model.arrive(0)
        dut.arrived.value = 0
        for _ in range(LATENCY + 4):
            await RisingEdge(dut.clk)
        await bench.settle()
        assert bench.model.present(0) == 5
        assert int(dut.full.value) & 1
        for left in range(5, 0, -1):
            assert int(dut.ready.value) & 1, f"{left} vectors left, not ready"
            assert await bench.cycle(release=1)
            await bench.settle()
        assert not int(dut.ready.value) & 1
