# SPDX-License-Identifier: Apache-2.0
"""Routers and the links between them, for any topology."""

from amaranth.hdl import Cat, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.clock_gate import ClockGate
from phasecore.rtl.noc.packet_guard import FAULTS
from phasecore.rtl.noc.routing import Port
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["ROUTER", "Network", "flit_bits"]

ROUTER = "phasecore_router"


class _Wires:
    """Signals of a link at the port of an instance."""

    def __init__(self, config: NocConfig, name: str):
        widths = {
            "valid": 1, "vc": config.vc_bits, "flit": flit_bits(config),
            "credit": config.virtual_channels,
        }  # fmt: skip
        self.members = {
            member: Signal(width, name=f"{name}_{member}") for member, width in widths.items()
        }


class _Nowhere:
    """A link from nowhere."""

    def __init__(self, config: NocConfig):
        self.members: dict[str, object] = {
            "valid": Const(0), "vc": Const(0, config.vc_bits),
            "flit": Const(0, flit_bits(config)),
            "credit": Signal(config.virtual_channels, name="nobody"),
        }  # fmt: skip


class Network(wiring.Component):
    """A router per node, all instances of one Verilog module, and links; the base of topologies.

    Node n = y * width + x owns slice n of every port. ``i_*`` injects, ``o_*`` ejects, both with
    the rules of a link (``phasecore.rtl.noc.link.Link``). The routers are instances: convert with
    the topology's own function, and simulate the Verilog.

    Members
    -------
    i_valid, i_vc, i_head, i_tail, i_data, i_credit : into the NoC
    o_valid, o_vc, o_head, o_tail, o_data, o_credit : out of it
    error : per node, strobes in the order of ``FAULTS``
    errors : per node, 16-bit saturating count of malformed packets
    """

    def __init__(self, config: NocConfig):
        self.config = config
        n = config.nodes
        link = {
            "valid": 1, "vc": config.vc_bits, "head": 1, "tail": 1, "data": config.flit_bits,
        }  # fmt: skip
        super().__init__(
            {
                **{f"i_{name}": In(n * width) for name, width in link.items()},
                "i_credit": Out(n * config.virtual_channels),
                **{f"o_{name}": Out(n * width) for name, width in link.items()},
                "o_credit": In(n * config.virtual_channels),
                "error": Out(n * len(FAULTS)),
                "errors": Out(n * 16),
            }
        )

    def place(self, node: int) -> dict[str, Value]:
        """Constants of ``phasecore.rtl.noc.routing.place`` for a node."""
        raise NotImplementedError

    def other_end(self, node: int, port: int) -> tuple[int, int] | None:
        """Node and port at the other end of a link; none if nothing is linked to the port."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        sent = [
            [_Wires(config, f"link_{node}_{port}").members for port in range(config.ports)]
            for node in range(config.nodes)
        ]
        for node in range(config.nodes):
            y, x = divmod(node, config.width)
            m.submodules[f"router_{x}_{y}_gate"] = gate = ClockGate()
            busy = Signal(name=f"busy_{node}")
            wakes: list[Value] = [busy]
            ports = {
                "i_clk": gate.gated, "i_rst": ResetSignal(), "o_busy": busy,
                **{f"i_{name}": value for name, value in self.place(node).items()},
                "o_error": self.error.word_select(node, len(FAULTS)),
                "o_errors": self.errors.word_select(node, 16),
            }  # fmt: skip
            for port in range(config.ports):
                if port == Port.LOCAL:
                    incoming = self._injected(node)
                    m.d.comb += self._ejected(node, sent[node][port])
                else:
                    end = self.other_end(node, port)
                    incoming = sent[end[0]][end[1]] if end else _Nowhere(config).members
                for name, signal in sent[node][port].items():
                    ports[f"{'i' if name == 'credit' else 'o'}_o__{port}__{name}"] = signal
                wakes += [incoming["valid"], sent[node][port]["credit"].any()]
                for name, signal in incoming.items():
                    ports[f"{'o' if name == 'credit' else 'i'}_i__{port}__{name}"] = signal
            m.d.comb += gate.enable.eq(Cat(wakes).any())
            m.submodules[f"router_{x}_{y}"] = Instance(ROUTER, **ports)
        return m

    def _injected(self, node: int) -> dict[str, object]:
        config = self.config
        flit = Cat(
            self.i_head[node], self.i_tail[node], self.i_data.word_select(node, config.flit_bits)
        )
        return {
            "valid": self.i_valid[node],
            "vc": self.i_vc.word_select(node, config.vc_bits),
            "flit": Cat(flit, Const(0, flit_bits(config) - len(flit))),
            "credit": self.i_credit.word_select(node, config.virtual_channels),
        }

    def _ejected(self, node: int, link: dict[str, Signal]) -> list[object]:
        config = self.config
        return [
            self.o_valid[node].eq(link["valid"]),
            self.o_vc.word_select(node, config.vc_bits).eq(link["vc"]),
            self.o_head[node].eq(link["flit"][0]),
            self.o_tail[node].eq(link["flit"][1]),
            self.o_data.word_select(node, config.flit_bits).eq(link["flit"][2:]),
            link["credit"].eq(self.o_credit.word_select(node, config.virtual_channels)),
        ]


def flit_bits(config: NocConfig) -> int:
    """Bits of a flit on a link between routers, with head, tail and time of injection."""
    return 2 + config.flit_bits + (config.age_bits if config.arbiter == "age" else 0)
