# SPDX-License-Identifier: Apache-2.0
"""WindowTable: commands of the window unit from random descriptors, places and GATHERs."""

import random

import cocotb
from cocotb.triggers import RisingEdge, Timer

from phasecore.rtl.core.interfaces import (
    GatherCommand,
    SumPixel,
    TableWrite,
    WindowCommand,
    WindowPlace,
)
from phasecore.rtl.spec.instructions import ObjectDescriptor
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
OBJECTS = range(CONFIG.objects)
ANY_WIDTH = 1023
"""Of packed rows, whose columns are all inside."""


def descriptor():
    """One with a ring in the slots, behind them, across their end or outside the memory."""
    words, slots = CONFIG.memory_words, CONFIG.slot_words
    base = random.choice([0, slots - 1, slots, random.randrange(words)])
    size = random.choice([0, 1, 2, random.randint(1, words - base), words - base + 1])
    segment = random.choice([0, 1, 8, random.randrange(64)])
    cols, sums = random.randint(0, 3), random.random() < 0.4
    if sums and random.random() < 0.7:
        base = random.randrange(CONFIG.accumulator_words)
        size = random.randint(1, CONFIG.accumulator_words - base + 1)
    return ObjectDescriptor(
        enable=random.random() < 0.9, partial=random.random() < 0.1, cursor=random.randrange(2),
        sums=sums, unit=random.randint(-128, 127), packed=random.randrange(2), base=base,
        size=size, height=random.randrange(1024),
        width=random.randrange(1024), segment=segment, rows=random.choice([0, 1, 2, 15]),
        cols=cols, first_col=random.choice([0, 0, 1, cols]),
        count=random.choice([0, segment, random.randrange(CONFIG.lines + 1)]),
        skip=random.choice([0, 0, segment, random.randrange(64)]),
        pixel_pitch=random.randrange(1024), row_pitch=random.randrange(1 << 8),
    )  # fmt: skip


def ring(entry):
    """Words of the ring."""
    return range(entry.base, entry.base + entry.size)


def is_window(entry, largest, sums):
    """GATHER of the object, or with ``sums`` SCATTER, is legal."""
    words = CONFIG.accumulator_words if entry.sums else CONFIG.memory_words
    fits = entry.size > 0 and ring(entry)[-1] < words and bool(entry.sums) == sums
    pixels = entry.rows > 0 and entry.first_col < entry.cols and entry.skip < entry.segment
    whole = entry.first_col == 0 and entry.skip + entry.count <= entry.segment
    known = entry.enable and not entry.partial and fits
    return bool(known and pixels and entry.count and (whole or not largest))


def covered(entry):
    """Slots of which the ring has a word."""
    blocks = CONFIG.blocks
    return {word // blocks for word in ring(entry) if word < CONFIG.slot_words}


def expected(entry, wish, place):
    """Fields of the command."""
    left = CONFIG.lines - wish["block"] * CONFIG.post_lanes
    return {
        "largest": wish["largest"], "slot": wish["destination"], "block": wish["block"],
        "count": min(entry.count, left), "pointer": place["pointer"], "row": place["row"],
        "col": place["col"] + entry.first_col, "block_row": wish["block_row"],
        "block_col": wish["block_col"], "ring_base": entry.base, "ring_size": entry.size,
        "height": entry.height, "width": ANY_WIDTH if entry.packed else entry.width,
        "rows": entry.rows, "cols": entry.cols, "first_col": entry.first_col,
        "segment": entry.segment, "skip": entry.skip, "pitch": entry.pixel_pitch,
        "row_pitch": entry.row_pitch, "sources": sum(1 << slot for slot in covered(entry)),
        "scatter": wish["sums"], "unit": entry.unit,
    }  # fmt: skip


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def commands_are_those_of_the_descriptors(dut):
    """Any descriptor; the command of a legal window field by field, and who reads the rings."""
    await reset(
        dut, table=0, lookup__en=0, lookup__object=0, i__valid=0, i__payload=0, place=0, o__ready=0
    )
    seen = set()
    for _ in range(60):
        entries = [descriptor() for _ in OBJECTS]
        for index, entry in enumerate(entries):
            for word, data in enumerate(entry.pack()):
                given = {"en": 1, "route": 0, "index": index, "word": word, "data": data}
                dut.table.value = TableWrite().const(given).as_value().value
                await RisingEdge(dut.clk)
        dut.table.value = 0
        await RisingEdge(dut.clk)
        for _ in range(12):
            index = random.choice(OBJECTS)
            wish = {
                "object": index, "destination": random.randrange(CONFIG.slots),
                "block": random.randrange(CONFIG.blocks), "block_row": random.randrange(8),
                "block_col": random.randrange(8), "largest": random.randrange(2),
                "sums": random.random() < 0.4,
            }  # fmt: skip
            wish["largest"] &= not wish["sums"]
            place = {
                "pointer": random.randrange(256), "row": random.randint(-16, 1000),
                "col": random.randint(-16, 1000),
            }  # fmt: skip
            dut.lookup__en.value, dut.lookup__object.value = 1, index
            await RisingEdge(dut.clk)
            dut.lookup__en.value, dut.lookup__object.value = 0, random.choice(OBJECTS)
            dut.i__payload.value = GatherCommand().const(wish).as_value().value
            dut.place.value = WindowPlace(CONFIG).const(place).as_value().value
            dut.i__valid.value, dut.o__ready.value = random.randrange(2), random.randrange(2)
            await Timer(1, "ns")
            entry, kind = entries[index], WindowCommand(CONFIG)
            legal = is_window(entry, wish["largest"], wish["sums"])
            assert int(dut.window.value) == legal, entry
            seen.add((legal, wish["largest"], wish["sums"]))
            assert int(dut.o__valid.value) == int(dut.i__valid.value)
            assert int(dut.i__ready.value) == int(dut.o__ready.value)
            only = [not e.partial and (e.sums or e.base >= CONFIG.slot_words) for e in entries]
            assert int(dut.gathered.value) == sum(1 << k for k in OBJECTS if only[k])
            if not legal:
                continue
            pixel = SumPixel(CONFIG).from_bits(int(dut.pixel.value))
            if wish["sums"] and not wish["block"]:
                first = entry.base * CONFIG.post_lanes + place["pointer"] + entry.skip
                assert pixel["first_line"] == first % CONFIG.accumulator_lines
                count = min(entry.count, CONFIG.lines)
                assert (pixel["count"], pixel["unit"]) == (count, entry.unit)
            found = kind.from_bits(int(dut.o__payload.value))
            for name, value in expected(entry, wish, place).items():
                assert found[name] == value, f"{name} of {entry}"
    assert len(seen) == 6
