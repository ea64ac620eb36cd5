# SPDX-License-Identifier: Apache-2.0
"""The whole chip as a host sees it: AXI ports on one side, the golden chip on the other.

All macros load the same files (of the ideal profile, whose devices need no seed). Every cocotb test
needs fresh arrays, so ``test_chip_host.py`` runs one per simulation.
"""

import itertools
import os
import random
from copy import deepcopy

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.packets import (
    affine_bytes,
    affine_packet,
    vector_bytes,
    vector_packet,
)
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)
from phasecore.rtl.spec.registers.chip import PAGE_BITS
from phasecore.rtl.spec.registers.core import affine_address, vector_address
from phasecore.rtl.spec.registers.table import FaultCode, FaultCounter
from phasecore.verification.drivers.chip_host import ChipHost
from phasecore.verification.drivers.host import Faults, RegisterError, RunError, reset_again
from phasecore.verification.support.streams import read_devices, slow_pulses

CHIP = ChipConfig.from_json(os.environ["PHASECORE_CHIP"])
PAUSES = os.environ["PHASECORE_PAUSES"] == "1"
CONFIG = CHIP.core
LINES = CONFIG.lines
FIRST, SECOND, OTHER = random.sample(CHIP.cores, 3)
NO_FAULTS = Faults(FaultCode.NONE, 0, {})
SEGMENT = Segment(
    row_start=0, row_count=CONFIG.rows, col_start=0, col_count=CONFIG.cols, forward_lsb_log2=12
)
HALT = encode(Opcode.HALT)
AWAIT, RELEASE = encode(Opcode.AWAIT, objects=1), encode(Opcode.RELEASE, objects=1)


def pauses():
    """Random bursts of rest and work, endless."""
    while True:
        yield from itertools.repeat(random.random() < 0.5, random.choice([1, 1, 2, 5]))


def codes(count=LINES):
    """Random vector elements."""
    return [random.randint(-127, 127) for _ in range(count)]


def send(route=0, *, slot=0, partial=0, length=LINES):
    return encode(
        Opcode.SEND, route=route, partial=partial, slot=slot, first_line=0, length=length, merge=0,
        object=0,
    )  # fmt: skip


def loop(count, target=0):
    return encode(Opcode.LOOP, counter=0, target=target, count=count)


def relay(count):
    """Pass ``count`` vectors of object 0 on as they are."""
    return [AWAIT, send(), RELEASE, loop(count), HALT]


def program_row(row, slot):
    return encode(Opcode.PROGRAM, segment=0, row=row, slot=slot)


def layer(count):
    """Program rows from a first vector, then a layer for ``count`` vectors, with table 0."""
    setup = [AWAIT, *(program_row(row, 0) for row in range(3)), RELEASE]
    return [*setup, *product(0), loop(count, len(setup)), HALT]


def product(table):
    """A layer for a vector, with a table."""
    forward = encode(
        Opcode.FORWARD, segment=0, slot=0, precision=CONFIG.input_bits, input_signs=3, polarities=3
    )
    activate = encode(
        Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
        function=Function.TANH, shift=7, affine=1, table=table, destination=1, destination_line=0,
    )  # fmt: skip
    return [AWAIT, forward, activate, send(slot=1), RELEASE]


class Session:
    """A host and the golden chip, which get the same descriptors, programs and packets."""

    def __init__(self, host, dut):
        self.host, self.dut = host, dut
        self.macros = {node: getattr(dut, f"core_{node}").crossbar.macro for node in CHIP.cores}
        self._begin()
        for core in self.model.cores.values():
            core.crossbar.read_macro_files(os.environ["PHASECORE_MACRO"])

    def _begin(self):
        self.model = Chip(CHIP, IDEAL, 0)
        for core in self.model.cores.values():
            core.segments[0] = SEGMENT

    async def reset(self):
        """Reset the chip; the model begins anew on the devices, both with new descriptors."""
        await reset_again(self.dut, self.host, random.randint(1, 3))
        self._begin()
        for node, core in self.model.cores.items():
            read_devices(self.macros[node], core.crossbar)
        await self.join_all()

    async def join_all(self):
        """Vectors go from the host over FIRST and SECOND and back."""
        await self.join((CHIP.host, 0), (FIRST, 0), depth=1)
        await self.join((FIRST, 0), (SECOND, 0), depth=1, vc=CHIP.noc.virtual_channels - 1)
        await self.join((SECOND, 0), (CHIP.host, 1), credits=4)
        await self.join_table(SECOND)

    async def join_table(self, node):
        """A table's route: its object is the number of the table, credits are not needed."""
        x, y = CHIP.place(node)
        table = RouteDescriptor(x=x, y=y, object=0, credits=0)
        await self.host.define(3, table)
        self.model.define_route(CHIP.host, 3, table)

    async def join(self, producer, consumer, **values):
        """Write both ends of a route on both sides."""
        await self.host.connect_nodes(producer, consumer, **values)
        (source, route), (target, number) = producer, consumer
        common = {"vc": values.get("vc", 0)}
        (px, py), (cx, cy) = CHIP.place(source), CHIP.place(target)
        ring = slot_ring(CONFIG, values.get("slot", 0), values.get("depth", 1))
        self.model.define_object(
            target, number, ObjectDescriptor(x=px, y=py, route=route, **common, **ring)
        )
        common["credits"] = values.get("credits", 1)
        self.model.define_route(source, route, RouteDescriptor(x=cx, y=cy, object=number, **common))

    async def load(self, programs):
        for node, words in programs.items():
            await self.host.cores[node].load_program(words, [SEGMENT])

    async def run(self, programs, packets=()):
        """Run programs on both sides and compare what the host gets, object by object."""
        await self.load(programs)
        for packet in packets:
            self.host.send(packet)
        await self.host.run(programs)
        await self.compare(self.model.run(programs, packets))

    async def compare(self, expected):
        got = [await with_timeout(self.host.receive(), 100, "us") for _ in expected]
        assert self.host.sink.empty(), "more results than expected"
        assert by_object(got) == by_object(expected)

    async def close(self):
        """Nothing was reported by anybody."""
        assert await self.host.faults() == NO_FAULTS
        for node, core in self.host.cores.items():
            assert await core.faults() == NO_FAULTS, node
            assert not int(self.macros[node].errors.value), f"the macro of {node} saw errors"
        for node in range(CHIP.noc.nodes):
            assert await self.host.read_register(f"FAULTS_ROUTER_{node}") == 0


def by_object(results):
    """Results of every object, in order."""
    found = {}
    for result in results:
        found.setdefault(result.slot, []).append((result.start, result.codes.tolist()))
    return found


async def connect(dut):
    """Session with a chip whose descriptors are written."""
    session = Session(await ChipHost.connect(dut, CHIP, pauses=pauses if PAUSES else None), dut)
    await session.join_all()
    return session


def vectors(count):
    return [vector_packet(codes(), config=CONFIG) for _ in range(count)]


def table():
    scale = [random.randrange(256) for _ in range(LINES)]
    return affine_packet(scale, codes(), config=CONFIG, slot=3)


async def exchange(session, count=5):
    """Both cores work on some vectors; conductances, tables and rings all matter."""
    packets = [table(), *vectors(count + 1)]
    await session.run({FIRST: relay(count + 1), SECOND: layer(count)}, packets)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def vectors_through_two_cores(dut):
    """Twice, with other vectors and tables; counters show what went over the NoC."""
    session = await connect(dut)
    for _ in range(2):
        await exchange(session)
    host = session.host
    assert await host.read_mask("HALTED") == 1 << FIRST | 1 << SECOND
    assert await host.read_mask("RUNNING") == await host.read_mask("FAULT") == 0
    # Per exchange: 6 vectors and a table out, 5 vectors in, a credit back for each of both.
    words = LINES // CONFIG.post_lanes
    vector, affine = LINES // 8 + words, LINES // 4 + words
    assert await host.read_register("COUNT_FLITS_SENT") == 2 * (6 * vector + affine + 5)
    assert await host.read_register("COUNT_FLITS_RECEIVED") == 2 * (5 * vector + 6)
    await session.close()


class Memory:
    """Memories of a core written by registers, in RTL and model."""

    def __init__(self, session, node):
        self._page, self._core = session.host.cores[node], session.model.cores[node]

    async def write_vector(self, slot):
        vector = codes()
        await self._page.write_vector(slot, vector)
        self._core.write_memory(vector_address(CONFIG, slot), vector_bytes(vector, config=CONFIG))

    async def write_affine(self, number):
        scale, offset = [random.randrange(256) for _ in range(LINES)], codes()
        await self._page.write_affine(number, scale, offset)
        self._core.write_memory(affine_address(CONFIG, number), affine_bytes(scale, offset))


@cocotb.test(timeout_time=600, timeout_unit="us")
async def registers_reach_what_packets_do_not(dut):
    """On a ring of direct links the core opposite the host gets rows and a table by registers.

    Vectors come to it, and go from it, through the host's neighbours. One of those gets a table
    while many packets with another one arrive.
    """
    session = await connect(dut)
    near = set(CHIP.noc.neighbours[CHIP.host])
    (far,) = set(CHIP.cores) - near
    before, after = random.sample(sorted(near), 2)
    await session.join((CHIP.host, 0), (before, 0))
    await session.join((before, 0), (far, 0))
    await session.join((far, 0), (after, 0))
    await session.join((after, 0), (CHIP.host, 1), credits=4)
    await session.join_table(before)
    tables = [table() for _ in range(20)]
    for packet in tables:
        session.host.send(packet)
    await Memory(session, before).write_affine(1)
    await session.host.source.wait()
    session.model.run({}, tables)

    memory, slots = Memory(session, far), range(2, 5)
    for slot in slots:
        await memory.write_vector(slot)
    await memory.write_affine(0)
    rows = random.sample(range(CONFIG.rows), len(slots))
    program = [program_row(row, slot) for row, slot in zip(rows, slots, strict=True)]
    await session.run({far: [*program, HALT]})
    crossbar = session.model.cores[far].crossbar
    found = deepcopy(crossbar)
    read_devices(session.macros[far], found)
    assert (found.conductance == crossbar.conductance).all()
    assert crossbar.set_pulses

    both = [*product(0), *product(1), HALT]
    far_program = [*product(0), loop(2), HALT]
    await session.run({before: both, far: far_program, after: relay(2)}, vectors(2))
    await session.close()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def resets_at_random_times(dut):
    """Nothing is left of messages, credits and packets; a pulse goes on."""
    session = await connect(dut)
    host, macro = session.host, session.macros[SECOND]
    flits = 0
    for trial in range(3):
        slow = cocotb.start_soon(slow_pulses(macro, 400))
        await session.load({FIRST: relay(6), SECOND: layer(5)})
        for packet in (table(), *vectors(6)):
            host.send(packet)
        await host.start([FIRST, SECOND])
        # The first reset seeks a pulse.
        while trial == 0 and int(macro.program_ready.value):
            await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, random.randrange(1, 300 if trial == 0 else 1600))
        flits += await host.read_register("COUNT_FLITS_RECEIVED")
        await session.reset()
        slow.cancel()
        await exchange(session, 1)
    assert flits, "no reset came after the first messages"
    await session.close()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def pages_belong_to_nodes(dut):
    """IDs, settings of every core for itself, undefined pages refused and counted."""
    session = await connect(dut)
    host = session.host
    assert await host.read_register("ID") == 0x50434850
    assert await host.read_register("CONFIG_WIDTH") == CHIP.noc.width
    for node, core in host.cores.items():
        assert await core.read_register("ID") == 0x50434F52
        await core.write_register("WATCHDOG", 1000 + node)
    for node, core in host.cores.items():
        assert await core.read_register("WATCHDOG") == 1000 + node
        await core.write_register("WATCHDOG", 0)
    outside = CHIP.noc.nodes << PAGE_BITS
    for address in (outside, host.base + 0xFFC):
        with pytest.raises(RegisterError, match="refused"):
            await host.read_word(address - host.base)
    errors = await host.faults()
    assert errors == Faults(FaultCode.REGISTER_UNDEFINED, outside, {FaultCounter.REGISTER: 2})
    with pytest.raises(RegisterError, match="refused"):
        await host.write_register("ID", 1)
    with pytest.raises(RegisterError, match="refused"):
        await host.cores[FIRST].write_register("ID", 1)
    assert (await host.faults()).counts == {FaultCounter.REGISTER: 3}
    assert await host.read_mask("FAULT") == 1 << FIRST
    await host.command("clear")
    await host.cores[FIRST].command("clear")
    await exchange(session)
    await session.close()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def bad_input_harms_nobody(dut):
    """Malformed packets, routes and objects of nobody, partial sums for the host: all counted."""
    session = await connect(dut)
    host = session.host
    good = vectors(1)[0]
    for packet in (good[:-1], b"\x09" + good[1:], good + good, good[:6] + b"\0\0" + good[8:]):
        host.send(packet)
    host.send(vector_packet(codes(), config=CONFIG, slot=7))
    host.send(vector_packet(codes(), config=CONFIG, slot=200))
    # OTHER sends partial sums to an object for vectors, and vectors to one that is not enabled.
    x, y = CHIP.place(CHIP.host)
    for index, number in enumerate((1, CHIP.host_objects - 1)):
        await host.cores[OTHER].define(index, RouteDescriptor(x=x, y=y, object=number, credits=9))
    # A route to a place outside the mesh: the router drops it.
    await host.cores[OTHER].define(2, RouteDescriptor(x=15, y=y, object=0, credits=9))
    activate = encode(
        Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=1, slot=0, accumulate=0,
        function=Function.NONE, shift=0, affine=0, table=0, destination=0, destination_line=0,
    )  # fmt: skip
    await session.load({OTHER: [activate, send(0, partial=1), send(1), send(2), HALT]})
    await host.run([OTHER])
    await exchange(session)
    words = LINES // CONFIG.post_lanes
    errors = await host.faults()
    assert errors.counts == {FaultCounter.PACKET: 4, FaultCounter.NOC: 2 + 2 * words}
    assert await host.read_register(f"FAULTS_ROUTER_{OTHER}") == words
    assert await host.read_mask("FAULT") == 0
    await host.command("clear")
    assert await host.faults() == NO_FAULTS
    await exchange(session)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def a_host_that_does_not_read_stops_its_producers_only(dut):
    """OTHER waits for credits of the host; FIRST and SECOND, who owe it nothing, go on."""
    session = await connect(dut)
    host = session.host
    # SECOND has somebody else to send to, with room for all of it.
    await host.connect_nodes((SECOND, 0), (FIRST, 1), slot=4, depth=4, credits=200)
    await host.connect_nodes((OTHER, 0), (CHIP.host, 2), credits=6)
    await host.connect_nodes((CHIP.host, 1), (OTHER, 0))
    sent = codes()
    host.send_vector(1, sent)
    await session.load({OTHER: [AWAIT, send(length=8), loop(20, 1), RELEASE, HALT]})
    host.sink.pause = True
    await host.start([OTHER])
    count = 4
    await session.load({FIRST: relay(count + 1), SECOND: layer(count)})
    for packet in (table(), *vectors(count + 1)):
        host.send(packet)
    await host.start([FIRST, SECOND])
    for _ in range(200):
        await ClockCycles(dut.clk, 50)
        if await host.read_mask("HALTED") == 1 << FIRST | 1 << SECOND:
            break
    assert await host.read_mask("HALTED") == 1 << FIRST | 1 << SECOND
    assert await host.read_mask("RUNNING") == 1 << OTHER
    host.sink.pause = False
    await host.finish()
    for _ in range(20):
        result = await with_timeout(host.receive(), 100, "us")
        assert (result.slot, result.start, result.codes.tolist()) == (2, 0, sent[:8])
    assert await host.faults() == NO_FAULTS


@cocotb.test(timeout_time=600, timeout_unit="us")
async def a_program_that_waits_for_ever_is_named(dut):
    """The watchdog stops it; RunError says where; the others work on, and it, too, later."""
    session = await connect(dut)
    host = session.host
    await host.connect_nodes((CHIP.host, 1), (OTHER, 0))
    await host.cores[OTHER].write_register("WATCHDOG", 300)
    await session.load({OTHER: [AWAIT, HALT]})
    with pytest.raises(RunError, match=r"^stopped at instruction 0, first error WATCHDOG$"):
        await host.run([OTHER])
    assert await host.read_mask("FAULT") == 1 << OTHER
    await host.cores[OTHER].command("clear")
    host.send_vector(1, codes())
    await host.run([OTHER])
    await exchange(session)
    await session.close()
