# SPDX-License-Identifier: Apache-2.0
"""Vector memory."""

import pytest

from phasecore.rtl.core.digital.vector_memory import VectorMemory
from phasecore.rtl.spec.core import SMALL, TINY

WIDE = TINY.replace(post_lanes=16)


@pytest.mark.parametrize(
    ("config", "readers", "writers"), [(TINY, 5, 3), (SMALL, 3, 2), (WIDE, 1, 1)]
)
def test_rtl_matches_an_array(simulate, config, readers, writers):
    simulate(
        VectorMemory(config, readers=readers, writers=writers, exponent_writers=writers),
        config,
        bench="phasecore.verification.core.tb_vector_memory",
        top="vector_memory",
    )
