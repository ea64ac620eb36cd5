# SPDX-License-Identifier: Apache-2.0
"""Network interface."""

import pytest

from phasecore.rtl.interface.network_interface import NetworkInterface
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.noc import NocConfig

NOC = NocConfig()


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_network_interface(simulate, preset):
    config = CHIPS[preset].core
    simulate(
        NetworkInterface(config, NOC),
        config,
        bench="phasecore.verification.interface.tb_network_interface",
        env={"PHASECORE_NOC": NOC.to_json()},
    )
