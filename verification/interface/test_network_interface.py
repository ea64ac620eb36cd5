# SPDX-License-Identifier: Apache-2.0
"""Network interface."""

import pytest

from phasecore.rtl.interface.network_interface import NetworkInterface
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.noc import FabricConfig

FABRIC = FabricConfig()


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_network_interface(simulate, preset):
    config = CHIPS[preset].core
    simulate(
        NetworkInterface(config, FABRIC),
        config,
        bench="phasecore.verification.interface.tb_network_interface",
        env={"PHASECORE_FABRIC": FABRIC.to_json()},
    )
