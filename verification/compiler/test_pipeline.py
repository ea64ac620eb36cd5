# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks on a chip: the same bits as cores with feature maps between them."""

import numpy as np

from phasecore.models.compiler.convolution import CONV_NETWORKS
from phasecore.models.compiler.mapping.convolution import ConvMapping
from phasecore.models.compiler.mapping.pipeline import PipelineMapping
from phasecore.models.golden.device import IDEAL
from phasecore.models.training.learner import Learner
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.noc import NocConfig

SMALL_NETWORK = CONV_NETWORKS["conv-8x8"]
CORE = SMALL_NETWORK.config.replace(
    rows=128, devices_per_polarity=1, slots=8, objects=4, routes=4, vector_words=128
)
CHIP = ChipConfig(core=CORE, noc=NocConfig(width=2, height=2), host=3)


def randomise(core, rng):
    """Conductances of any size, their sum of a column near 0."""
    shape = core.crossbar.conductance.shape
    core.crossbar.conductance = rng.integers(0, core.config.g_max // 4, shape)
    core.crossbar.refresh_weights()


def test_outputs_are_those_of_the_modelled_cores():
    """Convolution with padding, mean of four, and a fully connected layer on one core."""
    rng = np.random.default_rng(1)
    modelled = Learner(
        ConvMapping(
            SMALL_NETWORK, CORE.replace(objects=0, routes=0, vector_words=0, sum_words=0), IDEAL
        ),
        1,
    )
    mapping = PipelineMapping(SMALL_NETWORK, CHIP, IDEAL)
    assert len(mapping.tiles) == 1
    chip = Learner(mapping, 1)
    by_node = dict(zip(mapping.nodes, chip.cores, strict=True))
    for one, stage in zip(modelled.cores, mapping.stages, strict=True):
        randomise(one, rng)
        other = by_node[stage.node]
        other.crossbar.conductance = one.crossbar.conductance
        other.crossbar.refresh_weights()
    images = rng.integers(0, 128, (5, 64)).astype(np.uint8)
    expected = modelled.infer(images)
    assert np.array_equal(chip.infer(images), expected)
    assert np.array_equal(chip.infer(images[:1]), expected[:1])
    assert len({tuple(codes) for codes in expected}) == len(images)
