# SPDX-License-Identifier: Apache-2.0
"""One in-memory-computing core: crossbar macro, its digital periphery, controller and host side."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from rtl.config import CoreConfig
from rtl.core.adc_interface import AdcInterface
from rtl.core.axi_lite import AxiLiteBus, AxiLiteSlave
from rtl.core.controller import Controller
from rtl.core.csr_file import CsrFile
from rtl.core.input_driver import InputDriver
from rtl.core.post_processing import PostProcessing
from rtl.core.programmer import Programmer
from rtl.core.stream_in import AxiStream, StreamIn
from rtl.core.stream_out import StreamOut
from rtl.core.update_unit import UpdateUnit
from rtl.core.vector_memory import VectorMemory
from rtl.crossbar import Crossbar
from rtl.csr import ADDRESS_BITS

__all__ = ["Core"]


class Core(wiring.Component):
    """A core with its host interface; ports are flat AXI names, active-high ``rst``.

    Members
    -------
    s_axil_* : AXI4-Lite slave, 32 bit: the registers of ``rtl/csr.py``
    s_axis_* : AXI-Stream slave: VECTOR and AFFINE packets, taken by LOAD in order
    m_axis_* : AXI-Stream master: RESULT packets of READ
    halted : Out(1)
        The last program ended with HALT and all units are idle; an interrupt line.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self._groups = {
            "s_axil": In(AxiLiteBus(ADDRESS_BITS)),
            "s_axis": In(AxiStream(config)),
            "m_axis": Out(AxiStream(config)),
        }
        ports = {
            f"{group}_{name}": member
            for group, wanted in self._groups.items()
            for name, member in wanted.signature.members.items()
        }
        super().__init__({**ports, "halted": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.crossbar = crossbar = Crossbar(config)
        m.submodules.driver = driver = InputDriver(config)
        m.submodules.adc = adc = AdcInterface(config)
        m.submodules.post = post = PostProcessing(config)
        m.submodules.update = update = UpdateUnit(config)
        m.submodules.programmer = programmer = Programmer(config)
        m.submodules.controller = controller = Controller(config)
        m.submodules.csr = csr = CsrFile(config)
        m.submodules.axil = axil = AxiLiteSlave()
        m.submodules.stream_in = stream_in = StreamIn(config)
        m.submodules.stream_out = stream_out = StreamOut(config)
        readers = (post, driver, update, programmer, stream_out)
        m.submodules.vectors = vectors = VectorMemory(config, readers=len(readers), writers=2)

        for index, reader in enumerate(readers):
            connect(m, reader.read, vectors.read[index])
        for index, writer in enumerate((post, stream_in)):
            connect(m, writer.write, vectors.write[index])
            connect(m, writer.exponent_write, vectors.exponent_write[index])
        for unit in (driver, update):
            m.d.comb += unit.exponents.eq(vectors.exponents)

        self._analog(m, crossbar, driver, adc, programmer)
        self._read_out(m, adc, post, programmer)
        self._commands(m, controller, driver, adc, post, update, programmer, stream_in, stream_out)
        self._host(m, axil, csr, controller, stream_in, stream_out)
        self._registers(m, csr, driver, adc, post, update, programmer, stream_in)
        return m

    def _analog(self, m, crossbar, driver, adc, programmer) -> None:
        """The macro between driver, converters and programmer."""
        for name in (
            "backward", "polarities", "devices", "range", "first", "active", "reference",
            "pwm_positive", "pwm_negative",
        ):  # fmt: skip
            m.d.comb += getattr(crossbar, name).eq(getattr(driver, name))
        connect(m, driver.timing, adc.timing)
        connect(m, programmer.macro, crossbar.program)
        m.d.comb += [
            adc.increments.eq(crossbar.increments),
            programmer.crossbar_idle.eq(~driver.busy),
        ]

    def _read_out(self, m, adc, post, programmer) -> None:
        """Post-processing and row engine share the read-out; they never work at the same time."""
        m.d.comb += [
            adc.read.en.eq(post.adc.en | programmer.adc.en),
            adc.read.block.eq(Mux(programmer.adc.en, programmer.adc.block, post.adc.block)),
            adc.read.mask.eq(Mux(programmer.adc.en, programmer.adc.mask, post.adc.mask)),
            post.latched.eq(adc.latched),
            post.window_exponent.eq(adc.exponent),
            programmer.latched.eq(adc.latched),
        ]
        for client in (post, programmer):
            m.d.comb += client.adc.codes.eq(adc.read.codes)

    def _commands(
        self, m, controller, driver, adc, post, update, programmer, stream_in, stream_out
    ) -> None:
        """Command streams out of the controller, state of the units back to it."""
        connect(m, controller.post, post.i)
        connect(m, controller.update, update.i)
        connect(m, controller.rows, programmer.rows)
        connect(m, controller.load, stream_in.i)
        connect(m, controller.store, stream_out.i)
        connect(m, update.pulses, programmer.pulses)
        # Calibration and row engine run alone, so a fixed priority is an arbiter.
        m.d.comb += driver.i.payload.eq(controller.mvm.payload)
        for source in (controller.mvm, programmer.mvm, adc.mvm):
            m.d.comb += source.ready.eq(driver.i.ready)
            with m.If(source.valid):
                m.d.comb += [driver.i.valid.eq(1), driver.i.payload.eq(source.payload)]
        m.d.comb += [
            adc.calibrate.eq(controller.calibrate),
            controller.calibrating.eq(adc.calibrating),
            stream_in.cancel.eq(controller.cancel),
            controller.crossbar_busy.eq(driver.busy),
            controller.crossbar_issued.eq(driver.issued),
            controller.crossbar_reads.eq(driver.reads),
            controller.post_busy.eq(post.busy),
            controller.post_reads.eq(post.reads),
            controller.post_writes.eq(post.writes),
            controller.update_busy.eq(update.busy),
            controller.update_reads.eq(update.reads),
            controller.programmer_busy.eq(programmer.busy),
            controller.programmer_reads.eq(programmer.reads),
            controller.load_busy.eq(stream_in.busy),
            controller.load_writes.eq(stream_in.writes),
            controller.store_busy.eq(stream_out.busy),
            controller.store_reads.eq(stream_out.reads),
        ]

    def _host(self, m, axil, csr, controller, stream_in, stream_out) -> None:
        """AXI ports; the register bus and the sequencer's registers."""
        connect(m, axil.bus, csr.bus)
        connect(m, controller.sequencer, csr.sequencer)
        inner = {"s_axil": axil.axil, "s_axis": stream_in.axis, "m_axis": stream_out.axis}
        for group, wanted in self._groups.items():
            for name, member in wanted.signature.members.items():
                outside, inside = getattr(self, f"{group}_{name}"), getattr(inner[group], name)
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        m.d.comb += self.halted.eq(controller.sequencer.halted)

    def _registers(self, m, csr, driver, adc, post, update, programmer, stream_in) -> None:
        """Settings to the units, events and errors from them."""
        settings = csr.settings
        m.d.comb += [
            programmer.refresh_high.eq(settings.refresh_high),
            programmer.refresh_low.eq(settings.refresh_low),
            adc.line.eq(settings.calibration_line),
            csr.calibration_offset.eq(adc.offset),
            csr.calibration_gain.eq(adc.gain),
            csr.calibration_errors.eq(adc.calibration_error),
            csr.malformed.eq(stream_in.malformed),
            csr.malformed_code.eq(stream_in.error),
        ]
        connect(m, stream_in.affine_write, post.affine_write)
        events = {
            "window": driver.window,
            "mvms": driver.timing.first,
            "update_stalled": update.stalled,
            "chi_blocks": update.products,
            "set_pulses": programmer.set_pulses,
            "reset_pulses": programmer.reset_pulses,
            "refreshed_pairs": programmer.refreshed,
            "unverified": programmer.unverified,
            "chi_saturations": update.chi_saturations,
            "transfer_saturations": update.transfer_saturations,
            "accumulator_saturations": post.accumulator_saturations,
            "code_saturations": post.code_saturations,
            "adc_clips": adc.clipped,
        }
        for name, value in events.items():
            m.d.comb += csr.events[name].eq(value)
