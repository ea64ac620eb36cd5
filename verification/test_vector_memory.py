# SPDX-License-Identifier: Apache-2.0
"""Vector memory."""

import pytest

from rtl.config import SMALL, TINY
from rtl.core.vector_memory import VectorMemory

WIDE = TINY.replace(post_lanes=16)


@pytest.mark.parametrize(
    ("config", "readers", "writers"), [(TINY, 5, 3), (SMALL, 3, 2), (WIDE, 1, 1)]
)
def test_rtl_matches_an_array(simulate, config, readers, writers):
    simulate(
        VectorMemory(config, readers=readers, writers=writers),
        config,
        bench="verification.bench_vector_memory",
        top="vector_memory",
    )
