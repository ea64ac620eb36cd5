# SPDX-License-Identifier: Apache-2.0
"""Windows of objects."""

from phasecore.rtl.interface.window_table import WindowTable
from phasecore.rtl.spec.chip import CHIPS

CONFIG = CHIPS["tiny"].core


def test_window_table(simulate):
    simulate(WindowTable(CONFIG), CONFIG, bench="phasecore.verification.interface.tb_window_table")
