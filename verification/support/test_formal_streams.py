# SPDX-License-Identifier: Apache-2.0
"""The stream checker accepts a lawful register and refuses each way of breaking the rules."""

from pathlib import Path

import pytest
from amaranth.hdl import Assume, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import VectorWrite
from phasecore.rtl.spec.core import TINY
from phasecore.verification.support.formal import Refuted, prove
from phasecore.verification.support.formal_streams import StreamContract, handshakes


class Register(wiring.Component):
    """One-deep stream register; ``flaw`` names a broken rule."""

    def __init__(self, flaw: str = ""):
        self.flaw = flaw
        shape = stream.Signature(4)
        super().__init__({"i": In(shape), "o": Out(shape), "drop": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(1)]
        if self.flaw == "payload":
            with m.If(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        elif self.flaw == "valid":
            with m.If(self.drop):
                m.d.sync += self.o.valid.eq(0)
        return m


class Wire(wiring.Component):
    """Lawful only because its input is; ``waits`` makes valid wait for ready."""

    def __init__(self, *, waits: bool = False):
        self.waits = waits
        shape = stream.Signature(4)
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        if self.waits:
            ready = Signal()
            m.d.sync += ready.eq(self.o.ready | ready)
            m.d.comb += [
                self.o.payload.eq(self.i.payload),
                self.o.valid.eq(self.i.valid & ready),
                self.i.ready.eq(self.o.ready & ready),
            ]
        else:
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        return m


class Writer(wiring.Component):
    """Writes to a vector memory; forgets the address while it waits if ``flawed``."""

    def __init__(self, *, flawed: bool = False):
        self.flawed = flawed
        super().__init__({"write": Out(VectorWrite(TINY)), "go": In(1)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.go):
            m.d.sync += self.write.valid.eq(1)
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += self.write.address.eq(self.write.address + 1)
            m.d.sync += self.write.valid.eq(0)
        if self.flawed:
            with m.If(self.go & self.write.valid):
                m.d.sync += self.write.address.eq(0x0F)
        return m


@pytest.mark.parametrize("component", [Register, Wire], ids=["register", "wire"])
def test_lawful_streams_are_proven(tmp_path: Path, component: type) -> None:
    dut = StreamContract(component())
    prove(dut, name="dut", tmp_path=tmp_path, depth=3, mode="induction")


@pytest.mark.parametrize("flaw", ["payload", "valid"])
def test_broken_rule_names_the_port(tmp_path: Path, flaw: str) -> None:
    with pytest.raises(Refuted, match=r"formal_streams\.py:\d+ \(rules_o\)"):
        prove(StreamContract(Register(flaw)), name="dut", tmp_path=tmp_path, depth=6)


def test_environment_restricts_inputs(tmp_path: Path) -> None:
    def never_drop(m: Module, register: Register) -> None:
        m.d.comb += Assume(~register.drop)

    dut = StreamContract(Register("valid"), environment=never_drop)
    prove(dut, name="dut", tmp_path=tmp_path, depth=6)


def test_valid_without_ready_is_covered(tmp_path: Path) -> None:
    prove(StreamContract(Wire()), name="dut", tmp_path=tmp_path, depth=4, mode="cover")


def test_valid_that_waits_for_ready_is_refused(tmp_path: Path) -> None:
    dut = StreamContract(Wire(waits=True))
    with pytest.raises(Refuted, match=r"unreached cover: .*formal_streams\.py:\d+ \(rules_o\)"):
        prove(dut, name="dut", tmp_path=tmp_path, depth=4, mode="cover")


def test_request_port_is_proven(tmp_path: Path) -> None:
    dut = StreamContract(Writer(), requests=("write",))
    prove(dut, name="dut", tmp_path=tmp_path, depth=3, mode="induction")


def test_request_port_with_changing_address_is_refused(tmp_path: Path) -> None:
    dut = StreamContract(Writer(flawed=True), requests=("write",))
    with pytest.raises(Refuted, match=r"\(rules_write\)"):
        prove(dut, name="dut", tmp_path=tmp_path, depth=8)


def test_unknown_request_port() -> None:
    ports = wiring.Signature({"write": Out(VectorWrite(TINY)), "go": In(1)}).create()
    with pytest.raises(ValueError, match=r"^no port 'read'; ports: write, go$"):
        list(handshakes(ports, ("read",)))
