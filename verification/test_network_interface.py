# SPDX-License-Identifier: Apache-2.0
"""Network interface."""

import pytest

from rtl.chip.config import CHIPS
from rtl.core.network_interface import NetworkInterface
from rtl.noc.config import FabricConfig

FABRIC = FabricConfig()


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_network_interface(simulate, preset):
    config = CHIPS[preset].core
    simulate(
        NetworkInterface(config, FABRIC), config, bench="verification.bench_network_interface",
        env={"PHASECORE_FABRIC": FABRIC.to_json()},
    )  # fmt: skip
