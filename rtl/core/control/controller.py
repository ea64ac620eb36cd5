# SPDX-License-Identifier: Apache-2.0
"""Controller: fetches, checks and issues the instructions of a program in order."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.control.csr_file import SequencerPort
from phasecore.rtl.core.control.csr_parts import Events
from phasecore.rtl.core.control.decoder import WINDOWS, Decoder, opcode_of
from phasecore.rtl.core.control.dispatcher import Dispatcher
from phasecore.rtl.core.control.issue_counters import IssueCounters
from phasecore.rtl.core.control.scoreboard import Scoreboard
from phasecore.rtl.core.control.sequencer import Sequencer
from phasecore.rtl.core.control.transport import AxiTransport, NocTransport
from phasecore.rtl.core.interfaces import (
    MvmCommand,
    PostCommand,
    RowCommand,
    UnitsStatus,
    UpdateCommand,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Opcode, Unit

__all__ = ["Controller"]


class Controller(wiring.Component):
    """Runs the program of the register file, one instruction per three cycles at best.

    An instruction is fetched, checked in the cycle after next and then issued as soon as its unit
    and its slots are free. FORWARD and BACKWARD only need the driver's ``ready``; every other unit
    takes a command when it is idle. HALT waits until every unit is idle. An illegal instruction is
    reported and skipped; all its fields are checked, used or not.

    ``abort`` and the watchdog stop the sequencer, but never in the middle of an offered command;
    units go on with what they have, only ``abort`` gives up a LOAD whose packet is not there. What
    runs alone (CALIBRATE, REFRESH, PROGRAM) still does: the next program waits for its end.
    The watchdog counts cycles since the start or the last issue.

    Members
    -------
    sequencer : Out(SequencerPort)
        To the register file.
    units : In(UnitsStatus)
        That of the programmer includes the pulse queue.
    mvm, post, update, rows : Out(stream)
        Commands of the units.
    calibrate, calibrating : Out(1), In(1)
        Strobe that starts a calibration; ``calibrating`` from the next cycle until its end.
    drift : Out(2)
        Drift of the calibration, with ``calibrate``.
    cancel : Out(1)
        Strobe of an abort, for LoadUnit.
    windows : In(2)
        Commands that the input driver has taken, modulo 4: the tag of ACTIVATE and DELTA.
    busy : Out(7)
        Units that are busy, as in ``Unit``.
    events : Out(Events)
        What performance counters add up.
    load, read : Out(stream)
        Of AxiTransport.
    send, release, gather, lookup, network : Out(stream) three times, Out, In(NetworkStatus)
        Of NocTransport, in their place, on a core with ``config.objects``.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self._transport = NocTransport(config) if config.objects else AxiTransport(config)
        super().__init__(
            {
                **self._transport.outward,
                "sequencer": Out(SequencerPort(config)),
                "units": In(UnitsStatus(config)),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "post": Out(stream.Signature(PostCommand(config))),
                "update": Out(stream.Signature(UpdateCommand(config))),
                "rows": Out(stream.Signature(RowCommand(config))),
                "calibrate": Out(1),
                "drift": Out(2),
                "calibrating": In(1),
                "cancel": Out(1),
                "windows": In(2),
                "busy": Out(len(Unit)),
                "events": Out(Events(config, internal=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.decoder = decoder = Decoder(config, self._transport.opcodes)
        m.submodules.scoreboard = scoreboard = Scoreboard(config)
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        m.submodules.transport = transport = self._transport
        connect(m, sequencer.port, flipped(self.sequencer))
        connect(m, flipped(self.units), scoreboard.units)
        for name in ("mvm", "post", "update", "rows"):
            connect(m, getattr(dispatcher, name), flipped(getattr(self, name)))
        for name in transport.outward:
            connect(m, getattr(transport, name), flipped(getattr(self, name)))

        waiting, hazard = scoreboard.waiting.any(), scoreboard.hazard | transport.hazard
        for issue in (dispatcher.issue, transport.issue):
            m.d.comb += [
                issue.word.eq(sequencer.word),
                issue.enable.eq(sequencer.issuing & ~waiting & ~hazard),
            ]
        m.d.comb += [
            decoder.word.eq(sequencer.word),
            decoder.segment.eq(self.sequencer.segment),
            decoder.no_window.eq(transport.no_window),
            scoreboard.word.eq(sequencer.word),
            scoreboard.issued.eq(sequencer.issued),
            scoreboard.calibrating.eq(self.calibrating),
            scoreboard.gathers.eq(transport.sources),
            scoreboard.slots_released.eq(transport.slots_released),
            dispatcher.segment.eq(sequencer.segment),
            dispatcher.tag.eq(self.windows),
            dispatcher.arrived.eq(transport.arrived),
            dispatcher.pixel.eq(transport.pixel),
            transport.running.eq(self.sequencer.running),
            transport.decoding.eq(self.sequencer.segment_en),
            transport.fetched.eq(self.sequencer.instruction),
            transport.table_read.eq(dispatcher.affine & self.units.post.busy),
            transport.loading.eq(self.units.load.busy),
            sequencer.error.eq(decoder.error),
            sequencer.waiting.eq(waiting),
            sequencer.hazard.eq(hazard),
            sequencer.arrived.eq(transport.arrived),
            sequencer.offered.eq(dispatcher.issue.offered | transport.issue.offered),
            sequencer.accepted.eq(dispatcher.issue.accepted | transport.issue.accepted),
            self.calibrate.eq(sequencer.calibrate),
            self.drift.eq(dispatcher.drift),
            self.cancel.eq(sequencer.cancel),
            self.busy.eq(scoreboard.busy),
        ]
        self._count(m, sequencer, scoreboard, dispatcher)
        return m

    def _count(
        self, m: Module, sequencer: Sequencer, scoreboard: Scoreboard, dispatcher: Dispatcher
    ) -> None:
        transport = self._transport
        m.submodules.counters = counters = IssueCounters(self.config)
        m.d.comb += [
            counters.running.eq(self.sequencer.running),
            counters.issued.eq(sequencer.issued),
            counters.stalled.eq(sequencer.stalled),
            counters.busy.eq(scoreboard.busy),
            counters.waiting.eq(scoreboard.waiting),
            counters.refused.eq(dispatcher.issue.refused | transport.issue.refused),
            counters.hazard.eq(scoreboard.hazard | transport.hazard),
            counters.absent.eq(
                opcode_of(sequencer.word).matches(Opcode.AWAIT, *WINDOWS) & ~transport.arrived
            ),
            counters.loads.eq(transport.loads),
            counters.reads.eq(transport.reads),
            self.events.eq(counters.events),
        ]
