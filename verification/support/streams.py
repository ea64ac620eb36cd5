# SPDX-License-Identifier: Apache-2.0
"""Ready/valid endpoints and a scoreboard for cocotb benches.

Everything samples right after ``RisingEdge``, where cocotb shows the values from before the
edge, so no ``ReadOnly`` or extra delay is needed.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

__all__ = [
    "Scoreboard", "StreamPort", "monitor", "read_devices", "reset", "send", "slow_pulses",
    "throttle",
]  # fmt: skip


class StreamPort:
    """Handles of one stream of the DUT: ``<name>__payload``, ``__valid``, ``__ready``."""

    def __init__(self, dut: Any, name: str):
        self.name = name
        self.clk = dut.clk
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")


async def reset(dut: Any, **idle: int) -> None:
    """Run the clock and leave reset; ``idle`` gives inputs their first values."""
    dut.rst.value = 1
    for name, value in idle.items():
        getattr(dut, name).value = value
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def slow_pulses(macro: Any, cycles: int) -> None:
    """Make every pulse of a crossbar macro last longer than its parameters say, forever."""
    while True:
        await FallingEdge(macro.program_ready)
        macro.busy.value = cycles


def read_devices(macro: Any, crossbar: Any) -> None:
    """Take devices and window count of a golden crossbar from a macro."""
    for name in ("conductance", "pulses_since_reset", "events", "event_time"):
        values, words = getattr(crossbar, name).reshape(-1), getattr(macro, name)
        for index in range(len(values)):
            values[index] = int(words[index].value)
    crossbar.windows = int(macro.windows.value)
    crossbar.refresh_weights()


async def send(port: StreamPort, payloads: Iterable[int], duty: float = 1.0) -> None:
    """Offer every payload in order; in a free cycle one is offered with probability ``duty``."""
    for payload in payloads:
        while random.random() >= duty:
            port.valid.value = 0
            await RisingEdge(port.clk)
        port.payload.value = payload
        port.valid.value = 1
        await RisingEdge(port.clk)
        while not int(port.ready.value):
            await RisingEdge(port.clk)
    port.valid.value = 0


async def throttle(port: StreamPort, duty: float) -> None:
    """Assert ``ready`` in a random fraction ``duty`` of the cycles, forever."""
    while True:
        port.ready.value = random.random() < duty
        await RisingEdge(port.clk)


async def monitor(port: StreamPort, on_transfer: Callable[[int], None]) -> None:
    """Call ``on_transfer(payload)`` for every transfer, forever."""
    while True:
        await RisingEdge(port.clk)
        if int(port.valid.value) and int(port.ready.value):
            on_transfer(int(port.payload.value))


class Scoreboard:
    """Compares transfers, in order, with what the golden model expects."""

    def __init__(self, name: str, expected: Iterable[Any]):
        self.name = name
        self.expected = deque(enumerate(expected))

    def check(self, actual: Any) -> None:
        """Take one transfer; assert that it is the next expected one."""
        assert self.expected, f"{self.name}: transfer {actual} after the last expected one"
        index, expected = self.expected.popleft()
        assert actual == expected, f"{self.name}[{index}]: got {actual}, expected {expected}"

    @property
    def done(self) -> bool:
        """True when everything expected has come."""
        return not self.expected
