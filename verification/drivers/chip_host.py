# SPDX-License-Identifier: Apache-2.0
"""A small host driver for a chip in simulation: ``verification/drivers/host.py`` for many cores.

It knows the chip by its ports, its register tables (``rtl/spec/registers/core.py``,
``rtl/spec/registers/chip.py``), its descriptors (``rtl/spec/instructions.py``) and its packets
(``models/golden/packets.py``) alone. Two cores in a row, of which the first gets vectors from the
host and the second answers::

    host = await ChipHost.connect(dut, config)
    await host.connect_nodes((host.node, 0), (first, 0), depth=2)
    await host.connect_nodes((first, 0), (second, 0), depth=2)
    await host.connect_nodes((second, 0), (host.node, 0), credits=8)
    await host.cores[first].load_program(...)
    await host.cores[second].load_program(...)
    host.send_vector(0, codes)
    await host.run([first, second])
    result = await host.receive()

Packets go to nodes that the host's node has a way to; registers reach every core, and its memories
through them (``host.cores[node].write_vector``, ``write_affine``).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiStreamFrame
from numpy.typing import ArrayLike

from phasecore.models.golden.packets import Result, affine_packet, parse_result, vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, RouteDescriptor, slot_ring
from phasecore.rtl.spec.registers.chip import MASK_NODES, PAGE_BITS, masks, registers, windows
from phasecore.verification.drivers.host import (
    IDLE_INPUTS,
    POLL_CYCLES,
    Clients,
    CorePage,
    Page,
    RunError,
)
from phasecore.verification.support.streams import reset

__all__ = ["ChipHost"]


class ChipHost(Page):
    """A chip, driven through its AXI ports; its own registers are those of the host's page.

    Parameters
    ----------
    dut : handle of the chip, out of reset (:meth:`connect` does that)
    config : the chip
    pauses : as of :class:`phasecore.verification.drivers.host.Host`

    Attributes
    ----------
    node : the host's node
    cores : :class:`phasecore.verification.drivers.host.CorePage` of every core, by node
    pages : the same, and this host at its own node
    registers, source, sink : as of :class:`phasecore.verification.drivers.host.Clients`
    """

    def __init__(
        self, dut: Any, config: ChipConfig, *, pauses: Callable[[], Iterator[bool]] | None = None
    ):
        clients = Clients(dut, pauses)
        self.config, self.node = config, config.host
        super().__init__(
            clients.registers, registers(config), windows(config), self.node << PAGE_BITS
        )
        self.source, self.sink = clients.source, clients.sink
        self.cores = {
            node: CorePage(clients.registers, config.core, node << PAGE_BITS)
            for node in config.cores
        }
        self.pages: dict[int, Page] = {**self.cores, self.node: self}
        self._dut = dut

    @classmethod
    async def connect(
        cls, dut: Any, config: ChipConfig, *, pauses: Callable[[], Iterator[bool]] | None = None
    ) -> "ChipHost":
        """Start the clock, reset the chip and connect to it."""
        await reset(dut, **dict.fromkeys(IDLE_INPUTS, 0))
        return cls(dut, config, pauses=pauses)

    async def connect_nodes(
        self, producer: tuple[int, int], consumer: tuple[int, int], *, slot: int = 0,
        depth: int = 1, credits: int | None = None, vc: int = 0,
    ) -> None:  # fmt: skip
        """Write both ends of a route of single vectors.

        Parameters
        ----------
        producer, consumer : node and number of its route, node and number of its object
        slot, depth : the consumer's ring
        credits : vectors that may be on their way; default: the ring's depth
        vc : virtual channel of both directions
        """
        (source, route), (target, number) = producer, consumer
        (px, py), (cx, cy) = self.config.place(source), self.config.place(target)
        await self.pages[target].define(
            number,
            ObjectDescriptor(
                x=px, y=py, route=route, vc=vc, **slot_ring(self.config.core, slot, depth)
            ),
        )
        credits = depth if credits is None else credits
        await self.pages[source].define(
            route, RouteDescriptor(x=cx, y=cy, object=number, vc=vc, credits=credits)
        )

    async def read_mask(self, name: str) -> int:
        """``RUNNING``, ``HALTED`` or ``FAULT``: bit n is that of node n."""
        value = 0
        for position, part in enumerate(masks(name, self.config)):
            value |= await self.read_register(part) << MASK_NODES * position
        return value

    async def start(self, nodes: Iterable[int]) -> None:
        """Start the programs of several cores at once, each at its START."""
        mask = sum(1 << node for node in set(nodes))
        for position, part in enumerate(masks("START", self.config)):
            await self.write_register(part, mask >> MASK_NODES * position & (1 << MASK_NODES) - 1)

    async def finish(self) -> None:
        """Wait until all programs that were started have halted."""
        while not int(self._dut.halted.value):
            if not await self.read_mask("RUNNING") and not int(self._dut.halted.value):
                stopped = await self.read_mask("FAULT")
                nodes = [node for node in self.cores if stopped >> node & 1]
                for node in nodes:
                    await self.cores[node].check_running()
                raise RunError(f"not all programs have halted; cores with errors: {nodes}")
            await First(RisingEdge(self._dut.halted), ClockCycles(self._dut.clk, POLL_CYCLES))

    async def run(self, nodes: Iterable[int]) -> None:
        """Run programs until all have halted."""
        await self.start(nodes)
        await self.finish()

    def send(self, packet: bytes) -> None:
        """Queue a packet; the bridge takes them in order."""
        self.source.send_nowait(AxiStreamFrame(packet))

    def send_vector(self, route: int, codes: ArrayLike, *, start: int = 0) -> None:
        """Queue a vector of codes (-127..127) for lines ``start`` and up of a route's object."""
        self.send(vector_packet(codes, config=self.config.core, start=start, slot=route))

    def send_affine(
        self, route: int, scale: ArrayLike, offset: ArrayLike, *, start: int = 0
    ) -> None:
        """Queue scales (1.7) and offsets (7.1) for the affine table of a route's object."""
        config = self.config.core
        self.send(affine_packet(scale, offset, config=config, start=start, slot=route))

    async def receive(self) -> Result:
        """Next RESULT packet, as soon as it has come; ``slot`` is the host's object."""
        frame = await self.sink.recv()
        return parse_result(bytes(frame.tdata))
