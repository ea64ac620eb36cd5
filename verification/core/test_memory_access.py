# SPDX-License-Identifier: Apache-2.0
"""Memory access."""

import pytest

from phasecore.rtl.core.control.memory_access import MemoryAccess
from phasecore.rtl.spec.core import SMALL, TINY

ONE_WORD = TINY.replace(post_lanes=16)
ROWS = TINY.replace(rows=32, affine_tables=1)
RINGS = SMALL.replace(objects=4, routes=4, vector_words=64)


@pytest.mark.parametrize("config", [ONE_WORD, ROWS, RINGS], ids=["one word", "rows", "rings"])
def test_memory_access(simulate, config):
    simulate(
        MemoryAccess(config), config, bench="phasecore.verification.core.tb_memory_access",
        top="memory_access",
    )  # fmt: skip
