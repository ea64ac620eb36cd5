# SPDX-License-Identifier: Apache-2.0
"""Host bridge between the host's routes and a router."""

import pytest

from phasecore.rtl.chip.host_bridge import HostBridge
from phasecore.rtl.spec.chip import CHIPS, ChipConfig

BENCHES = [
    f"phasecore.verification.chip.{name}"
    for name in ("tb_bridge_sender", "tb_bridge_receiver", "tb_host_bridge")
]
TINY, SMALL = CHIPS["tiny"], CHIPS["small"]


@pytest.mark.parametrize(
    "chip",
    [
        TINY.replace(host_routes=5, host_objects=3),
        pytest.param(SMALL, marks=pytest.mark.full),
        CHIPS["default"],
        *(
            pytest.param(SMALL.replace(noc=SMALL.noc.replace(**noc)), marks=pytest.mark.full)
            for noc in ({"virtual_channels": 1, "depth": 2}, {"virtual_channels": 4, "depth": 6})
        ),
    ],
    ids=["tiny", "small", "default", "one channel", "four channels"],
)
def test_host_bridge(simulate, chip: ChipConfig):
    simulate(
        HostBridge(chip), chip.core, bench=",".join(BENCHES),
        env={"PHASECORE_CHIP": chip.to_json()},
    )  # fmt: skip
