# SPDX-License-Identifier: Apache-2.0
"""Window unit."""

import pytest

from phasecore.rtl.core.digital.window_unit import WindowUnit
from phasecore.rtl.spec.core import DEFAULT, TINY

BENCH = "phasecore.verification.core.tb_window_unit"
CONFIGS = {
    "tiny": (TINY, 64, 600),
    "one-block": (TINY.replace(post_lanes=16), 32, 300),
    "more-cols": (TINY.replace(cols=64, slots=4), 256, 300),
    "default": (DEFAULT, 512, 600),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_unit_matches_the_model(simulate, name):
    config, words, commands = CONFIGS[name]
    env = {"WORDS": str(words), "COMMANDS": str(commands)}
    simulate(WindowUnit(config, words), config, bench=BENCH, env=env)


@pytest.mark.parametrize(("words", "message"), [
    (8, r"^words must be at least slots \* blocks \(16\), not 8$"),
])  # fmt: skip
def test_memories_without_room_for_the_slots_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        WindowUnit(TINY, words)
