# SPDX-License-Identifier: Apache-2.0
"""A NetworkInterface between a link and the memories of a core, against the golden model.

The bench sees by the link's credits which flit is taken in a cycle; the model takes a packet with
its last one. What the DUT wrote, reported and sent must be what the model says, bit for bit.
"""

import os
import random
from collections import Counter, deque

import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.models.golden.device import IDEAL
from phasecore.rtl.core.interfaces import CreditGrant, SendCommand, TableWrite
from phasecore.rtl.spec.instructions import ObjectDescriptor, RouteDescriptor
from phasecore.rtl.spec.messages import PAYLOAD_FLITS, MessageKind, message_fields
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.network_interface import (
    NetworkInterface,
    credit_packets,
    flits,
    partial_packets,
    split,
    vector_packets,
)
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

__all__ = [
    "AFFINE",
    "CHANNELS",
    "CONFIG",
    "CREDIT",
    "HEAD",
    "LINES",
    "NOC",
    "PARTIAL",
    "VECTOR",
    "Packet",
    "Session",
]  # fmt: skip

CONFIG = config_from_env()
NOC = NocConfig.from_json(os.environ["PHASECORE_NOC"])
CHANNELS = range(NOC.virtual_channels)
LINES, LANES, ACC_BITS = CONFIG.lines, CONFIG.post_lanes, CONFIG.acc_bits
HEAD = {"multicast": 0, "order": 0, "x": 1, "y": 1}
VECTOR, PARTIAL, CREDIT, AFFINE = MessageKind


def pack(values, bits):
    """Values from bit 0 upward, ``bits`` each, as one integer."""
    mask, word = (1 << bits) - 1, 0
    for value in reversed(list(values)):
        word = word << bits | int(value) & mask
    return word


def unpack(word, bits, count):
    """Inverse of :func:`pack`, signed."""
    half = 1 << (bits - 1)
    parts = (word >> bits * index & 2 * half - 1 for index in range(count))
    return [(part ^ half) - half for part in parts]


class Packet:
    """Flits of a packet on its way in, and what is seen while it is taken."""

    def __init__(self, words, *, cancel_at=None):
        self.words, self.cancelled = list(words), cancel_at is not None
        if self.cancelled:
            self.words = self.words[:cancel_at]
        last = len(self.words) - 1
        self.flits = [
            (index == 0, index == last and not self.cancelled, word)
            for index, word in enumerate(self.words)
        ]
        if self.cancelled:
            self.flits.append((True, True, random.getrandbits(64)))
        self.faults, self.expected = [], None
        fields = message_fields(self.words[0])
        self.kind, self.object, self.last = fields["kind"], fields["object"], fields["last"]


class Session:
    """Drives and checks all ports cycle by cycle.

    Parameters
    ----------
    inject, take, memory, sums : how often the link in has a flit, a flit out gives its credit
        back, the vector memory is ready, post-processing stays idle
    disturb : post-processing adds to the accumulators while it is busy
    """

    def __init__(self, dut, *, inject=1.0, take=1.0, memory=1.0, sums=1.0, disturb=False):
        self.dut = dut
        self.inject, self.take, self.memory, self.sums = inject, take, memory, sums
        self.disturb = disturb
        self.random = np.random.default_rng(random.getrandbits(32))
        self.model = NetworkInterface(Core(CONFIG, IDEAL, 1), NOC)
        self.vectors = np.zeros(CONFIG.vector_rows * LINES, dtype=np.int64)
        self.slots = self.vectors.reshape(-1, LINES)[: CONFIG.slots]
        self.exponents = np.zeros(CONFIG.slots, dtype=np.int64)
        self.accumulators = np.zeros_like(self.model.core.post.accumulators)
        self.tables = np.zeros((CONFIG.affine_tables, LINES), dtype=np.int64)
        self.waiting = [deque() for _ in CHANNELS]
        self.inside = [deque() for _ in CHANNELS]
        self.partly = [deque() for _ in CHANNELS]
        self.credits = [NOC.depth for _ in CHANNELS]
        self.held = [0 for _ in CHANNELS]
        self.taking = [None for _ in CHANNELS]
        self.open, self.packets = [], []
        self.commands, self.sending, self.offered = deque(), deque(), False
        self.grants, self.granted = deque(), deque()
        self.come = Counter()
        self.drops, self.dropped = 0, 0
        self.idle, self.was_idle = True, True
        # The flit taken in the cycle before: its packet, whether a head, whether the tail.
        self.before = None
        self.now, self.log = 0, []

    async def start(self):
        await reset(
            self.dut, link_in__valid=0, link_in__vc=0, link_in__flit=0, link_out__credit=0,
            i__valid=0, i__payload=0, grants__valid=0, grants__payload=0, table=0, full=0,
            exponents=0, read__ready=0, read__data=0, write__ready=0, accumulators__ready=1,
            accumulators__data=0,
        )  # fmt: skip

    # Inputs of a cycle

    async def cycle(self, table=0):
        dut = self.dut
        self._drive_link()
        self._drive_commands()
        dut.table.value = table
        dut.read__ready.value = random.random() < self.memory
        dut.write__ready.value = random.random() < self.memory
        # Post-processing stays idle from before a partial SEND to its end.
        partial = any(command["partial"] for command in [*self.sending, *self.commands])
        self.idle = partial or random.random() < (self.sums if self.idle else 0.3)
        dut.accumulators__ready.value = self.idle
        local = self.model.local
        dut.full.value = sum(
            1 << index for index in range(CONFIG.objects)
            if local.descriptors[index] is None or local.full(index)
        )  # fmt: skip
        dut.exponents.value = pack(self.exponents, 8)
        await RisingEdge(dut.clk)
        self.now += 1
        self._sample()

    def _drive_link(self):
        dut = self.dut
        ready = [vc for vc in CHANNELS if self.waiting[vc] and self.credits[vc]]
        valid = bool(ready) and random.random() < self.inject
        dut.link_in__valid.value = valid
        if valid:
            vc = random.choice(ready)
            packet = self.waiting[vc][0]
            position = self.partly[vc]
            if not position:
                position.extend(packet.flits)
            head, tail, word = position.popleft()
            self.inside[vc].append((packet, head, tail))
            if not position:
                self.waiting[vc].popleft()
                self.log.append(("last in", self.now + 1))
            self.credits[vc] -= 1
            dut.link_in__vc.value = vc
            dut.link_in__flit.value = word << 2 | int(tail) << 1 | int(head)
        credit = 0
        for vc in CHANNELS:
            if self.held[vc] and random.random() < self.take:
                self.held[vc] -= 1
                credit |= 1 << vc
        dut.link_out__credit.value = credit

    def _drive_commands(self):
        dut = self.dut
        self.offered = bool(self.commands) and (self.offered or random.random() < self.inject)
        dut.i__valid.value = self.offered
        if self.offered:
            dut.i__payload.value = SendCommand(CONFIG).const(self.commands[0]).as_value().value
        dut.grants__valid.value = bool(self.grants)
        if self.grants:
            grant = {"object": self.grants[0].object, "count": self.grants[0].credits}
            dut.grants__payload.value = CreditGrant().const(grant).as_value().value

    # Outputs of a cycle

    def _sample(self):
        dut = self.dut
        if self.offered and int(dut.i__ready.value):
            self._accept(self.commands.popleft())
            self.offered = False
        if self.grants and int(dut.grants__ready.value):
            self.granted.append(self.grants.popleft())
        # Writes before what the model takes, reads before writes.
        self._vector_memory()
        self._accumulators()
        self._affine()
        taken = [vc for vc in CHANNELS if int(dut.link_in__credit.value) >> vc & 1]
        assert len(taken) <= 1, "two flits in a cycle"
        self._fault(FaultCode(int(dut.error_code.value)) if int(dut.error.value) else None)
        arrived = self._flit(taken[0]) if taken else 0
        assert int(dut.arrived.value) == arrived, f"arrived {int(dut.arrived.value):b}"
        if arrived:
            self.log.append(("arrived", self.now))
        if int(dut.link_out__valid.value):
            self._sent(int(dut.link_out__vc.value), int(dut.link_out__flit.value))

    def _accept(self, command):
        self.log.append(("accept", self.now))
        if self.model.routes.descriptor(command["route"]) is None:
            self.drops += 1
            self.model.send(command)
        else:
            self.sending.append(command)

    def _vector_memory(self):
        dut = self.dut
        dut.read__data.value = random.getrandbits(8 * LANES)
        if int(dut.read__valid.value) and int(dut.read__ready.value):
            slot, block = divmod(int(dut.read__address.value), CONFIG.blocks)
            assert int(dut.reads.value) == 1 << slot, "read of a slot that is not in reads"
            dut.read__data.value = pack(self.slots[slot, block * LANES :][:LANES], 8)
        if int(dut.write__valid.value) and int(dut.write__ready.value):
            word = int(dut.write__address.value)
            self._store(self.vectors, word, dut.write__mask, dut.write__data, 8)
        if int(dut.exponent_write__valid.value):
            value = unpack(int(dut.exponent_write__exponent.value), 8, 1)[0]
            self.exponents[int(dut.exponent_write__slot.value)] = value

    def _accumulators(self):
        dut, port = self.dut, "accumulators__"

        def get(name):
            return int(getattr(dut, port + name).value)

        dut.accumulators__data.value = random.getrandbits(ACC_BITS * LANES)
        if get("read") and self.idle:
            values = self.accumulators[get("block") % CONFIG.blocks * LANES :][:LANES]
            dut.accumulators__data.value = pack(values, ACC_BITS)
        if get("write"):
            assert self.idle or self.was_idle, "accumulators written while they are in use"
            block = get("write_block") % CONFIG.blocks
            mask, word = dut.accumulators__mask, dut.accumulators__write_data
            self._store(self.accumulators, block, mask, word, ACC_BITS)
        elif self.disturb and not self.idle and not self.was_idle:
            more = np.array([random.randint(-999, 999) for _ in range(LINES)])
            self.accumulators[:LINES] += more
            self.model.core.post.accumulators[:LINES] += more
        self.was_idle = self.idle

    def _affine(self):
        dut = self.dut
        if int(dut.affine_write__en.value):
            table, block = divmod(int(dut.affine_write__address.value), CONFIG.blocks)
            word, mask = dut.affine_write__data, dut.affine_write__mask
            self._store(self.tables[table], block, mask, word, 16)

    def _store(self, lines, block, mask, word, bits):
        mask = int(mask.value)
        for lane, value in enumerate(unpack(int(word.value), bits, LANES)):
            if mask >> lane & 1:
                lines[block * LANES + lane] = value

    # Receiving

    def _fault(self, error):
        """An error is that of the flit taken in the cycle before, or of a SEND."""
        packet, head, tail = self.before or (None, False, False)
        self.before = None
        if error is not None and head:
            packet.faults.append(error)
        elif error is not None:
            self._drop(error)
        if not tail:
            return
        names = [code.name for code in packet.faults]
        expected = [] if packet.expected is None else [packet.expected.name]
        if len(names) > len(expected) and names[-1] == "NOC_OBJECT":
            # A SEND was dropped in the cycle behind the head.
            self._drop(FaultCode[names.pop()])
        assert names == expected, f"errors of {packet.kind} {packet.object}"

    def _flit(self, vc):
        """A flit of a channel is taken; objects that have a vector more."""
        self.credits[vc] += 1
        packet, head, tail = self.inside[vc].popleft()
        self.taking[vc] = None if tail else packet
        self.before = packet, head, tail
        if not head and packet.kind == PARTIAL and not packet.faults:
            self.come[packet.object] += 1
        return self._receive(packet) if tail else 0

    def _receive(self, packet):
        local = self.model.local
        known = packet.kind == VECTOR and local.descriptor(packet.object) is not None
        if known:
            lines = np.arange(8 * local.descriptor(packet.object).pitch)
            places = local.place(packet.object, lines)
        error = self.model.receive(packet.words, cancelled=packet.cancelled)
        packet.expected = error
        if error is None and known:
            found, wanted = self.vectors[places], self.model.core.memory[places]
            assert (found == wanted).all(), f"object {packet.object}"
        done = error is None and packet.last and packet.kind in (VECTOR, PARTIAL)
        return int(done) << packet.object

    def _drop(self, error):
        """An error that is no packet's is that of a SEND."""
        assert error == FaultCode.NOC_OBJECT
        self.dropped += 1
        assert self.dropped <= self.drops, "error without a reason"

    # Sending

    def _sent(self, vc, flit):
        head, tail, word = flit & 1, flit >> 1 & 1, flit >> 2
        assert int(self.dut.busy.value), "flit while not busy"
        self.held[vc] += 1
        assert self.held[vc] <= NOC.depth, f"channel {vc}: sent without a credit"
        assert bool(head) == (not self.open), "packet inside another, or no head"
        if head:
            self.log.append(("head", self.now))
            self._begins(word)
        self.open.append((vc, word))
        if not tail:
            return
        self.log.append(("tail", self.now))
        words, self.open = [word for _, word in self.open], []
        fields = message_fields(words[0])
        if fields["kind"] == CREDIT:
            grant = self.granted.popleft()
            descriptor = self.model.local.descriptors[grant.object]
            expected = credit_packets([grant], self.model.local.descriptors, NOC)
            assert ([words], vc) == (expected, descriptor.vc), "credit"
            return
        self.packets.append((vc, words))
        if fields["last"]:
            self._ends(self.sending.popleft())
            self._gives_back()

    def _begins(self, word):
        """A packet may go when there are credits, and what it merges has come."""
        fields = message_fields(word)
        if fields["kind"] == CREDIT:
            return
        command = self.sending[0]
        assert self.model.routes.sendable(command["route"]), "sent without credits for the vector"
        if command["partial"] and command["merge"]:
            end = fields["start"] + HEADER["length"].of(word) - 1
            assert self.come[command["object"]] >= end, "sent before it has come"

    def _gives_back(self):
        """When a SEND's last flit is on the link, only the next one may use slot or sums."""
        slots = {0, *(1 << command["slot"] for command in self.sending)}
        if self.drops == self.dropped and not int(self.dut.error.value):
            assert int(self.dut.reads.value) in slots, "slot in use after the last flit"
            partial = any(command["partial"] for command in self.sending)
            assert int(self.dut.partial.value) <= partial, "sums in use after the last flit"

    def _ends(self, command):
        core, route = self.model.core, command["route"]
        descriptor = self.model.routes.descriptor(route)
        part = {"start": command["first_line"], "length": command["length"]}
        if command["partial"]:
            expected = partial_packets(
                core.post.accumulators, descriptor, CONFIG, NOC, **part
            )  # fmt: skip
            if command["merge"]:
                assert self.model.merged(command)
                self.come[command["object"]] = 0
        else:
            slot = command["slot"]
            exponent = int(core.exponents[slot])
            expected = vector_packets(
                core.slots[slot], exponent, descriptor, CONFIG, NOC, **part
            )  # fmt: skip
        self.model.send(command)
        assert self.packets == [(descriptor.vc, words) for words in expected], f"{command}"
        self.packets = []

    # Stimulus

    async def object(self, index, **values):
        """Write an object's descriptor; returns it."""
        given = ObjectDescriptor(**{"x": 2, "y": 3, "route": index, **values})
        await self._table(0, index, given.pack())
        self.model.local.define(index, given)
        self.come[index] = 0
        return given

    async def route(self, index, **values):
        """Write a route's descriptor; returns it."""
        given = RouteDescriptor(**{"object": index, "x": 1, "y": 2, **values})
        await self._table(1, index, given.pack())
        self.model.routes.define(index, given)
        return given

    async def _table(self, route, index, words):
        order = list(range(len(words)))
        random.shuffle(order)
        for word in order:
            fields = {"en": 1, "route": route, "index": index, "word": word}
            given = TableWrite().const({**fields, "data": words[word]})
            await self.cycle(given.as_value().value)

    def give(self, vc, words, **options):
        """A packet comes on a channel."""
        self.waiting[vc].append(Packet(words, **options))

    def vector(self, vc, message, limit=PAYLOAD_FLITS):
        """A message comes in packets of ``limit`` data flits."""
        for part in split(message, CONFIG, limit):
            self.give(vc, flits(part, HEAD))

    def send(self, route, *, partial=0, slot=0, start=0, length=LINES, merge=0, object_=0):
        """A SEND."""
        self.commands.append({
            "route": route, "partial": partial, "slot": slot, "first_line": start,
            "length": length, "merge": merge, "object": object_,
        })  # fmt: skip

    def release(self, index):
        """End an object's iteration, unless a packet for it is being taken."""
        free = all(packet is None or packet.object != index for packet in self.taking)
        if free and self.model.local.ready(index):
            self.grants.extend(self.model.local.release(1 << index))

    def fill(self, slots, *, bits=ACC_BITS):
        """Random bytes and exponents in slots, accumulators of ``bits`` bits, on both sides."""
        core = self.model.core
        for slot in slots:
            self.slots[slot] = core.slots[slot] = self.random.integers(-127, 128, LINES)
            self.exponents[slot] = core.exponents[slot] = random.randint(-128, 127)
        half = 1 << (random.choice([bits, 16]) - 1)
        sums = self.random.integers(-half, half, self.accumulators.size)
        self.accumulators[:] = core.post.accumulators[:] = sums

    def at_rest(self):
        """Nothing is on its way."""
        queues = [*self.waiting, *self.inside, *self.partly]
        work = [*queues, self.commands, self.sending, self.grants, self.granted]
        return not any(work) and not int(self.dut.busy.value)

    async def drain(self, each=lambda: None, limit=10000):
        """Until nothing is on its way, with ``each`` every cycle; memories must be the model's."""
        for _ in range(limit):
            await self.cycle()
            each()
            if self.at_rest():
                break
        else:
            raise AssertionError(f"{limit} cycles without an end")
        for _ in range(3):
            await self.cycle()
        core = self.model.core
        assert (self.vectors == core.memory).all(), "vector memory"
        assert (self.exponents == core.exponents).all(), "exponents"
        assert (self.accumulators == core.post.accumulators).all(), "accumulators"
        both = (core.post.scales & 0xFF) | core.post.offsets << 8
        assert (self.tables == both).all(), "affine tables"
        assert self.dropped == self.drops, "a dropped SEND was not reported"
        assert int(self.dut.reads.value) == int(self.dut.partial.value) == 0
