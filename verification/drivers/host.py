# SPDX-License-Identifier: Apache-2.0
"""A small host driver for one core in simulation, on top of the bus clients of cocotbext-axi.

It knows the core by its ports, its register table (``rtl/spec/registers/core.py``) and its packets
(``models/golden/packets.py``) alone, so it is also the example to start a driver from::

    host = await Host.connect(dut, config)
    await host.load_program([encode(Opcode.LOAD, affine=0, slot=0), ...], segments)
    host.send_vector(codes)
    await host.run()
    result = await host.receive()
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)
from numpy.typing import ArrayLike

from phasecore.models.golden.packets import (
    Result,
    affine_bytes,
    affine_packet,
    parse_result,
    vector_bytes,
    vector_packet,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, RouteDescriptor, Segment
from phasecore.rtl.spec.registers.core import affine_address, registers, vector_address, windows
from phasecore.rtl.spec.registers.table import (
    WORD_BYTES,
    FaultCode,
    FaultCounter,
    Register,
    Window,
)
from phasecore.verification.support.streams import reset

__all__ = [
    "IDLE_INPUTS", "POLL_CYCLES", "Clients", "CorePage", "Faults", "Host", "Page", "RegisterError",
    "RunError", "reset_again",
]  # fmt: skip

POLL_CYCLES = 200
"""Cycles between two looks at STATUS while no interrupt comes."""

IDLE_INPUTS = (
    "s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid", "s_axil_bready", "s_axil_rready",
    "s_axis_tvalid", "m_axis_tready",
)  # fmt: skip


class RegisterError(Exception):
    """The core refused a register access."""


class RunError(Exception):
    """A program stopped without reaching its HALT."""


@dataclass(frozen=True)
class Faults:
    """Faults since the counters were cleared: the first one, and how many of each kind."""

    code: FaultCode
    address: int
    counts: dict[FaultCounter, int]
    """Counters that are not zero."""


class Clients:
    """The three AXI clients of a core or chip.

    Attributes
    ----------
    registers : AxiLiteMaster
    source : AxiStreamSource
        To the hardware: VECTOR and AFFINE packets.
    sink : AxiStreamSink
        From the hardware: RESULT packets.
    """

    def __init__(self, dut: Any, pauses: Callable[[], Iterator[bool]] | None = None):
        # The clients report every transfer at level INFO.
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        if pauses is not None:
            write, read = self.registers.write_if, self.registers.read_if
            for channel in (
                write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                read.r_channel, self.source, self.sink,
            ):  # fmt: skip
                channel.set_pause_generator(pauses())


async def reset_again(dut: Any, host: Any, cycles: int) -> None:
    """Reset the hardware and drop what is on its way; ``host`` has the clients' streams."""
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    # The clients have dropped the packets in work on their own.
    host.source.clear()
    host.sink.clear()
    dut.rst.value = 0
    await RisingEdge(dut.clk)


def _check_words(address: int, length: int) -> None:
    if address % WORD_BYTES or length % WORD_BYTES:
        raise ValueError(
            f"address and length must be multiples of {WORD_BYTES}, not 0x{address:x} and {length}"
        )


class Page:
    """Registers and memory windows by name.

    Parameters
    ----------
    master : AxiLiteMaster
    table, memories : what there is
    base : byte address of the page
    """

    def __init__(
        self, master: AxiLiteMaster, table: Iterable[Register], memories: dict[str, Window],
        base: int = 0,
    ):  # fmt: skip
        self.registers, self.base = master, base
        self._table = {register.name: register for register in table}
        self._memories = memories

    async def write_word(self, offset: int, value: int) -> None:
        """Write the 32-bit word at a byte offset."""
        address = self.base + offset
        response = await self.registers.write(address, value.to_bytes(4, "little"))
        if response.resp != AxiResp.OKAY:
            raise RegisterError(f"write to 0x{address:04x} refused ({response.resp.name})")

    async def read_word(self, offset: int) -> int:
        """Read the 32-bit word at a byte offset."""
        address = self.base + offset
        response = await self.registers.read(address, 4)
        if response.resp != AxiResp.OKAY:
            raise RegisterError(f"read of 0x{address:04x} refused ({response.resp.name})")
        return int.from_bytes(response.data, "little")

    def _register(self, name: str) -> Register:
        if name not in self._table:
            raise ValueError(f"unknown register {name!r}")
        return self._table[name]

    async def write_register(self, name: str, value: int) -> None:
        """Write a register by name."""
        await self.write_word(self._register(name).offset, value)

    async def read_register(self, name: str) -> int:
        """Read a register by name, with its sign if it has one."""
        register = self._register(name)
        value = await self.read_word(register.offset)
        return value - (1 << 32) if register.signed and value >> 31 else value

    async def read_fields(self, name: str) -> dict[str, int]:
        """Read a register by name and take it apart into its bit fields."""
        value = await self.read_register(name)
        return {
            field.name: value >> field.low & ((1 << field.width) - 1)
            for field in self._register(name).fields
        }

    async def command(self, name: str) -> None:
        """Give one command of CONTROL by its name."""
        bits = {field.name: 1 << field.low for field in self._register("CONTROL").fields}
        await self.write_register("CONTROL", bits[name])

    async def write_entry(self, window: str, index: int, entry: int) -> None:
        """Write entry ``index`` of a memory window, e.g. ``PROGRAM``."""
        target = self._memories[window]
        for word in range(target.words):
            await self.write_word(target.address(index, word), entry >> 32 * word & 0xFFFFFFFF)

    async def define(self, index: int, descriptor: ObjectDescriptor | RouteDescriptor) -> None:
        """Write an object or a route, which begins anew."""
        name = "OBJECT" if isinstance(descriptor, ObjectDescriptor) else "ROUTE"
        window = self._memories[name]
        for word, value in enumerate(descriptor.pack()[: window.words]):
            await self.write_word(window.address(index, word), value)

    async def faults(self) -> Faults:
        """Faults since the last ``clear``."""
        counts = {}
        for counter in FaultCounter:
            if f"FAULTS_{counter.name}" in self._table:
                counts[counter] = await self.read_register(f"FAULTS_{counter.name}")
        return Faults(
            FaultCode(await self.read_register("FAULT_CODE")),
            await self.read_register("FAULT_ADDRESS"),
            {counter: count for counter, count in counts.items() if count},
        )


class CorePage(Page):
    """Registers of a core."""

    def __init__(self, master: AxiLiteMaster, config: CoreConfig, base: int = 0):
        super().__init__(master, registers(config), windows(config), base)
        self.config = config

    async def load_program(
        self, words: Sequence[int], segments: Iterable[Segment] = (), *, at: int = 0
    ) -> None:
        """Write instructions from address ``at`` on, and segment descriptors from 0 on."""
        for index, word in enumerate(words, at):
            await self.write_entry("PROGRAM", index, word)
        for index, segment in enumerate(segments):
            await self.write_entry("SEGMENT", index, segment.pack())

    async def write_memory(self, address: int, data: bytes) -> None:
        """Write whole words of four bytes from ``address`` in MEMORY_ADDRESS on.

        No program may run.
        """
        _check_words(address, len(data))
        await self.write_register("MEMORY_ADDRESS", address)
        for at in range(0, len(data), WORD_BYTES):
            word = int.from_bytes(data[at : at + WORD_BYTES], "little")
            await self.write_register("MEMORY_DATA", word)

    async def read_memory(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes, whole words of four, from ``address`` in MEMORY_ADDRESS on."""
        _check_words(address, length)
        await self.write_register("MEMORY_ADDRESS", address)
        words = [await self.read_register("MEMORY_DATA") for _ in range(length // WORD_BYTES)]
        return b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)

    async def write_vector(self, slot: int, codes: ArrayLike, *, start: int = 0) -> None:
        """Write codes (-127..127) to lines ``start`` and up of a slot, without any packet.

        Start and number of lines are multiples of 4.
        """
        address = vector_address(self.config, slot, start)
        await self.write_memory(address, vector_bytes(codes, config=self.config))

    async def write_affine(
        self, table: int, scale: ArrayLike, offset: ArrayLike, *, start: int = 0
    ) -> None:
        """Write scales (1.7) and offsets (7.1) to lines ``start`` and up of an affine table.

        Start and number of lines are even.
        """
        address = affine_address(self.config, table, start)
        await self.write_memory(address, affine_bytes(scale, offset))

    async def check_running(self) -> None:
        """Raise ``RunError`` if the program has stopped without its HALT."""
        status = await self.read_fields("STATUS")
        if not status["running"] and not status["halted"]:
            address = await self.read_register("PC")
            code = FaultCode(await self.read_register("FAULT_CODE"))
            raise RunError(f"stopped at instruction {address}, first error {code.name}")


class Host(CorePage):
    """One core, driven through its AXI ports.

    Parameters
    ----------
    dut : handle of the core, out of reset (:meth:`connect` does that)
    config : geometry of the core
    pauses : makes an endless iterator per bus channel, which rests in a cycle of True;
        None: no pauses

    Attributes
    ----------
    registers, source, sink : as of :class:`Clients`
    """

    def __init__(
        self, dut: Any, config: CoreConfig, *, pauses: Callable[[], Iterator[bool]] | None = None
    ):
        clients = Clients(dut, pauses)
        super().__init__(clients.registers, config)
        self.source, self.sink = clients.source, clients.sink
        self._dut = dut

    @classmethod
    async def connect(
        cls, dut: Any, config: CoreConfig, *, pauses: Callable[[], Iterator[bool]] | None = None
    ) -> "Host":
        """Start the clock, reset the core and connect to it."""
        await reset(dut, **dict.fromkeys(IDLE_INPUTS, 0))
        return cls(dut, config, pauses=pauses)

    async def start(self, *, at: int = 0) -> None:
        """Start the program at address ``at``."""
        await self.write_register("START", at)
        await self.command("start")

    async def finish(self) -> None:
        """Wait until the program has halted."""
        while not int(self._dut.halted.value):
            await self.check_running()
            await First(RisingEdge(self._dut.halted), ClockCycles(self._dut.clk, POLL_CYCLES))

    async def run(self, *, at: int = 0) -> None:
        """Run the program at address ``at`` until its HALT."""
        await self.start(at=at)
        await self.finish()

    def send(self, packet: bytes) -> None:
        """Queue a packet for the input stream; LOAD instructions take them in order."""
        self.source.send_nowait(AxiStreamFrame(packet))

    def send_vector(self, codes: ArrayLike, *, start: int = 0) -> None:
        """Queue a VECTOR packet of codes (-127..127) for lines ``start`` and up."""
        self.send(vector_packet(codes, config=self.config, start=start))

    def send_affine(self, scale: ArrayLike, offset: ArrayLike, *, start: int = 0) -> None:
        """Queue an AFFINE packet of scales (1.7) and offsets (7.1) for lines ``start`` and up."""
        self.send(affine_packet(scale, offset, config=self.config, start=start))

    async def receive(self) -> Result:
        """Next RESULT packet, as soon as it has come."""
        frame = await self.sink.recv()
        return parse_result(bytes(frame.tdata))
