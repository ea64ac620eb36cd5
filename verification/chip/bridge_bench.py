# SPDX-License-Identifier: Apache-2.0
"""Both sides of a host bridge: the host's routes and the router, with a record of what passes."""

import itertools
import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from phasecore.models.golden.packets import affine_packet, parse_result, vector_packet
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    CREDITS_MAX,
    MEMBERS,
    ObjectDescriptor,
    RouteDescriptor,
)
from phasecore.rtl.spec.messages import MessageKind, message_fields
from phasecore.rtl.spec.packets import HEADER as FLIT_HEADER
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.oracle.network_interface import (
    Message,
    affine_packets,
    flits,
    vector_packets,
)
from phasecore.verification.support.streams import reset

__all__ = [
    "CHANNELS",
    "CHIP",
    "LINES",
    "NOC",
    "STALLS",
    "affine",
    "compare",
    "credit_of",
    "header_fields",
    "lines_of_a_packet",
    "messages",
    "random_message",
    "random_object",
    "random_route",
    "shown",
    "start",
    "tables",
    "vector",
]

CHIP = ChipConfig.from_json(os.environ["PHASECORE_CHIP"])
CONFIG, NOC = CHIP.core, CHIP.noc
CHANNELS = range(NOC.virtual_channels)
LINES = CONFIG.lines
ENTRY = TableWrite()


class Router:
    """The node's router: sends and takes flits with credits, in every cycle or with stalls.

    Attributes
    ----------
    queues : flits (head, tail, word) to send, by channel
    packets : packets that came, each a channel and its words, in order of their tails
    heads : channels of the heads that were sent, in order
    faults : codes that the bridge reported
    frozen : takes nothing more than its buffers
    cycles, stalled, quiet : cycles so far, those with a packet that waits for credits, those
        since anything has moved
    """

    def __init__(self, dut, duty):
        self.dut, self.duty = dut, duty
        self.queues = [deque() for _ in CHANNELS]
        self.packets, self.heads, self.faults = [], [], []
        self.cycles = self.stalled = self.quiet = 0
        self.frozen = False
        self._open = [[] for _ in CHANNELS]
        self._waiting = None
        self._credits = [NOC.depth for _ in CHANNELS]
        self._held = [0 for _ in CHANNELS]
        cocotb.start_soon(self._run())

    def send(self, vc, words, *, cancel=0):
        """Queue a packet; with ``cancel`` its first flits and the one that cancels it."""
        last = len(words) - 1
        whole = [(int(i == 0), int(i == last), word) for i, word in enumerate(words)]
        self.queues[vc].extend([*whole[:cancel], (1, 1, 0)] if cancel else whole)

    async def _run(self):
        while True:
            self._drive()
            await RisingEdge(self.dut.clk)
            self._sample()

    def _drive(self):
        dut = self.dut
        ready = [vc for vc in CHANNELS if self.queues[vc] and self._credits[vc]]
        dut.link_in__valid.value = 0
        if ready and random.random() < self.duty:
            vc = random.choice(ready)
            head, tail, word = self.queues[vc].popleft()
            self._credits[vc] -= 1
            dut.link_in__valid.value = 1
            dut.link_in__vc.value = vc
            dut.link_in__flit.value = word << 2 | tail << 1 | head
            if head and not (tail and word == 0):
                self.heads.append((vc, word))
        credit = 0
        for vc in CHANNELS:
            if self._held[vc] and not self.frozen and random.random() < self.duty:
                self._held[vc] -= 1
                credit |= 1 << vc
        dut.link_out__credit.value = credit

    def _sample(self):
        dut = self.dut
        self.cycles += 1
        self.stalled += int(dut.credit_stalled.value)
        moves = int(dut.link_in__valid.value) or int(dut.link_out__valid.value)
        for name in ("s_axis", "m_axis"):
            valid, ready = (getattr(dut, f"{name}__{what}") for what in ("tvalid", "tready"))
            moves = moves or (int(valid.value) and int(ready.value))
        self.quiet = 0 if moves else self.quiet + 1
        self._check_beat()
        credit = int(dut.link_in__credit.value)
        for vc in CHANNELS:
            self._credits[vc] += credit >> vc & 1
            assert self._credits[vc] <= NOC.depth, "a credit too many"
        for name in ("packet_fault", "noc_fault"):
            code = int(getattr(dut, name).value)
            if code:
                self.faults.append(FaultCode(code))
        if int(dut.link_out__valid.value):
            self._take(int(dut.link_out__vc.value), int(dut.link_out__flit.value))

    def _check_beat(self):
        """A beat must not change or go away while it waits."""
        dut, beat = self.dut, None
        if int(dut.m_axis__tvalid.value):
            names = ("tdata", "tkeep", "tlast")
            beat = tuple(int(getattr(dut, f"m_axis__{name}").value) for name in names)
        assert self._waiting in (None, beat), "beat changed while it waited"
        self._waiting = None if int(dut.m_axis__tready.value) else beat

    def _take(self, vc, flit):
        head, tail, word = flit & 1, flit >> 1 & 1, flit >> 2
        self._held[vc] += 1
        assert self._held[vc] <= NOC.depth, "sent without a credit"
        words = self._open[vc]
        assert head == (not words), "packet without a head, or inside another"
        words.append(word)
        length = FLIT_HEADER["length"].of(words[0])
        assert tail == (len(words) == length), f"{len(words)} flits, the header says {length}"
        if tail:
            self.packets.append((vc, list(words)))
            words.clear()


class Bench:
    """All sides of the bridge."""

    def __init__(self, dut, router, source, sink):
        self.dut, self.router, self.source, self.sink = dut, router, source, sink
        self.clk = dut.clk
        self.routes, self.objects = {}, {}

    async def write(self, route, index, word, value):
        """Write a word of a descriptor."""
        entry = {"en": 1, "route": route, "index": index, "word": word, "data": value}
        self.table.value = ENTRY.const(entry).as_value().value
        await RisingEdge(self.clk)
        self.table.value = 0

    @property
    def table(self):
        return self.dut.table

    async def define(self, index, descriptor):
        """Write a whole descriptor."""
        route = isinstance(descriptor, RouteDescriptor)
        for word, value in enumerate(descriptor.pack()):
            await self.write(route, index, word, value)
        (self.routes if route else self.objects)[index] = descriptor

    def give(self, packet):
        """Queue a packet of the host; the bytes behind its end are anything."""
        spare = -len(packet) % 8
        keep = [1] * len(packet) + [0] * spare
        self.source.send_nowait(AxiStreamFrame(packet + random.randbytes(spare), tkeep=keep))

    def credit(self, route, count=1, vc=None, member=0):
        """Queue a CREDIT message for a route of the host."""
        vc = random.choice(CHANNELS) if vc is None else vc
        message = Message(MessageKind.CREDIT, route, member, value=count)
        self.router.send(vc, flits(message, header_fields(vc)))

    async def settle(self, cycles=40):
        """Until nothing has moved for so many cycles."""
        self.router.quiet = 0
        while self.router.quiet < cycles:
            await RisingEdge(self.clk)

    async def results(self):
        """All RESULT packets so far."""
        found = []
        while not self.sink.empty():
            frame = await self.sink.recv(compact=False)
            found.append(result_of(frame))
        return found


def header_fields(vc):
    """Route of a message to the bridge itself."""
    x, y = CHIP.place(CHIP.host)
    return {"multicast": 0, "order": NOC.order(vc), "x": x, "y": y}


def result_of(frame):
    """(object, start, codes) of a RESULT packet whose beats are as they must be."""
    packet = bytes(byte for byte, keep in zip(frame.tdata, frame.tkeep, strict=True) if keep)
    keeps = [frame.tkeep[i : i + 8] for i in range(0, len(frame.tkeep), 8)]
    assert all(all(keep) for keep in keeps[:-1]), "gap in the packet"
    assert keeps[-1] == sorted(keeps[-1], reverse=True), "tkeep not contiguous from bit 0"
    result = parse_result(packet)
    assert len(keeps) == 1 + -(-len(result.codes) // 8), f"{len(keeps)} beats"
    return result.slot, result.start, result.codes.tolist()


async def start(dut, *, duty=1.0, pauses=False):
    await reset(
        dut, s_axis__tvalid=0, s_axis__tdata=0, s_axis__tkeep=0, s_axis__tlast=0, m_axis__tready=0,
        link_in__valid=0, link_in__vc=0, link_in__flit=0, link_out__credit=0, table=0,
    )  # fmt: skip
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_"), dut.clk)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_"), dut.clk)
    if pauses:
        for side in (source, sink):
            side.set_pause_generator(itertools.cycle([random.random() < 0.5 for _ in range(101)]))
    return Bench(dut, Router(dut, duty), source, sink)


def random_route(**changes):
    """Descriptor of a route of the host, unicast."""
    values = {
        "object": random.randrange(16), "vc": random.choice(CHANNELS),
        "x": random.randrange(NOC.width), "y": random.randrange(NOC.height),
        "credits": CREDITS_MAX,
    }  # fmt: skip
    return RouteDescriptor(**values | changes)


def random_object(**changes):
    """Descriptor of an object of the host."""
    values = {
        "vc": random.choice(CHANNELS), "x": random.randrange(NOC.width),
        "y": random.randrange(NOC.height), "route": random.randrange(16),
        "member": random.randrange(MEMBERS),
    }  # fmt: skip
    return ObjectDescriptor(**values | changes)


def lines_of_a_packet():
    first = 8 * random.randrange(LINES // 8)
    room = LINES - first
    return first, random.choice([1, 7, 8, room, random.randint(1, room)])


def vector(route, first=0, length=LINES):
    """Random VECTOR packet and its lines."""
    codes = np.array([random.randint(-127, 127) for _ in range(length)])
    return vector_packet(codes, config=CONFIG, start=first, slot=route), codes


def affine(route, first=0, length=LINES):
    """Random AFFINE packet, its scales and its offsets."""
    scale = np.array([random.randrange(256) for _ in range(length)])
    offset = np.array([random.randint(-128, 127) for _ in range(length)])
    packet = affine_packet(scale, offset, config=CONFIG, start=first, slot=route)
    return packet, scale, offset


def messages(descriptor, codes, first):
    """Messages of a VECTOR packet: channel and words of each."""
    whole = np.zeros(LINES, dtype=np.int64)
    whole[first : first + len(codes)] = codes
    packets = vector_packets(whole, 0, descriptor, CONFIG, NOC, start=first, length=len(codes))
    return [(descriptor.vc, packet) for packet in packets]


def tables(descriptor, scale, offset, first):
    """Messages of an AFFINE packet."""
    packets = affine_packets(scale, offset, descriptor, CONFIG, NOC, start=first)
    return [(descriptor.vc, packet) for packet in packets]


def compare(got, expected):
    for index, (one, other) in enumerate(itertools.zip_longest(got, expected)):
        assert one == other, f"message[{index}]: got {shown(one)}, expected {shown(other)}"


def shown(message):
    if message is None:
        return "nothing"
    vc, words = message
    text = " ".join(f"{word:016x}" for word in words)
    return f"{FLIT_HEADER.unpack(words[0])} {message_fields(words[0])} on {vc}: {text}"


STALLS = {"duty": [1.0, 0.5], "pauses": [False, True]}


def random_message(vc, number, *, last=1):
    """Words of a VECTOR message to the bridge, its RESULT."""
    first = 8 * random.randrange(LINES // 8)
    length = random.randint(1, min(64, CONFIG.post_lanes, LINES - first))
    values = np.array([random.randint(-127, 127) for _ in range(length)])
    exponent = random.randint(-128, 127)
    message = Message(MessageKind.VECTOR, number, first, values, exponent, bool(last))
    return flits(message, header_fields(vc)), (number, first, values.tolist())


def credit_of(descriptor):
    """Message that gives a credit back."""
    to = {"order": NOC.order(descriptor.vc), "x": descriptor.x, "y": descriptor.y}
    message = Message(MessageKind.CREDIT, descriptor.route, descriptor.member, value=1)
    return descriptor.vc, flits(message, {"multicast": 0, **to})
