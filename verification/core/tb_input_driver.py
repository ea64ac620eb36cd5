# SPDX-License-Identifier: Apache-2.0
"""Input driver: every cycle of every window against the golden model."""

import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from phasecore.rtl.core.interfaces import Exponents, MvmCommand, MvmSource
from phasecore.verification.oracle.input_driver import (
    drive_all,
    drive_one_hot,
    drive_slot,
    waveform,
)
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import StreamPort, monitor, reset, send

CONFIG = config_from_env()
COMMAND = MvmCommand(CONFIG)


def random_command(precisions):
    """Any command that the controller may issue."""
    start = random.randrange(CONFIG.lines)
    whole = random.random() < 0.3
    return {
        "source": random.choices(range(5), [6, 2, 1, 1, 2])[0],
        "backward": random.getrandbits(1),
        "slot": random.randrange(CONFIG.slots),
        "first_line": 0 if whole else start,
        "count": CONFIG.lines if whole else random.randint(1, CONFIG.lines - start),
        "line": random.randrange(CONFIG.lines),
        "precision": random.choice(precisions),
        "lsb_log2": random.randint(CONFIG.lsb_log2_min, CONFIG.lsb_log2_max),
        "input_signs": random.choice([3, 3, 2, 1, 0]),
        "polarities": random.randrange(4),
    }


def pack(line_flags):
    """Bits of an array of flags, line 0 lowest."""
    return int.from_bytes(np.packbits(line_flags, bitorder="little").tobytes(), "little")


class Window:
    """What the macro must see of one command."""

    def __init__(self, command, vector, exponent):
        self.command = command
        source, precision = command["source"], command["precision"]
        drive = np.zeros(CONFIG.lines, dtype=np.int64)
        if source == MvmSource.SLOT:
            drive = drive_slot(
                CONFIG,
                vector,
                precision=precision,
                input_signs=command["input_signs"],
                start=command["first_line"],
                count=command["count"],
            )
        elif source == MvmSource.ONE_HOT:
            drive = drive_one_hot(CONFIG, command["line"], precision=precision)
        elif source == MvmSource.ALL:
            drive = drive_all(
                CONFIG, precision=precision, start=command["first_line"], count=command["count"]
            )
        self.exponent = exponent if source == MvmSource.SLOT else 0
        positive, negative = waveform(CONFIG, drive, precision=precision)
        self.pwm = [(pack(p), pack(n)) for p, n in zip(positive, negative, strict=True)]


class Bench:
    """The driver's surroundings: vector memory, exponents and a monitor of all macro controls."""

    def __init__(self, dut):
        self.dut = dut
        self.vectors = np.random.default_rng(random.getrandbits(32)).integers(
            -128, 128, size=(CONFIG.slots, CONFIG.lines)
        )
        self.vectors[0, ::2] = -128
        self.vectors[1] = np.resize([127, -127, 1, -1, 0, 8, -8, 7], CONFIG.lines)
        self.exponents = [random.randint(-128, 127) for _ in range(CONFIG.slots)]
        self.windows = deque()
        self.accepted = []
        self.firsts = []
        self.issued = 0
        self.cycle = 0

    async def start(self):
        """Reset and start all coroutines."""
        await reset(self.dut, i__valid=0, read__ready=0, read__data=0, exponents=self.packed)
        self.port = StreamPort(self.dut, "i")
        cocotb.start_soon(self.count_cycles())
        cocotb.start_soon(monitor(self.port, self.accept))

    @property
    def packed(self):
        """The exponents as the port takes them."""
        return Exponents(CONFIG).const(self.exponents).as_bits()

    async def count_cycles(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1

    def accept(self, payload):
        """Expect the window of an accepted command, with the contents of now."""
        bits = COMMAND.from_bits(payload)
        command = {name: bits[name] for name in COMMAND.members}
        slot = command["slot"]
        self.windows.append(Window(command, self.vectors[slot].copy(), self.exponents[slot]))
        self.accepted.append(self.cycle)
        self.issued += 1

    async def memory(self, duty):
        """Answer reads with the word in the next cycle and with rubbish in all others."""
        dut, lanes = self.dut, CONFIG.post_lanes
        while True:
            dut.read__ready.value = random.random() < duty
            await RisingEdge(dut.clk)
            data = random.randbytes(lanes)
            if int(dut.read__valid.value) and int(dut.read__ready.value):
                slot, block = divmod(int(dut.read__address.value), CONFIG.blocks)
                assert int(dut.status__reads.value) == 1 << slot, (
                    "a slot is read that reads does not name"
                )
                word = self.vectors[slot, block * lanes : (block + 1) * lanes]
                data = word.astype(np.int8).tobytes()
            dut.read__data.value = int.from_bytes(data, "little")

    async def rewrite(self):
        """Change slots and exponents at random wherever the driver says that it does not read."""
        while True:
            await RisingEdge(self.dut.clk)
            slot = random.randrange(CONFIG.slots)
            offered = COMMAND.from_bits(int(self.port.payload.value)).slot
            if slot != offered and not int(self.dut.status__reads.value) >> slot & 1:
                self.vectors[slot] = np.roll(self.vectors[slot], 1)
                self.exponents[slot] = random.randint(-128, 127)
                self.dut.exponents.value = self.packed

    async def check(self):
        """Compare all outputs in every cycle."""
        dut = self.dut
        running, t = None, 0
        issued = 0
        while True:
            await RisingEdge(dut.clk)
            first = int(dut.first.value)
            active = int(dut.active.value)
            if running is None:
                assert active == first, "a window without a first cycle"
                if first:
                    assert self.windows, "a window that nobody ordered"
                    running, t = self.windows.popleft(), 0
                    self.firsts.append(self.cycle)
            assert int(dut.timing__active.value) == int(dut.window.value) == active
            assert int(dut.timing__first.value) == first
            pwm = int(dut.pwm_positive.value), int(dut.pwm_negative.value)
            assert int(dut.issued.value) == issued % 4
            assert int(dut.status__busy.value) == (issued > len(self.firsts) or running is not None)
            issued = self.issued
            if running is None:
                assert pwm == (0, 0), "lines driven outside a window"
                assert int(dut.timing__last.value) == 0
                continue
            command, length = running.command, len(running.pwm)
            assert active, f"window {command} ends after {t} of {length} cycles"
            assert first == (t == 0)
            assert int(dut.timing__last.value) == (t == length - 1)
            assert pwm == running.pwm[t], f"cycle {t} of {command}: {pwm}, not {running.pwm[t]}"
            controls = {
                "backward": command["backward"],
                "polarities": command["polarities"],
                "lsb_log2": command["lsb_log2"],
                "timing__lsb_log2": command["lsb_log2"],
                "timing__precision": command["precision"],
                "timing__exponent": running.exponent & 0xFF,
                "reference": command["source"] == MvmSource.REFERENCE,
                "devices": (1 << CONFIG.devices_per_polarity) - 1,
            }
            for name, value in controls.items():
                got = int(getattr(dut, name).value)
                assert got == value, f"{name} in cycle {t} of {command}: {got}, not {value}"
            t += 1
            if t == length:
                running = None


async def start(dut, *, memory_duty=1.0):
    """A bench with its memory and monitor running."""
    bench = Bench(dut)
    await bench.start()
    cocotb.start_soon(bench.memory(memory_duty))
    cocotb.start_soon(bench.check())
    return bench


async def drain(bench, commands):
    """Wait until as many windows as commands have run."""
    while len(bench.firsts) < commands or int(bench.dut.status__busy.value):
        await RisingEdge(bench.dut.clk)
    await ClockCycles(bench.dut.clk, 3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(
    (("send_duty", "memory_duty"), [(1.0, 1.0), (0.05, 1.0), (1.0, 0.3), (0.02, 0.3)])
)
async def matches_golden_model(dut, send_duty, memory_duty):
    """Random commands of every source and precision, with stalls of either side."""
    bench = await start(dut, memory_duty=memory_duty)
    number = int(os.environ.get("WINDOWS", 30))
    precisions = range(5, CONFIG.input_bits + 1)
    commands = [random_command(precisions) for _ in range(number)]
    payloads = [COMMAND.const(command).as_bits() for command in commands]
    bench.port.payload.value = payloads[0]
    cocotb.start_soon(bench.rewrite())
    await send(bench.port, payloads, send_duty)
    await drain(bench, number)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def issues_a_window_per_window_time(dut):
    """A stream of full-precision windows leaves no cycle between them."""
    bench = await start(dut)
    commands = [random_command([CONFIG.input_bits]) | {"source": MvmSource.SLOT} for _ in range(10)]
    await send(bench.port, [COMMAND.const(command).as_bits() for command in commands])
    await drain(bench, len(commands))
    gaps = np.diff(bench.firsts)
    assert (gaps == CONFIG.window_cycles).all(), f"windows start {gaps} cycles apart"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source=range(5))
async def starts_soon(dut, source):
    """An idle driver opens the window 2 or 3 cycles after the command, plus one per word."""
    bench = await start(dut)
    command = random_command([5]) | {"source": source, "first_line": 0, "count": CONFIG.lines}
    await ClockCycles(dut.clk, 2)
    await send(bench.port, [COMMAND.const(command).as_bits()])
    await drain(bench, 1)
    latency = {
        MvmSource.SLOT: 3 + CONFIG.blocks,
        MvmSource.ONE_HOT: 3,
        MvmSource.NOTHING: 2,
        MvmSource.REFERENCE: 2,
        MvmSource.ALL: 3 + CONFIG.blocks,
    }
    assert bench.firsts[0] - bench.accepted[0] == latency[source]
