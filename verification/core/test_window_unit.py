# SPDX-License-Identifier: Apache-2.0
"""Window unit."""

import pytest

from phasecore.rtl.core.digital.window_unit import WindowUnit
from phasecore.rtl.spec.chip import CHIPS

BENCH = "phasecore.verification.core.tb_window_unit"
TINY, DEFAULT = CHIPS["tiny"].core, CHIPS["default"].core
CONFIGS = {
    "tiny": (TINY, 600),
    "one-block": (TINY.replace(post_lanes=16, vector_words=32), 150),
    "more-cols": (TINY.replace(cols=64, slots=4, vector_words=256), 150),
    "default": (DEFAULT, 100),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_unit_matches_the_model(simulate, name):
    config, commands = CONFIGS[name]
    simulate(WindowUnit(config), config, bench=BENCH, env={"COMMANDS": str(commands)})
