# SPDX-License-Identifier: Apache-2.0
"""One in-memory-computing core: crossbar macro, its digital periphery, controller and host side."""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from phasecore.rtl.core.analog.adc_interface import AdcInterface
from phasecore.rtl.core.analog.input_driver import InputDriver
from phasecore.rtl.core.analog.programmer import Programmer
from phasecore.rtl.core.control.controller import Controller
from phasecore.rtl.core.control.csr_file import CsrFile
from phasecore.rtl.core.control.load_unit import AxiStream, LoadUnit
from phasecore.rtl.core.control.memory_access import MemoryAccess
from phasecore.rtl.core.control.read_unit import ReadUnit
from phasecore.rtl.core.digital.post_processing import PostProcessing
from phasecore.rtl.core.digital.update_unit import UpdateUnit
from phasecore.rtl.core.digital.vector_memory import VectorMemory
from phasecore.rtl.lib.axi_lite import AxiLiteBus, AxiLiteSlave
from phasecore.rtl.lib.clock_gate import add_gated
from phasecore.rtl.lib.flat_ports import connect_flat, flat_members
from phasecore.rtl.macro.crossbar import Crossbar
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.registers.table import ADDRESS_BITS

__all__ = ["Core", "CoreBlocks"]


class CoreBlocks:
    """The blocks that every core has, and their connections."""

    def __init__(self, m: Module, config: CoreConfig):
        self.config = config
        m.submodules.crossbar = self.crossbar = Crossbar(config)
        m.submodules.controller = self.controller = Controller(config)
        m.submodules.csr = self.csr = CsrFile(config)
        m.submodules.access = self.access = MemoryAccess(config)
        self.driver, self.adc = InputDriver(config), AdcInterface(config)
        self.post, self.update = PostProcessing(config), UpdateUnit(config)
        self.programmer = Programmer(config)
        self._gate(m)
        self._analog(m)
        self._read_out(m)
        self._commands(m)
        self._registers(m)

    def _gate(self, m: Module) -> None:
        """Blocks with clocks that run while there is work for them."""
        driver, adc, post = self.driver, self.adc, self.post
        update, programmer = self.update, self.programmer
        window = driver.status.busy | driver.i.valid
        wanted = post.i.valid | (post.status.busy & ~post.waiting) | post.affine_write.en
        if self.config.objects:
            wanted = wanted | post.accumulators.read | post.accumulators.write | post.scatter.valid
        add_gated(m, "driver", driver, window)
        # The bus: the register that shows the calibration of a line follows CALIBRATION_LINE.
        add_gated(
            m, "adc", adc,
            window | adc.read.en | adc.calibrate | adc.calibrating | self.csr.bus.valid,
        )  # fmt: skip
        add_gated(m, "post", post, wanted)
        add_gated(m, "update", update, update.i.valid | update.status.busy)
        add_gated(
            m, "programmer", programmer,
            programmer.status.busy | programmer.pulses.valid | programmer.rows.valid,
        )  # fmt: skip

    def share_vectors(
        self,
        m: Module,
        readers: tuple[wiring.Component, ...],
        writers: tuple[wiring.Component, ...],
    ) -> None:
        """Vector memory for all units, those and the host; the order is the priority.

        The last one of ``writers`` writes exponents, too.
        """
        readers = (self.post, self.driver, self.update, self.programmer, *readers, self.access)
        vectors = VectorMemory(
            self.config, readers=len(readers), writers=2 + len(writers), exponent_writers=3
        )
        ports = (*vectors.read, *vectors.write, *vectors.exponent_write)
        add_gated(m, "vectors", vectors, Cat(port.valid for port in ports).any())
        for index, unit in enumerate(readers):
            connect(m, unit.read, vectors.read[index])
        for index, unit in enumerate((self.post, *writers, self.access)):
            connect(m, unit.write, vectors.write[index])
        for index, unit in enumerate((self.post, writers[-1], self.access)):
            connect(m, unit.exponent_write, vectors.exponent_write[index])
        self.exponents = vectors.exponents
        for unit in (self.driver, self.update, self.post):
            m.d.comb += unit.exponents.eq(vectors.exponents)

    def share_tables(self, m: Module, writer: wiring.Component) -> None:
        """Affine tables for that writer and, when it writes none, for the host."""
        tables, first, last = self.post.affine_write, writer.affine_write, self.access.affine_write
        m.d.comb += [
            self.access.affine_ready.eq(~first.en),
            tables.en.eq(first.en | last.en),
            *(
                getattr(tables, name).eq(Mux(first.en, getattr(first, name), getattr(last, name)))
                for name in ("address", "mask", "data")
            ),
        ]

    def _analog(self, m: Module) -> None:
        """The macro between driver, converters and programmer."""
        for name in (
            "backward", "polarities", "devices", "lsb_log2", "first", "active", "reference",
            "pwm_positive", "pwm_negative",
        ):  # fmt: skip
            m.d.comb += getattr(self.crossbar, name).eq(getattr(self.driver, name))
        connect(m, self.driver.timing, self.adc.timing)
        connect(m, self.programmer.macro, self.crossbar.program)
        m.d.comb += [
            self.adc.increments.eq(self.crossbar.increments),
            self.programmer.crossbar_idle.eq(~self.driver.status.busy),
        ]

    def _read_out(self, m: Module) -> None:
        """Post-processing and row engine share the read-out; they never work at the same time."""
        adc, post, programmer = self.adc, self.post, self.programmer
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

    def _commands(self, m: Module) -> None:
        """Command streams out of the controller, state of the units back to it."""
        controller, driver, post = self.controller, self.driver, self.post
        update, programmer = self.update, self.programmer
        connect(m, controller.post, post.i)
        connect(m, controller.update, update.i)
        connect(m, controller.rows, programmer.rows)
        connect(m, update.pulses, programmer.pulses)
        # Calibration and row engine run alone, so a fixed priority is an arbiter.
        m.d.comb += driver.i.payload.eq(controller.mvm.payload)
        for source in (controller.mvm, programmer.mvm, self.adc.mvm):
            m.d.comb += source.ready.eq(driver.i.ready)
            with m.If(source.valid):
                m.d.comb += [driver.i.valid.eq(1), driver.i.payload.eq(source.payload)]
        m.d.comb += [
            self.adc.calibrate.eq(controller.calibrate),
            self.adc.drift.eq(controller.drift),
            controller.calibrating.eq(self.adc.calibrating),
            controller.windows.eq(driver.issued),
        ]
        connect(m, driver.status, controller.units.crossbar)
        connect(m, post.status, controller.units.post)
        connect(m, update.status, controller.units.update)
        connect(m, programmer.status, controller.units.programmer)

    def _registers(self, m: Module) -> None:
        """Settings to the units, events and errors from them."""
        csr, adc, post = self.csr, self.adc, self.post
        update, programmer = self.update, self.programmer
        connect(m, self.controller.sequencer, csr.sequencer)
        connect(m, csr.memory, self.access.port)
        m.d.comb += [
            programmer.refresh_high.eq(csr.settings.refresh_high),
            programmer.refresh_low.eq(csr.settings.refresh_low),
            self.crossbar.time_s.eq(csr.settings.time_s),
            adc.line.eq(csr.settings.calibration_line),
            csr.busy.eq(self.controller.busy),
            csr.controller_events.eq(self.controller.events),
            csr.calibrating.eq(adc.calibrating),
            csr.calibration_offset.eq(adc.offset),
            csr.calibration_gain.eq(adc.gain),
            csr.calibration_errors.eq(adc.calibration_error),
            adc.baseline.eq(csr.settings.drift_baseline),
            csr.drift_conductance.eq(adc.conductance),
            csr.drift_baselined.eq(adc.baselined),
            csr.drift_scale.eq(adc.scale),
        ]
        self.count(m, {
            "window": self.driver.window,
            "mvms": self.driver.timing.first,
            "update_stalled": update.stalled,
            "chi_words_updated": update.products,
            "set_pulses": programmer.set_pulses,
            "reset_pulses": programmer.reset_pulses,
            "refreshed_pairs": programmer.refreshed,
            "unverified": programmer.unverified,
            "chi_saturations": update.chi_saturations,
            "transfer_saturations": update.transfer_saturations,
            "accumulator_saturations": post.accumulator_saturations,
            "code_saturations": post.code_saturations,
            "adc_clips": adc.clipped,
            "adc_overranges": adc.overranges,
        })  # fmt: skip

    def count(self, m: Module, events: dict[str, Value]) -> None:
        """What performance counters add up."""
        m.d.comb += [self.csr.events[name].eq(value) for name, value in events.items()]


class Core(wiring.Component):
    """A stand-alone core; ports are flat AXI names, active-high ``rst``.

    Members
    -------
    s_axil_* : AXI4-Lite slave, 32 bit: the registers of ``rtl/spec/registers/core.py``
    s_axis_* : AXI-Stream slave: VECTOR and AFFINE packets, taken by LOAD in order
    m_axis_* : AXI-Stream master: RESULT packets of READ
    halted : Out(1)
        The last program ended with HALT and all units are idle; an interrupt line.
    """

    def __init__(self, config: CoreConfig):
        if config.objects:
            raise ValueError(f"objects must be 0 on a stand-alone core, not {config.objects}")
        self.config = config
        self._groups = {
            "s_axil": In(AxiLiteBus(ADDRESS_BITS)),
            "s_axis": In(AxiStream(config)),
            "m_axis": Out(AxiStream(config)),
        }
        super().__init__({**flat_members(self._groups), "halted": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = CoreBlocks(m, self.config)
        controller, csr = units.controller, units.csr
        m.submodules.axil = axil = AxiLiteSlave()
        m.submodules.load_unit = load_unit = LoadUnit(self.config)
        m.submodules.read_unit = read_unit = ReadUnit(self.config)
        units.share_vectors(m, (read_unit,), (load_unit,))
        units.share_tables(m, load_unit)
        connect(m, controller.load, load_unit.i)
        connect(m, controller.read, read_unit.i)
        connect(m, load_unit.status, controller.units.load)
        connect(m, read_unit.status, controller.units.read)
        connect(m, axil.bus, csr.bus)
        m.d.comb += [
            load_unit.cancel.eq(controller.cancel),
            csr.malformed.eq(load_unit.malformed),
            csr.malformed_code.eq(load_unit.error),
            self.halted.eq(controller.sequencer.halted),
        ]
        inner = {"s_axil": axil.axil, "s_axis": load_unit.axis, "m_axis": read_unit.axis}
        connect_flat(m, self, self._groups, inner)
        return m
