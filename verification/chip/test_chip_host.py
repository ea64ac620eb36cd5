# SPDX-License-Identifier: Apache-2.0
"""The whole chip under a host that was not written with it: good programs and bad input."""

import pytest

from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL
from phasecore.rtl.chip.chip import CHIP, TILE
from phasecore.rtl.noc.network import ROUTER
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.support import build as harness

TINY = CHIPS["tiny"].replace(noc=NocConfig(width=2, height=2), host=1)


def run(simulate, tmp_path, seed, chip, case, *, pauses=False):
    """One test of the bench; all macros load the same files."""
    macro = tmp_path / "macro"
    Core(chip.core, IDEAL, seed).crossbar.write_macro_files(macro)
    simulate(
        None, chip.core, bench="phasecore.verification.chip.tb_chip_host", top=CHIP,
        verilog=harness.chip_verilog(chip), plusargs=[f"+phasecore_macro={macro}"],
        env={
            "COCOTB_TEST_FILTER": rf"\.{case}$", "PHASECORE_CHIP": chip.to_json(),
            "PHASECORE_PAUSES": str(int(pauses)), "PHASECORE_MACRO": str(macro),
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("case", "pauses"),
    [
        pytest.param("vectors_through_two_cores", False, marks=pytest.mark.full),
        ("vectors_through_two_cores", True),
        ("resets_at_random_times", False),
        ("pages_belong_to_nodes", True),
        ("bad_input_harms_nobody", False),
        ("a_host_that_does_not_read_stops_its_producers_only", False),
        ("a_program_that_waits_for_ever_is_named", True),
    ],
    ids=lambda value: {False: "none", True: "pauses"}.get(value, value),
)
def test_chip_host(simulate, tmp_path, seed, case, pauses):
    run(simulate, tmp_path, seed, TINY, case, pauses=pauses)


def test_direct_links(simulate, tmp_path, seed):
    ring = NocConfig(
        topology="table", width=2, height=2, networks=1, links=((0, 1), (1, 3), (3, 2), (2, 0))
    )
    run(simulate, tmp_path, seed, TINY.replace(noc=ring), "registers_reach_what_packets_do_not")


def test_tiles_and_routers_are_one_module_each():
    text = harness.chip_verilog(TINY)
    for name, instances in ((TILE, 3), (ROUTER, 4), (CHIP, 0)):
        assert text.count(f"\nmodule {name}(") == 1, name
        assert text.count(f"\n  {name} ") == instances, name
