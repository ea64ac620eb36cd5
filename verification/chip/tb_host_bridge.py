# SPDX-License-Identifier: Apache-2.0
"""HostBridge between clients of cocotbext-axi and a node's router, against packets of the model."""

import itertools
import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from phasecore.models.golden.packets import affine_packet, header, parse_result, vector_packet
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.spec.chip import BRIDGE_FLITS, ChipConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, PacketKind, StreamDescriptor
from phasecore.rtl.spec.messages import MESSAGE, MessageKind, message_fields, message_head
from phasecore.rtl.spec.packets import HEADER as ROUTE
from phasecore.rtl.spec.registers.table import ErrorCode
from phasecore.verification.oracle.network_interface import (
    Message,
    affine_packets,
    flits,
    vector_packets,
)
from phasecore.verification.support.streams import reset

CHIP = ChipConfig.from_json(os.environ["PHASECORE_CHIP"])
CONFIG, FABRIC = CHIP.core, CHIP.fabric
CHANNELS = range(FABRIC.virtual_channels)
LINES = CONFIG.lines
ENTRY = TableWrite()


class Router:
    """The node's router: sends and takes flits with credits, in every cycle or with stalls.

    Attributes
    ----------
    queues : flits (head, tail, word) to send, by channel
    packets : packets that came, each a channel and its words, in order of their tails
    heads : channels of the heads that were sent, in order
    errors : codes that the bridge reported
    frozen : takes nothing more than its buffers
    cycles, stalled, quiet : cycles so far, those with a packet that waits for credits, those
        since anything has moved
    """

    def __init__(self, dut, duty):
        self.dut, self.duty = dut, duty
        self.queues = [deque() for _ in CHANNELS]
        self.packets, self.heads, self.errors = [], [], []
        self.cycles = self.stalled = self.quiet = 0
        self.frozen = False
        self._open = [[] for _ in CHANNELS]
        self._waiting = None
        self._credits = [FABRIC.depth for _ in CHANNELS]
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
            assert self._credits[vc] <= FABRIC.depth, "a credit too many"
        for name in ("packet_error", "fabric_error"):
            code = int(getattr(dut, name).value)
            if code:
                self.errors.append(ErrorCode(code))
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
        assert self._held[vc] <= FABRIC.depth, "sent without a credit"
        words = self._open[vc]
        assert head == (not words), "packet without a head, or inside another"
        words.append(word)
        length = ROUTE["length"].of(words[0])
        assert tail == (len(words) == length), f"{len(words)} flits, the header says {length}"
        if tail:
            self.packets.append((vc, list(words)))
            words.clear()


class Bench:
    """All sides of the bridge."""

    def __init__(self, dut, router, source, sink):
        self.dut, self.router, self.source, self.sink = dut, router, source, sink
        self.clk = dut.clk
        self.streams, self.objects = {}, {}

    async def write(self, stream, index, word, value):
        """Write a word of a descriptor."""
        entry = {"en": 1, "stream": stream, "index": index, "word": word, "data": value}
        self.table.value = ENTRY.const(entry).as_value().value
        await RisingEdge(self.clk)
        self.table.value = 0

    @property
    def table(self):
        return self.dut.table

    async def define(self, index, descriptor):
        """Write a whole descriptor."""
        stream = isinstance(descriptor, StreamDescriptor)
        for word in range(2 if stream else 4):
            await self.write(stream, index, word, descriptor.pack() >> 32 * word & 0xFFFFFFFF)
        (self.streams if stream else self.objects)[index] = descriptor

    def give(self, packet):
        """Queue a packet of the host; the bytes behind its end are anything."""
        spare = -len(packet) % 8
        keep = [1] * len(packet) + [0] * spare
        self.source.send_nowait(AxiStreamFrame(packet + random.randbytes(spare), tkeep=keep))

    def credit(self, stream, count=1, vc=None):
        """Queue a CREDIT message for a stream of the host."""
        vc = random.choice(CHANNELS) if vc is None else vc
        message = Message(MessageKind.CREDIT, stream, value=count)
        self.router.send(vc, flits(message, route(vc)))

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


def route(vc):
    """Route of a message to the bridge itself."""
    x, y = CHIP.place(CHIP.host)
    return {"multicast": 0, "order": FABRIC.order(vc), "x": x, "y": y}


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


def random_stream(**changes):
    """Descriptor of a stream of the host, unicast."""
    values = {
        "object": random.randrange(16), "vc": random.choice(CHANNELS),
        "x": random.randrange(FABRIC.width), "y": random.randrange(FABRIC.height),
        "credits": 255,
    }  # fmt: skip
    return StreamDescriptor(**values | changes)


def random_object(**changes):
    """Descriptor of an object of the host."""
    values = {
        "vc": random.choice(CHANNELS), "x": random.randrange(FABRIC.width),
        "y": random.randrange(FABRIC.height), "stream": random.randrange(16),
    }  # fmt: skip
    return ObjectDescriptor(**values | changes)


def lines_of_a_packet():
    first = 8 * random.randrange(LINES // 8)
    room = LINES - first
    return first, random.choice([1, 7, 8, room, random.randint(1, room)])


def vector(stream, first=0, length=LINES):
    """Random VECTOR packet and its lines."""
    codes = np.array([random.randint(-127, 127) for _ in range(length)])
    return vector_packet(codes, config=CONFIG, start=first, slot=stream), codes


def affine(stream, first=0, length=LINES):
    """Random AFFINE packet, its scales and its offsets."""
    scale = np.array([random.randrange(256) for _ in range(length)])
    offset = np.array([random.randint(-128, 127) for _ in range(length)])
    packet = affine_packet(scale, offset, config=CONFIG, start=first, slot=stream)
    return packet, scale, offset


def messages(descriptor, codes, first):
    """Messages of a VECTOR packet: channel and words of each."""
    whole = np.zeros(LINES, dtype=np.int64)
    whole[first : first + len(codes)] = codes
    packets = vector_packets(whole, 0, descriptor, CONFIG, FABRIC, start=first, length=len(codes))
    return [(descriptor.vc, packet) for packet in packets]


def tables(descriptor, scale, offset, first):
    """Messages of an AFFINE packet."""
    packets = affine_packets(scale, offset, descriptor, CONFIG, FABRIC, start=first)
    return [(descriptor.vc, packet) for packet in packets]


def compare(got, expected):
    for index, (one, other) in enumerate(itertools.zip_longest(got, expected)):
        assert one == other, f"message[{index}]: got {shown(one)}, expected {shown(other)}"


def shown(message):
    if message is None:
        return "nothing"
    vc, words = message
    text = " ".join(f"{word:016x}" for word in words)
    return f"{ROUTE.unpack(words[0])} {message_fields(words[0])} on {vc}: {text}"


STALLS = {"duty": [1.0, 0.5], "pauses": [False, True]}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def packets_become_messages(dut, duty, pauses):
    """VECTOR and AFFINE packets of all starts and lengths, in order, with every flit."""
    bench = await start(dut, duty=duty, pauses=pauses)
    for index in range(CHIP.host_streams):
        await bench.define(index, random_stream())
    expected = []
    for _ in range(150):
        stream, (first, length) = random.randrange(CHIP.host_streams), lines_of_a_packet()
        descriptor = bench.streams[stream]
        if random.random() < 0.3:
            packet, scale, offset = affine(stream, first, length)
            expected += tables(descriptor, scale, offset, first)
        else:
            packet, codes = vector(stream, first, length)
            expected += messages(descriptor, codes, first)
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected)
    assert bench.router.errors == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def multicasts_take_credits_of_all_consumers(dut, duty):
    """Short packets; the credits of every consumer, and the next vector only with enough."""
    bench = await start(dut, duty=duty)
    cols, rows = (1 << FABRIC.width) - 1, (1 << FABRIC.height) - 1
    stream = StreamDescriptor(
        object=3, multicast=1, cols=cols, rows=rows, credits=12, consumers=4, needed=10
    )
    await bench.define(1, stream)
    expected = []
    for _ in range(3):
        packet, codes = vector(1)
        expected.append(messages(stream, codes, 0))
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected[0])
    bench.credit(1, 1)
    await bench.settle()
    compare(bench.router.packets, expected[0])
    bench.credit(1, 1)
    await bench.settle()
    compare(bench.router.packets, expected[0] + expected[1])
    bench.credit(1, 4)
    await bench.settle()
    compare(bench.router.packets, list(itertools.chain(*expected)))
    assert bench.router.errors == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def vectors_wait_for_credits(dut, duty, pauses):
    """A vector takes a credit, a table none; who waits holds up those behind, in order."""
    bench = await start(dut, duty=duty, pauses=pauses)
    await bench.define(0, random_stream(credits=2))
    await bench.define(1, random_stream(credits=0))
    await bench.define(2, random_stream(credits=255))
    packets = [vector(0) for _ in range(3)]
    expected = [messages(bench.streams[0], codes, 0) for _, codes in packets]
    table, scale, offset = affine(1)
    expected.append(tables(bench.streams[1], scale, offset, 0))
    behind, codes = vector(2)
    expected.append(messages(bench.streams[2], codes, 0))
    for packet in (*(packet for packet, _ in packets), table, behind):
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected[0] + expected[1])
    before = bench.router.stalled
    await ClockCycles(dut.clk, 10)
    assert bench.router.stalled - before == 10, bench.router.stalled - before
    bench.credit(0)
    await bench.settle()
    compare(bench.router.packets, list(itertools.chain(*expected)))
    before = bench.router.stalled
    await ClockCycles(dut.clk, 10)
    assert bench.router.stalled == before, "waits without a packet"
    # No vector has gone ahead of its credits.
    bench.router.packets.clear()
    for stream in (1, 1, 1, 1):
        bench.give(vector(stream)[0])
    await bench.settle()
    assert bench.router.packets == []
    bench.credit(1, 3)
    await bench.settle()
    heads = [words for _, words in bench.router.packets if message_fields(words[0])["last"]]
    assert len(heads) == 3, f"{len(heads)} vectors"
    assert bench.router.errors == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_write_restarts_the_credits(dut):
    """Either word of a descriptor; without a stream a packet that waits is dropped."""
    bench = await start(dut)
    stream = random_stream(credits=1)
    for word in (0, 1):
        await bench.define(0, stream)
        bench.router.packets.clear()
        expected = []
        for _ in range(3):
            packet, codes = vector(0)
            bench.give(packet)
            expected.append(messages(stream, codes, 0))
        await bench.settle()
        compare(bench.router.packets, expected[0])
        await bench.write(1, 0, word, stream.pack() >> 32 * word & 0xFFFFFFFF)
        await bench.settle()
        compare(bench.router.packets, expected[0] + expected[1])
        await bench.define(0, random_stream(enable=0))
        await bench.settle()
        compare(bench.router.packets, expected[0] + expected[1])
        assert bench.router.errors == [ErrorCode.FABRIC_OBJECT]
        bench.router.errors.clear()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=[False, True])
async def malformed_packets_are_dropped_whole(dut, pauses):
    """Every kind; the packets around it are sent, and nothing of it."""
    bench = await start(dut, pauses=pauses)
    await bench.define(0, random_stream())
    undefined = [1, CHIP.host_streams - 1, CHIP.host_streams, 16, 255]
    bad = [*bad_packets(), *((ErrorCode.FABRIC_OBJECT, vector(slot)[0]) for slot in undefined)]
    bad += [(ErrorCode.FABRIC_OBJECT, affine(slot)[0]) for slot in undefined]
    await bench.define(2, random_stream(vc=3))
    if FABRIC.virtual_channels < 4:
        bad.append((ErrorCode.FABRIC_OBJECT, vector(2)[0]))
    expected, errors = [], []
    random.shuffle(bad)
    for code, frame in bad:
        for _ in range(random.randrange(2)):
            first, length = lines_of_a_packet()
            packet, codes = vector(0, first, length)
            bench.give(packet)
            expected += messages(bench.streams[0], codes, first)
        bench.source.send_nowait(AxiStreamFrame(frame))
        errors.append(code)
    await bench.settle()
    compare(bench.router.packets, expected)
    assert sorted(bench.router.errors) == sorted(errors)


def bad_packets():
    """(ErrorCode, frame) of every kind that the checks of a stream packet know."""
    good, table = vector(0)[0], affine(0)[0]
    short = vector(0, 0, 5)[0]

    def head(kind=PacketKind.VECTOR, *, start=0, length=LINES):
        return header(kind, start=start, length=length) + good[8:]

    def keep(packet, *beats):
        enables = [int(bit) for text in beats for bit in reversed(text)]
        return AxiStreamFrame(packet, tkeep=enables + [1] * (len(packet) - len(enables)))

    full = "11111111"
    yield ErrorCode.PACKET_MAGIC, good[:7] + b"\x51" + good[8:]
    yield ErrorCode.PACKET_KIND, b"\x03" + good[1:]
    yield ErrorCode.PACKET_KIND, head(PacketKind.RESULT)
    yield ErrorCode.PACKET_RANGE, head(start=4, length=8)
    yield ErrorCode.PACKET_RANGE, head(length=0)
    yield ErrorCode.PACKET_RANGE, head(start=8, length=LINES - 7)
    yield ErrorCode.PACKET_RANGE, head(start=0xFFF8, length=8)
    yield ErrorCode.PACKET_EARLY, good[:8]
    yield ErrorCode.PACKET_EARLY, good[:-8]
    yield ErrorCode.PACKET_EARLY, table[:-8]
    yield ErrorCode.PACKET_LATE, good + good[-8:]
    yield ErrorCode.PACKET_LATE, good + good
    yield ErrorCode.PACKET_LATE, table + table
    yield ErrorCode.PACKET_KEEP, keep(good, "01111111")
    yield ErrorCode.PACKET_KEEP, keep(good, full, "11101111")
    yield ErrorCode.PACKET_KEEP, keep(short + b"\0\0\0", full, "00111110")
    yield ErrorCode.PACKET_KEEP, short[:-1]


def random_message(vc, number, *, last=1):
    """Words of a VECTOR message to the bridge, its RESULT."""
    first = 8 * random.randrange(LINES // 8)
    length = random.randint(1, min(64, CONFIG.post_lanes, LINES - first))
    values = np.array([random.randint(-127, 127) for _ in range(length)])
    exponent = random.randint(-128, 127)
    message = Message(MessageKind.VECTOR, number, first, values, exponent, bool(last))
    return flits(message, route(vc)), (number, first, values.tolist())


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def messages_become_results(dut, duty, pauses):
    """Of all channels at once, some cancelled; results in order of heads, credits for each last."""
    bench = await start(dut, duty=duty, pauses=pauses)
    for index in range(CHIP.host_objects):
        await bench.define(index, random_object())
    made, free = [[] for _ in CHANNELS], BRIDGE_FLITS
    credits, expected, cancelled = [], [], 0
    for _ in range(100):
        vc, number = random.choice(CHANNELS), random.randrange(CHIP.host_objects)
        words, result = random_message(vc, number, last=random.random() < 0.6)
        cancel = random.randint(1, len(words)) if random.random() < 0.2 else 0
        cancel = cancel if cancel < len(words) else 0
        while free < len(words):
            await bench.settle()
            free = BRIDGE_FLITS
        free -= len(words)
        bench.router.send(vc, words, cancel=cancel)
        made[vc].append(None if cancel else result)
        cancelled += bool(cancel)
        if message_fields(words[0])["last"] and not cancel:
            credits.append(credit_of(bench.objects[number]))
    await bench.settle()
    for vc, _ in bench.router.heads:
        result = made[vc].pop(0)
        expected += [] if result is None else [result]
    assert await bench.results() == expected
    assert sorted(bench.router.packets) == sorted(credits)
    assert bench.router.errors == [ErrorCode.FABRIC_CANCELLED] * cancelled


def credit_of(descriptor):
    """Message that gives a credit back."""
    to = {"order": FABRIC.order(descriptor.vc), "x": descriptor.x, "y": descriptor.y}
    message = Message(MessageKind.CREDIT, descriptor.stream, value=1)
    return descriptor.vc, flits(message, {"multicast": 0, **to})


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.4], pauses=[False, True])
async def both_ways_at_once(dut, duty, pauses):
    """Few credits everywhere, undefined streams and objects between; nothing gets lost."""
    bench = await start(dut, duty=duty, pauses=pauses)
    router, streams = bench.router, min(CHIP.host_streams, 4) - 1
    for index in range(streams):
        await bench.define(index, random_stream(credits=random.choice([1, 2]), object=index))
    await bench.define(0, random_object())
    packets, errors = [], 0
    for _ in range(60):
        stream, (first, length) = random.randint(0, streams), lines_of_a_packet()
        packet, codes = vector(stream, first, length)
        bench.give(packet)
        if stream == streams:
            errors += 1
        else:
            packets += messages(bench.streams[stream], codes, first)
    producer = Producer(bench)
    sent, flying, seen = [], [0] * streams, 0
    while router.quiet < 60:
        await RisingEdge(dut.clk)
        for vc, words in router.packets[seen:]:
            fields = message_fields(words[0])
            if fields["kind"] == MessageKind.CREDIT:
                producer.credited((vc, words))
                continue
            sent.append((vc, words))
            if fields["last"]:
                flying[fields["object"]] += 1
                assert flying[fields["object"]] <= bench.streams[fields["object"]].credits
        seen = len(router.packets)
        if random.random() < 0.3:
            for stream in range(streams):
                if flying[stream]:
                    flying[stream] -= 1
                    bench.credit(stream)
        producer.step()
    compare(sent, packets)
    assert not producer.waiting, "credits are missing"
    assert await bench.results() == producer.results
    assert router.errors == [ErrorCode.FABRIC_OBJECT] * (errors + producer.errors)


class Producer:
    """A core that sends the host vectors for which there is room, and messages for nobody."""

    def __init__(self, bench):
        self.bench, self.left = bench, 60
        self.waiting, self.results, self.errors = deque(), [], 0
        self.vc = random.choice(CHANNELS)

    def step(self):
        """Perhaps send something."""
        if not self.left or random.random() < 0.5:
            return
        words, result = random_message(self.vc, 0)
        if random.random() < 0.4:
            self.bench.router.send(self.vc, [words[0] ^ 15 << MESSAGE["object"].low, *words[1:]])
            self.errors += 1
        elif sum(self.waiting) + len(words) <= BRIDGE_FLITS:
            self.bench.router.send(self.vc, words)
            self.waiting.append(len(words))
            self.results.append(result)
        self.left -= 1

    def credited(self, message):
        """A credit has come back."""
        assert message == credit_of(self.bench.objects[0])
        self.waiting.popleft()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def bad_messages_are_dropped(dut, duty):
    """Every kind, with data behind the head; the messages around it arrive."""
    bench = await start(dut, duty=duty)
    await bench.define(0, random_object())
    await bench.define(1, random_object(enable=0))
    await bench.define(2, random_object(vc=3))
    await bench.define(0, random_stream(credits=250))
    expected = []
    wrong = list(bad_messages())
    random.shuffle(wrong)
    for code, vc, words in wrong:
        good, result = random_message(vc, 0)
        bench.router.send(vc, words)
        bench.router.send(vc, good)
        await bench.settle()
        expected.append(result)
        assert bench.router.errors == [code], f"{bench.router.errors} for {shown((vc, words))}"
        bench.router.errors.clear()
    assert await bench.results() == expected
    assert bench.router.packets == [credit_of(bench.objects[0])] * len(expected)
    # Nothing but the credits that were too many changed those of the stream.
    bench.router.packets.clear()
    bench.credit(0, 7)
    await bench.settle()
    assert bench.router.errors == [ErrorCode.FABRIC_CREDIT]
    for _ in range(256):
        bench.give(vector(0, LINES - 8, 1)[0])
    await bench.settle()
    assert len(bench.router.packets) == 255


def bad_messages():
    """(ErrorCode, channel, words) of messages that the bridge must refuse."""

    def words(kind, number, *, start=0, data=1, trim=0, value=0, last=1):
        vc = random.choice(CHANNELS)
        fields = {
            "kind": kind, "object": number, "start": start, "trim": trim, "value": value,
            "last": last,
        }  # fmt: skip
        head = message_head(ROUTE.pack(**route(vc), length=1 + data), **fields)
        return vc, [head, *(random.getrandbits(64) for _ in range(data))]

    vector_, partial = MessageKind.VECTOR, MessageKind.PARTIAL
    undefined = [1, CHIP.host_objects - 1, CHIP.host_objects % 16, 15]
    undefined += [2] if FABRIC.virtual_channels < 4 else []
    for number in undefined:
        yield ErrorCode.FABRIC_OBJECT, *words(vector_, number)
    yield ErrorCode.FABRIC_OBJECT, *words(partial, 0)
    yield ErrorCode.FABRIC_OBJECT, *words(partial, 0, data=8)
    yield ErrorCode.FABRIC_OBJECT, *words(MessageKind.AFFINE, 0, data=2)
    yield ErrorCode.FABRIC_RANGE, *words(vector_, 0, data=0)
    yield ErrorCode.FABRIC_RANGE, *words(vector_, 0, start=LINES // 8)
    yield ErrorCode.FABRIC_RANGE, *words(vector_, 0, start=LINES // 8 - 1, data=2, trim=7)
    yield ErrorCode.FABRIC_RANGE, *words(vector_, 0, start=255, data=8)
    yield ErrorCode.FABRIC_OBJECT, *words(MessageKind.CREDIT, 1, data=0, value=3)
    yield ErrorCode.FABRIC_OBJECT, *words(MessageKind.CREDIT, 15, data=0, value=3)
    yield ErrorCode.FABRIC_RANGE, *words(MessageKind.CREDIT, 0, data=1, value=3)
    yield ErrorCode.FABRIC_RANGE, *words(MessageKind.CREDIT, 0, data=5, value=3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_host_that_does_not_read_stops_its_producers_only(dut):
    """What fits is kept, the rest dropped; credits and the host's own packets pass."""
    bench = await start(dut)
    await bench.define(0, random_object())
    await bench.define(0, random_stream(credits=0))
    bench.sink.pause = True
    kept, room, dropped = [], BRIDGE_FLITS, 0
    for _ in range(200):
        vc = random.choice(CHANNELS)
        words, result = random_message(vc, 0)
        bench.router.send(vc, words)
        await bench.settle(8)
        if len(words) <= room:
            room -= len(words)
            kept.append(result)
        else:
            dropped += 1
    assert room < 9
    assert bench.router.errors == [ErrorCode.FABRIC_CREDIT] * dropped
    assert bench.router.packets == []
    for vc in CHANNELS:
        packet, codes = vector(0)
        bench.give(packet)
        bench.credit(0, vc=vc)
        await bench.settle()
        compare(bench.router.packets, messages(bench.streams[0], codes, 0))
        bench.router.packets.clear()
    bench.sink.pause = False
    await bench.settle()
    assert await bench.results() == kept
    assert bench.router.packets == [credit_of(bench.objects[0])] * len(kept)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def credits_wait_for_the_router(dut):
    """A router that takes nothing holds up the next result, but no credit is lost."""
    bench = await start(dut)
    await bench.define(0, random_object())
    await bench.define(0, random_stream())
    bench.router.frozen = True
    packet, codes = vector(0)
    for _ in range(3):
        bench.give(packet)
    await bench.settle()
    results = []
    for _ in range(4):
        words, result = random_message(0, 0)
        bench.router.send(0, words)
        results.append(result)
    await bench.settle()
    bench.router.frozen = False
    await bench.settle()
    assert await bench.results() == results
    credit = credit_of(bench.objects[0])
    assert bench.router.packets.count(credit) == len(results)
    sent = [packet for packet in bench.router.packets if packet != credit]
    compare(sent, 3 * messages(bench.streams[0], codes, 0))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_of_one_cycle_are_all_counted(dut):
    """Packets for an undefined stream while messages for an undefined stream keep coming."""
    bench = await start(dut)
    for _ in range(20):
        bench.give(vector(1, 0, 1)[0])
    for _ in range(60):
        bench.credit(1, vc=0)
        if random.random() < 0.5:
            await RisingEdge(dut.clk)
    await bench.settle()
    assert bench.router.errors == [ErrorCode.FABRIC_OBJECT] * 80


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def channels_do_not_wait_for_each_other(dut):
    """A packet that stops in its middle holds up later results; one that is dropped does not."""
    bench = await start(dut)
    for vc in CHANNELS:
        await bench.define(vc, random_object(vc=vc))
    if FABRIC.virtual_channels > 1:
        nobody, _ = random_message(0, 15)
        bench.router.queues[0].append((1, 0, nobody[0]))
        await bench.settle()
        words, result = random_message(1, 1)
        bench.router.send(1, words)
        await bench.settle()
        assert await bench.results() == [result]
        bench.router.queues[0].append((0, 1, 0))
        await bench.settle()
    words, result = random_message(0, 0)
    head, rest = words[:1], words[1:]
    bench.router.queues[0].append((1, 0, head[0]))
    await bench.settle()
    others = []
    for vc in CHANNELS[1:]:
        more, other = random_message(vc, vc)
        bench.router.send(vc, more)
        await bench.settle()
        others.append(other)
    assert bench.sink.empty(), "results come in order of their heads"
    for index, word in enumerate(rest):
        bench.router.queues[0].append((0, int(index == len(rest) - 1), word))
    await bench.settle()
    assert await bench.results() == [result, *others]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_flit_per_cycle(dut):
    """Packets one behind the other cost one cycle each besides their flits; results likewise."""
    bench = await start(dut)
    await bench.define(0, random_stream(vc=0))
    await bench.define(0, random_object(vc=0))
    count = 12
    flits_ = 0
    for _ in range(count):
        packet, codes = vector(0)
        flits_ += sum(len(words) for _, words in messages(bench.streams[0], codes, 0))
        bench.give(packet)
    while not bench.router.packets:
        await RisingEdge(dut.clk)
    first = bench.router.cycles
    total = sum(1 for _ in range(count)) * len(messages(bench.streams[0], codes, 0))
    while len(bench.router.packets) < total:
        await RisingEdge(dut.clk)
    cycles = bench.router.cycles - first
    per_packet = max(flits_ // count + 1, LINES // 8 + 3)
    assert cycles <= count * per_packet, f"{cycles} cycles for {flits_} flits"

    words, _ = random_message(0, 0)
    fitting = BRIDGE_FLITS // len(words)
    for _ in range(fitting):
        bench.router.send(0, words)
    while not int(dut.m_axis__tvalid.value):
        await RisingEdge(dut.clk)
    beats = cycles = 0
    while beats < fitting * len(words):
        beats += int(dut.m_axis__tvalid.value)
        cycles += 1
        await RisingEdge(dut.clk)
    assert cycles <= fitting * (len(words) + 2), f"{cycles} cycles for {beats} beats"
