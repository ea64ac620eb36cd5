# SPDX-License-Identifier: Apache-2.0
"""Local control."""

from rtl.chip.config import CHIPS
from rtl.core.local_control import LocalControl

CONFIG = CHIPS["tiny"].core


def test_local_control(simulate):
    simulate(LocalControl(CONFIG), CONFIG, bench="verification.bench_local_control")
