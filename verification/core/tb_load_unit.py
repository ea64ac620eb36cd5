# SPDX-License-Identifier: Apache-2.0
"""LoadUnit under well-formed and malformed packets from cocotbext-axi, against a list of bytes."""

import itertools
import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSource

from phasecore.models.golden.packets import affine_packet, header, vector_packet
from phasecore.rtl.core.control.load_unit import LoadCommand
from phasecore.rtl.spec.instructions import HEADER, PacketKind, unpack
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
COMMAND = LoadCommand(CONFIG)
LINES, LANES = CONFIG.lines, CONFIG.post_lanes


class Memories:
    """What the three write ports wrote, and every dropped packet."""

    def __init__(self, dut, ready):
        self.dut, self.ready = dut, ready
        self.vectors = np.zeros((CONFIG.slots, LINES), dtype=np.int64)
        self.tables = np.zeros((CONFIG.affine_tables, LINES, 2), dtype=np.int64)
        self.exponents = [99] * CONFIG.slots
        self.errors = []
        self.writes = 0
        self.active = set()
        cocotb.start_soon(self._run())

    async def _run(self):
        dut = self.dut
        held = None
        while True:
            dut.write__ready.value = random.random() < self.ready
            await RisingEdge(dut.clk)
            if int(dut.malformed.value):
                self.errors.append(FaultCode(int(dut.error.value)))
            if int(dut.exponent_write__valid.value):
                self.exponents[int(dut.exponent_write__slot.value)] = int(
                    dut.exponent_write__exponent.value
                )
            if int(dut.status__writes.value):
                self.active.add(int(dut.status__writes.value))
            request = None
            if int(dut.write__valid.value):
                names = ("address", "mask", "data")
                request = tuple(int(getattr(dut, f"write__{name}").value) for name in names)
                assert held in (None, request), "write changed while it waited"
                assert int(dut.status__busy.value), "write while not busy"
                if int(dut.write__ready.value):
                    slot = self._write(self.vectors, *request, 1)
                    assert int(dut.status__writes.value) == 1 << slot
                    request = None
            else:
                assert held is None, "write withdrawn"
            held = request
            if int(dut.affine_write__en.value):
                self._write(self.tables, *(
                    int(getattr(dut, f"affine_write__{name}").value)
                    for name in ("address", "mask", "data")
                ), 2)  # fmt: skip

    def _write(self, memory, address, mask, data, size):
        self.writes += 1
        item, block = divmod(address, CONFIG.blocks)
        assert mask, "write without a lane"
        for lane in range(LANES):
            if mask >> lane & 1:
                value = data >> 8 * size * lane
                line = block * LANES + lane
                if size == 1:
                    memory[item, line] = value & 0xFF
                else:
                    memory[item, line] = value & 0xFF, value >> 8 & 0xFF
        return item


async def start(dut, *, ready=1.0, pauses=False):
    await reset(
        dut, axis__tvalid=0, axis__tdata=0, axis__tkeep=0, axis__tlast=0, i__valid=0, i__payload=0,
        cancel=0, write__ready=0,
    )  # fmt: skip
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "axis_"), dut.clk)
    if pauses:
        source.set_pause_generator(itertools.cycle([random.random() < 0.4 for _ in range(101)]))
    return source, Memories(dut, ready)


async def load(dut, *, affine, slot):
    """Give a LOAD and wait until it is done."""
    dut.i__payload.value = COMMAND.const({"affine": affine, "slot": slot}).as_value().value
    dut.i__valid.value = 1
    await RisingEdge(dut.clk)
    while not int(dut.i__ready.value):
        await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    await RisingEdge(dut.clk)
    assert int(dut.status__busy.value), "not busy in the cycle after acceptance"
    assert int(dut.status__writes.value) == (0 if affine else 1 << slot)
    while int(dut.status__busy.value):
        await RisingEdge(dut.clk)
    assert int(dut.status__writes.value) == 0


def random_packet():
    """A well-formed packet: bytes, affine, first line, values."""
    start_line = 8 * random.randrange(LINES // 8)
    length = random.choice([1, LINES - start_line, random.randint(1, LINES - start_line)])
    if random.random() < 0.4:
        values = np.array(
            [[random.randrange(256), random.randrange(-128, 128)] for _ in range(length)]
        )
        packet = affine_packet(values[:, 0], values[:, 1], config=CONFIG, start=start_line)
        return packet, 1, start_line, values & 0xFF
    values = np.array([random.randint(-127, 127) for _ in range(length)])
    return vector_packet(values, config=CONFIG, start=start_line), 0, start_line, values & 0xFF


def spoil(packet):
    """A malformed variant of a packet as (bytes, keep of every byte or None, expected error)."""
    fields = unpack(HEADER, int.from_bytes(packet[:8], "little"))
    start_line, length, body = fields["start"], fields["length"], packet[8:]
    kind = PacketKind(fields["kind"])
    size = 2 if kind is PacketKind.AFFINE else 1
    beats = -(-len(body) // 8)

    def with_range(start, length):
        return header(kind, start=start, length=length) + body, None, FaultCode.PACKET_RANGE

    choices = [
        lambda: (packet[:6] + random.choice([b"\0\0", b"\x44\x50"]) + body, None,
                 FaultCode.PACKET_MAGIC),
        lambda: (bytes([random.choice([0, 3, 0x81])]) + packet[1:], None, FaultCode.PACKET_KIND),
        lambda: with_range(start_line, 0),
        lambda: with_range(start_line + random.randint(1, 7), length),
        lambda: with_range(start_line, LINES - start_line + 1),
        lambda: with_range(LINES, 1),
        lambda: with_range(0xFFF8, 0xFFFF),
        lambda: (packet[:8], None, FaultCode.PACKET_EARLY),
        lambda: (packet + bytes(8 + -len(body) % 8), None, FaultCode.PACKET_LATE),
        lambda: _holes(packet),
    ]  # fmt: skip
    if beats > 1:
        choices.append(
            lambda: (packet[: 8 * random.randint(2, beats)], None, FaultCode.PACKET_EARLY)
        )
    if size * length % 8:
        choices.append(lambda: (packet + b"\0", None, FaultCode.PACKET_KEEP))
    if (size * length - 1) % 8:
        choices.append(lambda: (packet[:-1], None, FaultCode.PACKET_KEEP))
    return random.choice(choices)()


def _holes(packet):
    """The same beats, one byte of one beat (header included) without its tkeep."""
    keep = [1] * len(packet)
    keep[random.randrange(len(packet) - 1)] = 0
    return packet, keep, FaultCode.PACKET_KEEP


async def send(source, packet, keep=None):
    await source.send(AxiStreamFrame(packet, tkeep=keep))


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(ready=[1.0, 0.4], pauses=[False, True])
async def packets_fill_slots_and_tables(dut, ready, pauses):
    """Good packets of all lengths and starts; other lines and slots keep their bytes."""
    source, memories = await start(dut, ready=ready, pauses=pauses)
    vectors, tables = memories.vectors.copy(), memories.tables.copy()
    for _ in range(40):
        packet, affine, first, values = random_packet()
        await send(source, packet)
        slot = random.randrange(CONFIG.affine_tables if affine else CONFIG.slots)
        memories.active.clear()
        writes = memories.writes
        await load(dut, affine=affine, slot=slot)
        (tables if affine else vectors)[slot, first : first + len(values)] = values
        assert (memories.vectors == vectors).all()
        assert (memories.tables == tables).all()
        visited = (first + len(values) - 1) // LANES - first // LANES + 1
        assert memories.writes - writes == visited, "blocks without lines were written"
        if not affine:
            assert memories.exponents[slot] == 0
            assert memories.active == {1 << slot}
    assert memories.errors == []


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(pauses=[False, True])
async def malformed_packets_leave_no_trace(dut, pauses):
    """Malformed packets among good ones: each is reported once and changes nothing."""
    source, memories = await start(dut, ready=0.7, pauses=pauses)
    vectors, tables = memories.vectors.copy(), memories.tables.copy()
    expected = []
    for _ in range(80):
        for _ in range(random.randrange(3)):
            packet, keep, error = spoil(random_packet()[0])
            await send(source, packet, keep)
            expected.append(error)
        packet, affine, first, values = random_packet()
        await send(source, packet)
        slot = random.randrange(CONFIG.affine_tables if affine else CONFIG.slots)
        await load(dut, affine=affine, slot=slot)
        (tables if affine else vectors)[slot, first : first + len(values)] = values
        assert memories.errors == expected
        assert (memories.vectors == vectors).all()
        assert (memories.tables == tables).all()
    assert set(expected) == {
        FaultCode[f"PACKET_{name}"] for name in ("MAGIC", "KIND", "RANGE", "EARLY", "LATE", "KEEP")
    }


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_host_that_goes_on_in_a_reset(dut):
    """What is left of a packet is reported and dropped, what had not begun is not lost."""
    source, memories = await start(dut, pauses=True)
    for _ in range(30):
        memories.errors.clear()
        packets = [vector_packet([random.randint(-127, 66)] * LINES, config=CONFIG)
                   for _ in range(2)]  # fmt: skip
        beats, stop = 0, random.randrange(LINES // 8 + 2)
        for packet in packets:
            await send(source, packet)
        while beats < stop:
            await RisingEdge(dut.clk)
            beats += int(dut.axis__tvalid.value) and int(dut.axis__tready.value)
        dut.rst.value = 1
        for _ in range(random.randint(1, 5)):
            await RisingEdge(dut.clk)
            assert not int(dut.axis__tready.value), "taken in a reset"
        dut.rst.value = 0
        await load(dut, affine=0, slot=0)
        kept = packets[stop > 0][8:]
        assert (memories.vectors[0] == list(kept)).all()
        broken = 0 < stop < LINES // 8 + 1
        assert memories.errors == [FaultCode.PACKET_MAGIC] * broken
        if stop == 0:
            await load(dut, affine=0, slot=0)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def packets_of_the_other_kind_are_dropped(dut):
    """A LOAD drops packets of another kind and takes the next of its own."""
    source, memories = await start(dut)
    vector = vector_packet([5] * LINES, config=CONFIG)
    affine = affine_packet([6] * LINES, [7] * LINES, config=CONFIG)
    for packet in (affine, affine, vector, vector, affine):
        await send(source, packet)
    await load(dut, affine=0, slot=1)
    await load(dut, affine=1, slot=0)
    assert memories.errors == [FaultCode.PACKET_UNWANTED] * 3
    assert (memories.vectors[1] == 5).all()
    assert (memories.vectors[0] == 0).all()
    assert (memories.tables[0] == [6, 7]).all()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def one_packet_is_staged_at_one_beat_per_cycle(dut):
    """The next packet is taken without a LOAD, its commit then takes blocks + 2 cycles."""
    source, memories = await start(dut)
    packet = vector_packet([3] * LINES, config=CONFIG)
    await send(source, packet)
    await send(source, packet)
    while not int(dut.axis__tvalid.value):
        await RisingEdge(dut.clk)
    beats = 1 + LINES // 8
    taken = 0
    for _ in range(beats):
        taken += int(dut.axis__tvalid.value) and int(dut.axis__tready.value)
        await RisingEdge(dut.clk)
    assert taken == beats, f"{taken} beats in {beats} cycles"
    for _ in range(50):
        assert not int(dut.axis__tready.value), "a second packet went over the first"
        await RisingEdge(dut.clk)
    assert memories.writes == 0
    dut.i__payload.value = 0
    dut.i__valid.value = 1
    await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    cycles = 0
    await RisingEdge(dut.clk)
    while int(dut.status__busy.value):
        cycles += 1
        await RisingEdge(dut.clk)
    assert cycles == CONFIG.blocks + 2, cycles


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_waiting_load_can_be_cancelled(dut):
    """Cancel frees the engine; a packet that comes later waits for the next LOAD."""
    source, memories = await start(dut)
    dut.i__payload.value = COMMAND.const({"affine": 0, "slot": 2}).as_value().value
    dut.i__valid.value = 1
    await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    await ClockCycles(dut.clk, 20)
    assert int(dut.status__busy.value)
    dut.cancel.value = 1
    await RisingEdge(dut.clk)
    dut.cancel.value = 0
    await ClockCycles(dut.clk, 2)
    assert not int(dut.status__busy.value)
    await send(source, vector_packet([9] * LINES, config=CONFIG))
    await ClockCycles(dut.clk, LINES)
    assert memories.writes == 0
    await load(dut, affine=0, slot=1)
    assert (memories.vectors[1] == 9).all()
    assert (memories.vectors[2] == 0).all()
