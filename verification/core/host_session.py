# SPDX-License-Identifier: Apache-2.0
"""A host's session with a whole core: words of instructions, packets, and the model beside it."""

import itertools
import os
import random
from copy import deepcopy

from cocotb.triggers import with_timeout

from phasecore.models.golden.core import Core
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import affine_packet, vector_packet
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    Opcode,
    Segment,
    encode,
)
from phasecore.rtl.spec.registers.table import FaultCode, fault_counter
from phasecore.verification.cosim.counters import COUNTERS
from phasecore.verification.drivers.host import Faults, Host, reset_again
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import read_devices

__all__ = [
    "BEAT",
    "CONFIG",
    "HALT",
    "LINES",
    "PART",
    "PROBE",
    "READ_SLOTS",
    "SEED",
    "SEGMENTS",
    "SPARE",
    "WHOLE",
    "activate",
    "affine",
    "connect",
    "error",
    "load",
    "mvm",
    "outer",
    "read",
    "vector",
]

CONFIG = config_from_env()
SEED = int(os.environ["PHASECORE_SEED"])
PAUSES = os.environ["PHASECORE_PAUSES"] == "1"
LINES = CONFIG.lines
BEAT = CONFIG.axis_bytes
NO_FAULTS = Faults(FaultCode.NONE, 0, {})
SPARE = CONFIG.segments - 1
"""Segment that no good instruction of these tests uses."""
WHOLE, PART = 0, 1
SEGMENTS = [
    Segment(
        row_start=0, row_count=CONFIG.rows, col_start=0, col_count=CONFIG.cols,
        threshold=3000, chi_shift=-2, forward_lsb_log2=12, backward_lsb_log2=12,
    ),
    Segment(
        row_start=3, row_count=9, col_start=5, col_count=7, threshold=500,
        forward_lsb_log2=11, backward_lsb_log2=11,
    ),
]  # fmt: skip


def pauses():
    """Random bursts of rest and work, endless."""
    while True:
        yield from itertools.repeat(random.random() < 0.5, random.choice([1, 1, 1, 2, 3, 7]))


def codes(count):
    """Random vector elements."""
    return [random.randint(-127, 127) for _ in range(count)]


def vector(count=LINES, start=0):
    """Random VECTOR packet."""
    return vector_packet(codes(count), config=CONFIG, start=start)


def affine(count=LINES, start=0):
    """Random AFFINE packet."""
    scale = [random.randrange(256) for _ in range(count)]
    return affine_packet(scale, codes(count), config=CONFIG, start=start)


def activate(**changes):
    """ACTIVATE of the latest window over the whole array, with some fields changed."""
    values = {
        "segment": WHOLE, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0,
        "function": Function.IDENTITY, "shift": 7, "affine": 0, "table": 0, "destination": 1,
        "destination_line": 0,
    }  # fmt: skip
    return encode(Opcode.ACTIVATE, **values | changes)


def error(**changes):
    """DELTA of the latest window over the whole array, with some fields changed."""
    values = {
        "segment": WHOLE, "axis": Axis.COLS, "source": 0, "slot": 0, "output": 0,
        "function": Function.IDENTITY, "fixed": 0, "shift": 0, "bias": -14, "destination": 3,
        "destination_line": 0,
    }  # fmt: skip
    return encode(Opcode.DELTA, **values | changes)


def mvm(opcode=Opcode.FORWARD, **changes):
    """Matrix-vector product with the whole array, with some fields changed."""
    values = {
        "segment": WHOLE, "slot": 0, "precision": 6, "input_signs": 3, "polarities": 3,
    }  # fmt: skip
    return encode(opcode, **values | changes)


def load(slot, *, affine=0):
    return encode(Opcode.LOAD, affine=affine, slot=slot)


def read(slot, start=0, length=LINES):
    return encode(Opcode.READ, slot=slot, first_line=start, length=length)


def outer(**changes):
    values = {"segment": WHOLE, "slot": 0, "delta": 3, "transfer": 1}
    return encode(Opcode.OUTER, **values | changes)


READ_SLOTS = [read(slot) for slot in range(CONFIG.slots)]
HALT = encode(Opcode.HALT)
PROBE = [
    *READ_SLOTS,
    outer(slot=5, delta=6),
    load(0),
    mvm(),
    activate(affine=1),
    read(1),
    mvm(segment=PART, slot=1),
    activate(segment=PART, accumulate=1, function=Function.TANH, destination=2, destination_line=3),
    error(source=1, output=1),
    outer(),
    mvm(Opcode.BACKWARD, slot=3),
    error(axis=1, output=2, bias=-13, destination=4),
    outer(slot=3, delta=4),
    encode(Opcode.TRANSFER, segment=PART),
    mvm(slot=4, precision=CONFIG.input_bits),
    activate(affine=1, table=1, destination=5),
    read(4),
    read(5),
]
"""Shows every slot and depends on exponents, accumulators, tables, chi and conductances."""


class Session:
    """A host and the golden model of its core, which see the same good programs and packets."""

    def __init__(self, host, dut):
        self.host, self.dut = host, dut
        self.model = Core(CONFIG, DeviceProfile.load(os.environ["PHASECORE_PROFILE"]), SEED)
        self.model.segments[: len(SEGMENTS)] = SEGMENTS
        self._base = dict.fromkeys(COUNTERS, 0)

    async def compare(self, words, packets):
        """Run the model and compare its results with those that the core has sent."""
        expected = self.model.run(words, packets)
        for index, result in enumerate(expected):
            got = await with_timeout(self.host.receive(), 20, "us")
            assert (got.slot, got.start) == (result.slot, result.start), f"result[{index}]"
            assert got.codes.tolist() == result.codes.tolist(), (
                f"result[{index}], slot {result.slot}: got {got.codes}, expected {result.codes}"
            )
        assert self.host.sink.empty(), "more results than expected"

    def compare_devices(self):
        """Compare every device, behind the host's back."""
        macro, model = self.dut.crossbar.macro, self.model.crossbar
        found = deepcopy(model)
        read_devices(macro, found)
        for name in ("conductance", "pulses_since_reset", "events"):
            assert (getattr(found, name) == getattr(model, name)).all(), f"{name} of devices"
        assert not int(macro.errors.value), "the macro saw errors"

    async def run(self, words, packets=()):
        """Load and run a program on both sides."""
        words = [*words, HALT]
        await self.host.load_program(words)
        for packet in packets:
            self.host.send(packet)
        await self.host.run()
        await self.compare(words, packets)

    async def probe(self):
        """Compare the whole state, as far as a host can see it."""
        await self.run(PROBE, [vector()])

    async def clear(self):
        """Clear the counters on both sides."""
        await self.host.command("clear")
        self._base = {name: count(self.model) for name, count in COUNTERS.items()}

    async def reset(self):
        """Reset the core; the model begins anew on what a reset leaves: devices and chi."""
        await reset_again(self.dut, self.host, random.randint(1, 3))
        self.model = Core(CONFIG, DeviceProfile.load(os.environ["PHASECORE_PROFILE"]), SEED)
        self.model.segments[: len(SEGMENTS)] = SEGMENTS
        read_devices(self.dut.crossbar.macro, self.model.crossbar)
        chi, bits = self.model.update.chi.reshape(CONFIG.chi_depth, -1), CONFIG.chi_bits
        for index, word in enumerate(chi):
            stored = int(self.dut.update.chi.macro.mem[index].value)
            for lane in range(len(word)):
                value = stored >> bits * lane & (1 << bits) - 1
                word[lane] = value - (value >> bits - 1 << bits)
        self.model.update.chi = chi.reshape(CONFIG.rows, CONFIG.cols)
        self._base = {name: count(self.model) for name, count in COUNTERS.items()}

    async def check_counters(self):
        """Compare the counters that hardware and model both keep."""
        for name, count in COUNTERS.items():
            got, expected = await self.host.read_register(name), count(self.model)
            expected -= self._base[name]
            assert got == expected, f"{name}: got {got}, expected {expected}"

    async def expect(self, code, address=None):
        """Check that exactly one error is recorded, and forget it."""
        errors = await self.host.faults()
        assert errors.code is code, f"error {errors.code!r}, expected {code!r}"
        assert errors.counts == {fault_counter(code): 1}, f"{code!r}: {errors.counts}"
        assert await self.host.read_register("FAULT_COUNT") == 1
        assert (await self.host.read_fields("STATUS"))["fault"] == 1
        if address is not None:
            assert errors.address == address, f"{code!r} at {errors.address}, expected {address}"
        await self.clear()
        assert await self.host.faults() == NO_FAULTS

    async def close(self):
        """The state is still the model's, and nothing was reported."""
        await self.probe()
        await self.check_counters()
        assert await self.host.faults() == NO_FAULTS
        self.compare_devices()


async def connect(dut):
    """Session with segments written and every slot and table defined."""
    host = await Host.connect(dut, CONFIG, pauses=pauses if PAUSES else None)
    session = Session(host, dut)
    await host.load_program([], SEGMENTS)
    loads = [load(slot) for slot in range(CONFIG.slots)]
    tables = [load(table, affine=1) for table in range(CONFIG.affine_tables)]
    packets = [vector() for _ in loads] + [affine() for _ in tables]
    # One pass of every computing block defines the accumulators and the latest window.
    session.define = [*loads, *tables, mvm(), activate(), outer(transfer=0)], packets
    await session.run(*session.define)
    return session
