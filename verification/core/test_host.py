# SPDX-License-Identifier: Apache-2.0
"""The whole core under a host that was not written with it: good programs and bad input."""

import pytest

from phasecore.models.golden.core import Core
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.core import TINY
from phasecore.verification.support import build as harness

PROFILE = "pcm"


@pytest.mark.parametrize(
    ("case", "pauses"),
    [
        pytest.param("random_programs", False, marks=pytest.mark.full),
        ("random_programs", True),
        pytest.param("bad_packets_are_dropped_whole", False, marks=pytest.mark.full),
        ("bad_packets_are_dropped_whole", True),
        ("illegal_instructions_are_skipped", False),
        ("refused_register_accesses", True),
        ("memories_over_registers", False),
        pytest.param("programs_that_do_not_end", False, marks=pytest.mark.full),
        ("programs_that_do_not_end", True),
        ("abort_during_a_refresh", False),
        ("resets_at_random_times", False),
    ],
    ids=lambda value: {False: "none", True: "pauses"}.get(value, value),
)
def test_host(simulate, tmp_path, seed, case, pauses):
    Core(TINY, DeviceProfile.load(PROFILE), seed).crossbar.write_macro_files(tmp_path / "macro")
    simulate(
        None, TINY, bench="phasecore.verification.core.tb_host", top="phasecore_core",
        verilog=harness.core_verilog(TINY), plusargs=[f"+phasecore_macro={tmp_path / 'macro'}"],
        env={
            "COCOTB_TEST_FILTER": rf"\.{case}$", "PHASECORE_SEED": str(seed),
            "PHASECORE_PROFILE": PROFILE, "PHASECORE_PAUSES": str(int(pauses)),
        },
    )  # fmt: skip
