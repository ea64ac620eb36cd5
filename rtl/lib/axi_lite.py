# SPDX-License-Identifier: Apache-2.0
"""AXI4-Lite slave in front of the register bus."""

from amaranth.hdl import Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.registers.table import ADDRESS_BITS

__all__ = ["AxiLiteBus", "AxiLiteSlave", "RegisterBus"]

OKAY = 0b00
SLVERR = 0b10


class AxiLiteBus(wiring.Signature):
    """The five AXI4-Lite channels with 32-bit data, seen from the master.

    Members have the names of the AXI specification in lower case, so that joining them to a
    prefix with ``_`` gives the usual port names.
    """

    def __init__(self, address_bits: int = ADDRESS_BITS):
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class RegisterBus(wiring.Signature):
    """One register access at a time, seen from the master.

    ``valid`` and the request (word ``address``, ``write``, ``w_data``, byte strobes ``w_strobe``)
    are held until ``ready``; ``r_data`` and ``error`` are valid in the cycle with ``ready``.
    """

    def __init__(self, address_bits: int = ADDRESS_BITS - 2):
        super().__init__(
            {
                "valid": Out(1),
                "write": Out(1),
                "address": Out(address_bits),
                "w_data": Out(32),
                "w_strobe": Out(4),
                "ready": In(1),
                "r_data": In(32),
                "error": In(1),
            }
        )


class AxiLiteSlave(wiring.Component):
    """AXI4-Lite slave: one access at a time, reads and writes in turn when both wait.

    Address and data of a write may come in any order. The lowest two address bits and ``prot`` are
    ignored; byte strobes are passed on (the register file refuses partial writes). An ``error``
    of the register bus becomes SLVERR. A reset forgets what was taken, and nothing is taken in it.

    Parameters
    ----------
    address_bits : bits of a byte address

    Members
    -------
    axil : In(AxiLiteBus)
    bus : Out(RegisterBus)
    """

    def __init__(self, address_bits: int = ADDRESS_BITS):
        super().__init__(
            {
                "axil": In(AxiLiteBus(address_bits)),
                "bus": Out(RegisterBus(address_bits - 2)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axil, bus = self.axil, self.bus
        has_address, has_data, has_read = Signal(), Signal(), Signal()
        write_address, read_address = Signal.like(bus.address), Signal.like(bus.address)

        awake = ~ResetSignal()
        m.d.comb += [
            axil.awready.eq(awake & ~has_address),
            # The data register is the bus's own: it must not change during an access.
            axil.wready.eq(awake & ~has_data & ~bus.valid),
            axil.arready.eq(awake & ~has_read),
        ]
        with m.If(axil.awvalid & axil.awready):
            m.d.sync += [has_address.eq(1), write_address.eq(axil.awaddr[2:])]
        with m.If(axil.wvalid & axil.wready):
            m.d.sync += [
                has_data.eq(1), bus.w_data.eq(axil.wdata), bus.w_strobe.eq(axil.wstrb),
            ]  # fmt: skip
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [has_read.eq(1), read_address.eq(axil.araddr[2:])]
        with m.If(axil.bready):
            m.d.sync += axil.bvalid.eq(0)
        with m.If(axil.rready):
            m.d.sync += axil.rvalid.eq(0)

        can_write = has_address & has_data & ~axil.bvalid
        can_read = has_read & ~axil.rvalid
        # A channel that was served is empty in the next cycle here, so the other one gets its turn.
        with m.If(~bus.valid):
            m.d.sync += [
                bus.valid.eq(can_write | can_read),
                bus.write.eq(can_write),
                bus.address.eq(Mux(can_write, write_address, read_address)),
            ]
        with m.Elif(bus.ready):
            m.d.sync += bus.valid.eq(0)
            response = Signal(2)
            with m.If(bus.error):
                m.d.comb += response.eq(SLVERR)
            with m.Else():
                m.d.comb += response.eq(OKAY)
            with m.If(bus.write):
                m.d.sync += [
                    has_address.eq(0), has_data.eq(0), axil.bvalid.eq(1), axil.bresp.eq(response),
                ]  # fmt: skip
            with m.Else():
                m.d.sync += [
                    has_read.eq(0), axil.rvalid.eq(1), axil.rresp.eq(response),
                    axil.rdata.eq(bus.r_data),
                ]  # fmt: skip
        return m
