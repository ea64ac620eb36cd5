# SPDX-License-Identifier: Apache-2.0
"""Router and mesh: packets, malformed packets, traffic, the cycle model, configuration, header."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.models.noc.cycle_model import Mesh, Traffic
from phasecore.paths import CHECKOUT
from phasecore.rtl.noc.mesh import MESH, ROUTER, mesh_verilog
from phasecore.rtl.noc.router import Router
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER, Header
from phasecore.verification.noc import traffic as noc

SMALL = NocConfig(width=3, height=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"virtual_channels": 1, "depth": 3},
        {"virtual_channels": 4, "depth": 2},
        {"arbiter": "age"},
    ],
    ids=["default", "one channel", "four channels", "age"],
)
def test_router(simulate, changes):
    config = NocConfig(timeout=40, **changes)
    simulate(
        Router(config), TINY, bench="phasecore.verification.noc.tb_router",
        env={"PHASECORE_NOC": config.to_json()},
    )  # fmt: skip


@pytest.mark.parametrize("order", ["xy", "yx"])
@pytest.mark.parametrize("length", [1, 4, 8])
def test_zero_load_latency_is_exact_for_every_pair(length, order):
    """The simulation top compares each with R + 1 + (L - 1)."""
    result = noc.traffic(
        SMALL, pattern="pairs", length=length, order=order, warmup=0, measure=1 << 30
    )
    assert result["received"] == 81


@pytest.mark.parametrize(
    ("pattern", "length", "order", "load"),
    [
        ("uniform", 1, "alternate", 0.5),
        ("uniform", 4, "route", 0.5),
        ("transpose", 8, "xy", 0.4),
        ("tornado", 3, "alternate", 0.9),
    ],
)
def test_every_packet_arrives_in_the_cycle_of_the_model(tmp_path, pattern, length, order, load):
    drawn = Traffic(load, pattern, length, order)
    model = Mesh(SMALL, drawn).run(1500)
    assert noc.deliveries(SMALL, drawn, tmp_path / "trace.txt", 1500) == sorted(
        (packet.cycle, packet.node, packet.source, packet.birth) for packet in model
    )


@pytest.mark.parametrize("length", [1, 4])
def test_a_million_flits_with_stalls_and_multicasts(length):
    """More traffic than the mesh can take; all flits, credits and orders are checked."""
    result = noc.traffic(
        SMALL, load=0.9, length=length, order="alternate", multicast=20, stall=30, warmup=0,
        measure=150_000, limit=0,
    )  # fmt: skip
    assert result["flits_received"] >= 500_000
    assert not result["hung"]


def test_broadcast_from_every_node_nearly_fills_the_outputs():
    """At least 87 % of the ejection bound of one flit per node and cycle."""
    result = noc.traffic(SMALL, load=0.9 / SMALL.nodes, pattern="broadcast", measure=5000, limit=0)
    assert sum(result["ejected"]) >= 0.87 * 5000 * SMALL.nodes


def test_saturation_is_that_of_the_ideal_router():
    """3 x 3: a bisection that ends, at a load that the links allow."""
    load, points = noc.saturation(
        SMALL, pattern="uniform", length=1, order="alternate", warmup=500, measure=1000, limit=500
    )
    assert 0.6 < load <= noc.bound(SMALL, "uniform", "alternate") == 1.0
    assert [point["load"] for point in points] == sorted(point["load"] for point in points)


def test_routers_are_one_module():
    text = mesh_verilog(NocConfig(width=8, height=8))
    assert text.count(f"\nmodule {ROUTER}(") == 1
    assert text.count(f"\n  {ROUTER} ") == 64
    assert text.count(f"\nmodule {MESH}(") == 1
    gc.collect()


# Configuration


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("width", 1, 8),
        ("height", 1, 8),
        ("flit_bits", 32, 256),
        ("virtual_channels", 1, 4),
        ("depth", 2, 16),
        ("age_bits", 4, 16),
        ("timeout", 3, 65535),
    ],
)
def test_every_field_names_its_range_and_value(name, low, high):
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"^{name} must be in {low}\.\.{high}, not {value}$"):
            NocConfig(**{name: value})
    with pytest.raises(TypeError, match=rf"^{name} must be an integer, not '4'$"):
        NocConfig(**{name: "4"})


def test_unknown_arbiter():
    with pytest.raises(
        ValueError, match=r"^arbiter must be one of round_robin, age, not 'lottery'$"
    ):
        NocConfig(arbiter="lottery")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"widht": 4}', r"^unknown noc key 'widht'; known: age_bits, arbiter, "),
        ("[]", r"^NoC configuration must be a JSON object, not list$"),
        ("{", r"^NoC configuration is not JSON: "),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        NocConfig.from_json(text)


def test_json_round_trip_and_networks():
    config = NocConfig(virtual_channels=3, arbiter="age")
    assert NocConfig.from_json(config.to_json()) == config
    assert [config.order(vc) for vc in range(3)] == [0, 0, 1]
    assert [NocConfig(virtual_channels=1).order(0)] == [0]


# Header


def test_header_by_hand():
    """length 5 from bit 2, x 3 from bit 10, y 6 from bit 14."""
    assert HEADER.pack(order=1, length=5, x=3, y=6) == 0b0110_0011_00000101_1_0
    assert HEADER.pack(multicast=1, length=1, cols=0x81, rows=0x0F) == 0x0F << 18 | 0x81 << 10 | 5
    assert HEADER.bits == 26


@given(length=st.integers(0, 255), x=st.integers(0, 15), y=st.integers(0, 15))
def test_header_round_trip(length, x, y):
    values = HEADER.unpack(HEADER.pack(length=length, x=x, y=y))
    assert (values["length"], values["x"], values["y"]) == (length, x, y)


def test_header_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"^x must be in 0\.\.15, not 16$"):
        HEADER.pack(x=16)
    assert Header(length_bits=2, coordinate_bits=2, mask_bits=2).bits == 8


def test_documentation_has_the_table():
    document = CHECKOUT / "docs" / "contract" / "router.md"
    assert HEADER.markdown() in document.read_text(encoding="utf-8")


def test_traffic_needs_its_flit_size():
    with pytest.raises(ValueError, match=r"^traffic is made of flits of 64 bits, not 32$"):
        noc.build(NocConfig(flit_bits=32))
