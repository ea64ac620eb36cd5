# SPDX-License-Identifier: Apache-2.0
"""The analog crossbar: behavioural in ``macro/crossbar.sv``, a black box for synthesis."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import MacroProgram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Crossbar"]


class Crossbar(wiring.Component):
    """Wrapper of the macro ``phasecore_crossbar``; contract in docs/contract/crossbar.md.

    A reset forgets what is selected; a pulse and the devices outlast it.
    Amaranth's simulator ignores instances: simulate what contains this in Icarus or Verilator.

    Members
    -------
    time_s : seconds since power-up, for the behavioural macro's drift; silicon leaves it open
    backward : 0 drives rows and senses columns, 1 the reverse
    polarities : bit 0 connects G+, bit 1 G-
    devices : enables of the devices of one polarity
    range : one count is worth ``2**range`` charge units
    first, active : first cycle, every cycle of an integration window
    reference : puts the reference current on every sensed line
    pwm_positive, pwm_negative : drive lines
    increments : ``increment_bits`` signed bits per sensed line, of the previous active cycle
    program : :py:`In(MacroProgram(config))`
        Selects and pulses devices; never during a window.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "time_s": In(32),
                "backward": In(1),
                "polarities": In(2),
                "devices": In(config.devices_per_polarity),
                "lsb_log2": In(config.lsb_log2_bits),
                "first": In(1),
                "active": In(1),
                "reference": In(1),
                "pwm_positive": In(config.lines),
                "pwm_negative": In(config.lines),
                "increments": Out(config.lines * config.increment_bits),
                "program": In(MacroProgram(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config, program = self.config, self.program
        m = Module()
        m.submodules.macro = Instance(
            "phasecore_crossbar",
            p_ROWS=config.rows, p_COLS=config.cols, p_LINES=config.lines,
            p_DEVICES=config.devices_per_polarity, p_G_BITS=config.g_bits,
            p_INCREMENT_BITS=config.increment_bits, p_LSB_LOG2_BITS=config.lsb_log2_bits,
            p_SET_CYCLES=config.set_cycles, p_RESET_CYCLES=config.reset_cycles,
            p_REFERENCE=config.reference_current,
            i_clk=ClockSignal(), i_rst=ResetSignal(), i_time_s=self.time_s,
            i_backward=self.backward, i_polarities=self.polarities, i_devices=self.devices,
            i_lsb_log2=self.lsb_log2, i_first=self.first, i_active=self.active,
            i_reference=self.reference,
            i_pwm_positive=self.pwm_positive, i_pwm_negative=self.pwm_negative,
            o_increments=self.increments,
            i_program_valid=program.valid, o_program_ready=program.ready,
            i_program_row=program.row, i_program_col=program.col,
            i_program_negative=program.negative, i_program_device=program.device,
            i_program_reset=program.reset, i_program_fire=program.fire,
        )  # fmt: skip
        return m
