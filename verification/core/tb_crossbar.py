# SPDX-License-Identifier: Apache-2.0
"""The macro against the golden model: every increment, final counts, every device."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from phasecore.models.golden.device import DeviceProfile
from phasecore.verification.oracle.crossbar import Crossbar
from phasecore.verification.support.build import config_from_env

CONFIG = config_from_env()


def make_model() -> Crossbar:
    """The model in the state that the macro was started with."""
    if os.environ["PROFILE"] == "default":
        model = Crossbar(CONFIG, seed=0, g=0)
        model.pulses_since_reset[...] = 0
        return model
    return Crossbar(CONFIG, DeviceProfile.load(os.environ["PROFILE"]), seed=0xDEADBEEF)


def bits(flags: np.ndarray) -> int:
    """Line i in bit i."""
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def unpack(word: int) -> np.ndarray:
    """Signed increments of all lines."""
    width = CONFIG.increment_bits
    raw = np.array([word >> width * line & (1 << width) - 1 for line in range(CONFIG.lines)])
    return raw - (raw >> (width - 1) << width)


class Driver:
    """Drives windows and programming; compares increments with the slow model."""

    def __init__(self, dut):
        self.dut = dut
        self.model = make_model()
        self.expected = np.zeros(CONFIG.lines, dtype=np.int64)
        self.trace = []

    async def start(self):
        for name in (
            "time_s", "backward", "polarities", "devices", "lsb_log2", "first", "active",
            "reference",
            "pwm_positive", "pwm_negative", "program_valid", "program_row", "program_col",
            "program_negative", "program_device", "program_reset", "program_fire", "dump", "rst",
        ):  # fmt: skip
            getattr(self.dut, name).value = 0
        Clock(self.dut.clk, 10, unit="ns").start()
        await RisingEdge(self.dut.clk)

    async def cycle(self, after=None):
        """One clock; the increments of the cycle before it must be those expected then.

        ``after`` is expected from the cycle that this edge takes; without it they hold.
        """
        await RisingEdge(self.dut.clk)
        got = unpack(int(self.dut.increments.value))
        assert (got == self.expected).all(), (
            f"window {self.model.windows}: lines {np.flatnonzero(got != self.expected).tolist()}:"
            f" got {got[got != self.expected].tolist()},"
            f" expected {self.expected[got != self.expected].tolist()}"
        )
        if after is not None:
            self.expected = after

    async def idle(self, cycles):
        self.dut.active.value = 0
        self.dut.first.value = random.getrandbits(1)
        self.dut.pwm_positive.value = random.getrandbits(CONFIG.lines)
        for _ in range(cycles):
            await self.cycle()

    def pass_time(self):
        """Another time, which may be earlier; the macro sees it with the next window or pulse."""
        seconds = random.choice([
            self.model.time, random.getrandbits(random.randrange(33)),
            min(self.model.time + random.choice([1, 20, 86400]), 0xFFFFFFFF),
        ])  # fmt: skip
        self.dut.time_s.value = seconds
        self.model.set_time(seconds)

    async def window(self, codes, **controls):
        """One window; ``controls`` as for the model."""
        before = self.model.windows
        increments = self.model.increments(codes, **controls)
        self.model.windows = before
        counts = self.model.window(codes, **controls)
        assert (increments.sum(axis=0) == counts).all()
        dut = self.dut
        dut.backward.value = controls["backward"]
        dut.polarities.value = controls["polarities"]
        dut.devices.value = controls["devices"]
        dut.lsb_log2.value = controls["lsb_log2"]
        dut.reference.value = controls["reference"]
        dut.active.value = 1
        drive = np.zeros(CONFIG.lines, dtype=np.int64)
        drive[: len(codes)] = codes
        for cycle, expected in enumerate(increments):
            dut.first.value = cycle == 0
            dut.pwm_positive.value = bits(drive > cycle)
            dut.pwm_negative.value = bits(-drive > cycle)
            await self.cycle(expected)
        dut.active.value = 0
        dut.pwm_positive.value = dut.pwm_negative.value = 0

    async def transfer(self, row, col, negative, device, reset, fire):
        """One programming transfer."""
        dut = self.dut
        dut.program_valid.value = 1
        dut.program_row.value, dut.program_col.value = row, col
        dut.program_negative.value, dut.program_device.value = negative, device
        dut.program_reset.value, dut.program_fire.value = reset, fire
        await self.cycle()
        assert int(dut.program_ready.value)
        dut.program_valid.value = 0

    async def select(self, row, sites, reset, *, fire):
        """Select some devices of a row, with gaps; ``fire`` with the last."""
        for position, site in enumerate(sites):
            if random.random() < 0.2:
                await self.cycle()
            await self.transfer(row, *site, reset, int(fire and position == len(sites) - 1))

    async def forsaken(self, row, sites, reset):
        """A reset comes with the fire of a group: nothing is pulsed, now or later."""
        await self.select(row, sites, reset, fire=False)
        self.dut.rst.value = 1
        await self.transfer(row, *sites[0], reset, fire=1)
        self.dut.rst.value = 0
        await self.cycle()
        assert int(self.dut.program_ready.value), "a reset has fired"

    async def pulse(self, row, sites, reset):
        """One fire; ready is low exactly while the pulse lasts, whatever is reset meanwhile."""
        await self.select(row, sites, reset, fire=True)
        col, negative, device = np.transpose(sites)
        self.model.program(row, col, negative, device, reset)
        for site in sites:
            g = self.model.conductance[(row, *site)]
            self.trace.append("P " + " ".join(map(str, (row, *site, reset, g))))
        for _ in range(CONFIG.reset_cycles if reset else CONFIG.set_cycles):
            self.dut.program_valid.value = random.getrandbits(1)
            self.dut.rst.value = random.random() < 0.1
            await self.cycle()
            assert not int(self.dut.program_ready.value), "ready during a pulse"
        self.dut.program_valid.value = self.dut.rst.value = 0
        await self.cycle()
        assert int(self.dut.program_ready.value), "not ready after the pulse"

    async def check_devices(self):
        """Dump, compare every device and the trace; the macro goes on from the reloaded dump."""
        self.dut.dump.value = 1
        await self.cycle()
        self.dut.dump.value = 0
        await self.cycle()
        dumped = make_model()
        dumped.read_macro_files("dump")
        for name in (
            "conductance",
            "pulses_since_reset",
            "events",
            "event_time",
            "time",
            "drifted",
            "windows",
        ):
            assert np.array_equal(getattr(dumped, name), getattr(self.model, name)), name
        assert int(self.dut.windows.value) == self.model.windows
        assert int(self.dut.set_pulses.value) == self.model.set_pulses
        assert int(self.dut.reset_pulses.value) == self.model.reset_pulses
        if self.trace:
            assert Path("trace.txt").read_text(encoding="utf-8").splitlines() == self.trace
            self.trace = []

    async def random_window(self):
        backward = random.getrandbits(1)
        precision = random.randint(5, CONFIG.input_bits)
        largest = 2 ** (precision - 1) - 1
        driven = CONFIG.cols if backward else CONFIG.rows
        density = random.choice([0.1, 0.7, 1.0])
        codes = [
            random.randint(-largest, largest) if random.random() < density else 0
            for _ in range(driven)
        ]
        if random.random() < 0.2:
            codes = [random.choice([-largest, largest])] * driven
        all_devices = 2**CONFIG.devices_per_polarity - 1
        await self.window(
            codes,
            lsb_log2=random.choice([CONFIG.lsb_log2_min, random.randint(CONFIG.lsb_log2_min, 16)]),
            precision=precision,
            backward=bool(backward),
            polarities=random.choice([3, 3, 2, 1, 0]),
            devices=random.choice([all_devices, random.randint(0, all_devices)]),
            reference=random.random() < 0.2,
        )

    async def random_pulse(self):
        row = random.randrange(CONFIG.rows)
        sites = {
            (
                random.randrange(CONFIG.cols),
                random.getrandbits(1),
                random.randrange(CONFIG.devices_per_polarity),
            )
            for _ in range(random.choice([1, 8]))
        }
        await self.pulse(row, sorted(sites), int(random.random() < 0.3))


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def matches_golden_model(dut):
    """Random windows in both directions, back to back or apart, between random pulses."""
    driver = Driver(dut)
    await driver.start()
    for _ in range(int(os.environ["WINDOWS"])):
        if random.random() < 0.3:
            driver.pass_time()
        await driver.random_window()
        if random.random() < 0.6:
            await driver.idle(random.randint(1, 5))
            for _ in range(random.randint(0, 3)):
                if random.random() < 0.2:
                    driver.pass_time()
                await driver.random_pulse()
    # One weight from RESET to saturation of conductance and pulse counter.
    await driver.forsaken(1, [(2, 0, 0), (4, 1, 0)], 0)
    await driver.pulse(1, [(2, 0, 0)], 1)
    for _ in range(36):
        await driver.pulse(1, [(2, 0, 0)], 0)
    await driver.idle(2)
    await driver.check_devices()
    await driver.random_window()
    await driver.cycle()
    assert int(dut.errors.value) == 0
    # Programming in a window, or a window in a pulse, is reported and still done.
    dut.active.value = 1
    await RisingEdge(dut.clk)
    dut.program_valid.value = dut.program_fire.value = 1
    await RisingEdge(dut.clk)
    dut.program_valid.value = dut.first.value = 0
    await RisingEdge(dut.clk)
    dut.first.value = 1
    await RisingEdge(dut.clk)
    dut.active.value = 0
    await RisingEdge(dut.clk)
    assert int(dut.errors.value) == 2
    assert int(dut.set_pulses.value) + int(dut.reset_pulses.value) == (
        driver.model.set_pulses + driver.model.reset_pulses + 1
    )
