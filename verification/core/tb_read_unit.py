# SPDX-License-Identifier: Apache-2.0
"""ReadUnit against the vector memory's contents, packets taken apart by the host code."""

import itertools
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamSink

from phasecore.models.golden.packets import parse_result
from phasecore.rtl.core.control.read_unit import ReadCommand
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
COMMAND = ReadCommand(CONFIG)
LINES, LANES = CONFIG.lines, CONFIG.post_lanes


async def memory(dut, slots, ready):
    """Read port of the vector memory; data is only there in the cycle after a read."""
    while True:
        dut.read__ready.value = random.random() < ready
        await RisingEdge(dut.clk)
        dut.read__data.value = random.getrandbits(8 * LANES)
        if int(dut.read__valid.value) and int(dut.read__ready.value):
            slot, block = divmod(int(dut.read__address.value), CONFIG.blocks)
            assert int(dut.status__reads.value) == 1 << slot, "read of a slot that is not in reads"
            lines = slots[slot][block * LANES : (block + 1) * LANES]
            dut.read__data.value = int.from_bytes(bytes(lines), "little")


async def stable(dut):
    """A beat must not change or go away while it waits."""
    held = None
    while True:
        await RisingEdge(dut.clk)
        beat = None
        if int(dut.axis__tvalid.value):
            names = ("tdata", "tkeep", "tlast")
            beat = tuple(int(getattr(dut, f"axis__{name}").value) for name in names)
            assert held in (None, beat), "beat changed while it waited"
            assert int(dut.status__busy.value), "beat while not busy"
            beat = None if int(dut.axis__tready.value) else beat
        else:
            assert held is None, "beat withdrawn"
        held = beat


async def start(dut, *, ready=1.0, pauses=False):
    slots = [[random.randrange(256) for _ in range(LINES)] for _ in range(CONFIG.slots)]
    await reset(dut, i__valid=0, i__payload=0, read__ready=0, read__data=0, axis__tready=0)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "axis_"), dut.clk)
    if pauses:
        sink.set_pause_generator(itertools.cycle([random.random() < 0.5 for _ in range(101)]))
    cocotb.start_soon(memory(dut, slots, ready))
    cocotb.start_soon(stable(dut))
    return slots, sink


async def read(dut, **command):
    """Give a READ; return once it is accepted."""
    dut.i__payload.value = COMMAND.const(command).as_value().value
    dut.i__valid.value = 1
    await RisingEdge(dut.clk)
    while not int(dut.i__ready.value):
        await RisingEdge(dut.clk)
    dut.i__valid.value = 0


def check(frame, slots, *, slot, first_line, length):
    packet = bytes(byte for byte, keep in zip(frame.tdata, frame.tkeep, strict=True) if keep)
    keeps = [frame.tkeep[i : i + 8] for i in range(0, len(frame.tkeep), 8)]
    assert len(keeps) == 1 + -(-length // 8), f"{len(keeps)} beats"
    assert all(all(keep) for keep in keeps[:-1]), "gap in the packet"
    assert keeps[-1] == sorted(keeps[-1], reverse=True), "tkeep not contiguous from bit 0"
    result = parse_result(packet)
    got = (result.slot, result.start, [code & 0xFF for code in result.codes.tolist()])
    assert got == (slot, first_line, slots[slot][first_line : first_line + length])


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(ready=[1.0, 0.4], pauses=[False, True])
async def results_are_the_lines_asked_for(dut, ready, pauses):
    """READs of all starts and lengths, given as fast as they are taken."""
    slots, sink = await start(dut, ready=ready, pauses=pauses)
    commands = []
    for _ in range(60):
        first = 8 * random.randrange(LINES // 8)
        room = LINES - first
        length = random.choice([1, 7, 8, room, random.randint(1, room)])
        commands.append(
            {"slot": random.randrange(CONFIG.slots), "first_line": first, "length": length}
        )

    async def give():
        for command in commands:
            await read(dut, **command)

    cocotb.start_soon(give())
    for command in commands:
        check(await sink.recv(compact=False), slots, **command)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def busy_and_reads_follow_the_command(dut):
    """Both from the cycle after acceptance; a whole vector takes 1 + beats + 2 blocks cycles."""
    slots, sink = await start(dut)
    await read(dut, slot=3, first_line=0, length=LINES)
    await RisingEdge(dut.clk)
    cycles = 0
    assert int(dut.status__busy.value)
    assert int(dut.status__reads.value) == 1 << 3
    while int(dut.status__busy.value):
        cycles += 1
        await RisingEdge(dut.clk)
    assert int(dut.status__reads.value) == 0
    assert cycles == 1 + LINES // 8 + 2 * CONFIG.blocks, cycles
    check(await sink.recv(compact=False), slots, slot=3, first_line=0, length=LINES)
