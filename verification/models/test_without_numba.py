# SPDX-License-Identifier: Apache-2.0
"""Kernels that are not compiled: slow, with the same bits."""

import subprocess
import sys

import pytest

LEARN = """
import hashlib
import numpy as np
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.engine import jit
from phasecore.models.golden.device import PCM
from phasecore.models.training.learner import Learner

network = NETWORKS["{network}"]
learner = Learner(map_network(network, network.config, PCM), 3)
rng = np.random.default_rng(5)
images = rng.integers(0, 128, (4, network.layers[0].inputs), dtype=np.uint8)
learner.set_rate(1.0)
learner.learn(images, np.arange(4, dtype=np.uint8))
digest = hashlib.sha256()
for name, value in sorted(learner.state().items()):
    digest.update(np.ascontiguousarray(np.asarray(value, dtype=np.int64)).tobytes())
print(jit.COMPILED, digest.hexdigest())
"""
BLOCKED = "import sys\nsys.modules['numba'] = None\n"


def learnt(code):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize("network", ["mlp-8-6-10", "mlp-48-12-10"])
def test_numba_makes_no_difference(network):
    """A core, and a chip of several, learn four images."""
    pytest.importorskip("numba")
    code = LEARN.format(network=network)
    with_it, without = learnt(code), learnt(BLOCKED + code)
    assert (with_it[0], without[0]) == ("True", "False")
    assert with_it[1] == without[1]
