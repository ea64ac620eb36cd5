# SPDX-License-Identifier: Apache-2.0
"""Transports: how vectors come to a core and leave it, by AXI streams or by the network.

Both answer the controller by the same ports; each has its own instructions and its own ports
towards its units.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.decoder import POSTS, WINDOWS, fields_of, opcode_of
from phasecore.rtl.core.control.dispatcher import IssuePort, offer
from phasecore.rtl.core.control.load_unit import LoadCommand
from phasecore.rtl.core.control.read_unit import ReadCommand
from phasecore.rtl.core.interfaces import GatherCommand, ObjectLookup, SendCommand, SumPixel
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import INSTRUCTION_BITS, INSTRUCTIONS, Opcode, Unit

__all__ = ["AxiTransport", "NetworkStatus", "NocTransport", "Transport"]

STREAMED = (Opcode.LOAD, Opcode.READ)
NETWORKED = (Opcode.SEND, Opcode.AWAIT, Opcode.RELEASE, Opcode.GATHER)
SUMMED = (Opcode.SCATTER, Opcode.NORMALISE)
"""On cores with room for frames of sums."""
TRANSPORTED = (*STREAMED, *NETWORKED, *SUMMED)


class NetworkStatus(wiring.Signature):
    """What the network tells the controller.

    Objects that are ``ready``; ``partial`` while accumulators are still being sent; objects whose
    vectors only the window unit reads (``gathered``). Of the object of ``gather``: it has such a
    ``window``, whose ring covers these slots (``sources``), or whose sums are ``pixel``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "ready": Out(config.objects),
                "partial": Out(1),
                "gathered": Out(config.objects),
                "window": Out(1),
                "sources": Out(config.slots),
                "pixel": Out(SumPixel(config)),
            }
        )


class Transport(wiring.Component):
    """Ports of a transport towards the controller.

    Parameters
    ----------
    config : CoreConfig
    own : instructions of this transport
    outward : interfaces towards its units

    Members
    -------
    issue : In(IssuePort)
    running, decoding, fetched : In(1), In(1), In(64)
        A program runs; ``fetched`` is the instruction of ``issue`` from the next cycle on.
    table_read : In(1)
        Post-processing is reading an affine table.
    loading : In(1)
        ``Unit.LOAD`` is busy.
    hazard : Out(1)
        Something other than a slot that the instruction needs is in use.
    no_window, sources, slots_released : Out
        As of Decoder, and as ``gathers`` and ``slots_released`` of Scoreboard.
    pixel : Out(SumPixel)
        Sums of NORMALISE.
    arrived : Out(1)
        What AWAIT, or an instruction of a window, waits for is there.
    loads, reads : Out(1)
        A command that brings, or takes, a vector is accepted.
    """

    def __init__(
        self, config: CoreConfig, own: tuple[Opcode, ...], outward: dict[str, wiring.Member]
    ):
        self.config, self.outward = config, outward
        self.opcodes = {opcode for opcode in Opcode if opcode in own or opcode not in TRANSPORTED}
        super().__init__(
            {
                **outward,
                "issue": In(IssuePort()),
                "running": In(1),
                "decoding": In(1),
                "fetched": In(INSTRUCTION_BITS),
                "table_read": In(1),
                "loading": In(1),
                "hazard": Out(1),
                "no_window": Out(1),
                "sources": Out(config.slots),
                "slots_released": Out(1),
                "pixel": Out(SumPixel(config)),
                "arrived": Out(1),
                "loads": Out(1),
                "reads": Out(1),
            }
        )


class AxiTransport(Transport):
    """LOAD and READ over AXI streams.

    Members
    -------
    load, read : Out(stream)
        Commands of LoadUnit and ReadUnit.
    """

    def __init__(self, config: CoreConfig):
        outward = {
            "load": Out(stream.Signature(LoadCommand(config))),
            "read": Out(stream.Signature(ReadCommand(config))),
        }
        super().__init__(config, STREAMED, outward)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        load, read = self.load, self.read
        opcode, fields = opcode_of(self.issue.word), fields_of(self.issue.word)
        offer(
            m,
            self.issue,
            ((Unit.LOAD, load, (Opcode.LOAD,)), (Unit.READ, read, (Opcode.READ,))),
        )
        wanted, wish = fields[Opcode.LOAD], fields[Opcode.READ]
        m.d.comb += [
            load.payload.affine.eq(wanted.affine),
            load.payload.slot.eq(wanted.slot),
            *(read.payload[name].eq(wish[name]) for name in ("slot", "first_line", "length")),
            self.arrived.eq(1),
            self.loads.eq(load.valid & load.ready),
            self.reads.eq(read.valid & read.ready),
        ]
        # The last LOAD fills an affine table.
        affine = Signal()
        with m.If(self.loads):
            m.d.sync += affine.eq(load.payload.affine)
        with m.If(opcode == Opcode.LOAD):
            m.d.comb += self.hazard.eq(wanted.affine & self.table_read)
        with m.Elif(opcode == Opcode.ACTIVATE):
            m.d.comb += self.hazard.eq(fields[Opcode.ACTIVATE].affine & self.loading & affine)
        return m


class NocTransport(Transport):
    """SEND, AWAIT, RELEASE, GATHER, SCATTER and NORMALISE of objects on the network.

    Members
    -------
    send, release, gather : Out(stream)
        Of SendCommand, of masks of objects, and of GatherCommand (or SCATTER); its payload names
        the object of NORMALISE, too, which is a command of post-processing.
    lookup : Out(ObjectLookup)
        The object that ``gather`` names in the next cycle, from its decoding until it is issued.
    network : In(NetworkStatus)
    """

    def __init__(self, config: CoreConfig):
        outward = {
            "send": Out(stream.Signature(SendCommand(config))),
            "release": Out(stream.Signature(config.objects)),
            "gather": Out(stream.Signature(GatherCommand())),
            "lookup": Out(ObjectLookup()),
            "network": In(NetworkStatus(config)),
        }
        own = (*NETWORKED, *SUMMED) if config.sum_words else NETWORKED
        super().__init__(config, own, outward)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        send, release, network = self.send, self.release, self.network
        gather = self.gather
        opcode, fields = opcode_of(self.issue.word), fields_of(self.issue.word)
        offer(
            m,
            self.issue,
            (
                (Unit.READ, send, (Opcode.SEND,)),
                (Unit.READ, release, (Opcode.RELEASE,)),
            ),
        )
        # GATHER and SCATTER are offered once their object is ready, which it stays.
        with m.If(self.arrived):
            offer(m, self.issue, ((Unit.WINDOW, gather, (Opcode.GATHER, Opcode.SCATTER)),))
        objects = self.config.objects
        wanted = Mux(
            opcode.matches(*WINDOWS), 1 << gather.payload.object, fields[Opcode.AWAIT].objects
        )
        released = fields[Opcode.RELEASE].objects[:objects]
        m.d.comb += [
            release.payload.eq(fields[Opcode.RELEASE].objects),
            *(
                send.payload[field.name].eq(fields[Opcode.SEND][field.name])
                for field in INSTRUCTIONS[Opcode.SEND]
            ),
            self.arrived.eq(~(wanted[:objects] & ~network.ready).any()),
            self.no_window.eq(~network.window),
            self.sources.eq(network.sources),
            self.pixel.eq(network.pixel),
            self.slots_released.eq((released & ~network.gathered).any()),
            self.hazard.eq(
                network.partial
                & (
                    opcode.matches(*POSTS, Opcode.NORMALISE)
                    | ((opcode == Opcode.RELEASE) & self.slots_released)
                )
            ),
            self.reads.eq(send.valid & send.ready),
        ]
        self._windows(m, opcode, fields)
        return m

    def _windows(self, m: Module, opcode: Value, fields: dict[Opcode, data.View]) -> None:
        """Window of the object that an instruction names."""
        window, following = self.gather.payload, fields_of(self.fetched)[Opcode.GATHER]
        m.d.comb += [
            self.lookup.en.eq(self.decoding | (self.running & opcode.matches(*WINDOWS))),
            # The first field of all of them.
            self.lookup.object.eq(Mux(self.decoding, following.object, window.object)),
        ]
        for code in WINDOWS:
            with m.If(opcode == code):
                m.d.comb += window.sums.eq(code != Opcode.GATHER)
                for field in INSTRUCTIONS[code]:
                    name = "destination" if field.name == "slot" else field.name
                    if name in window.shape().members:
                        m.d.comb += window[name].eq(fields[code][field.name])
