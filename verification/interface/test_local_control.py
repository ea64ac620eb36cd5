# SPDX-License-Identifier: Apache-2.0
"""Local control."""

from phasecore.rtl.interface.local_control import LocalControl
from phasecore.rtl.spec.chip import CHIPS

CONFIG = CHIPS["tiny"].core


def test_local_control(simulate):
    simulate(
        LocalControl(CONFIG), CONFIG, bench="phasecore.verification.interface.tb_local_control"
    )
