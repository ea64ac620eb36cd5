# SPDX-License-Identifier: Apache-2.0
"""Small graphs infer in RTL, bit for bit with the golden model."""

import numpy as np
import pytest

from phasecore.models.compiler.placement import graph_chip
from phasecore.models.compiler.tile import row_tiles
from phasecore.models.golden.device import PCM
from phasecore.models.training.programmed import program
from phasecore.rtl.spec.chip import CHIPS
from phasecore.verification.compiler.graphs import (
    CORE,
    residual,
    tiny_dense,
    tiny_depthwise,
    tiny_joined,
    tiny_pools,
    tiny_residual,
)
from phasecore.verification.cosim.inference import Inference

TINY = CHIPS["tiny"].replace(
    core=CHIPS["tiny"].core.replace(slots=8, program_depth=64, affine_tables=4, objects=8)
)
CORES = 6


@pytest.mark.parametrize(
    ("make", "chip"),
    [
        (tiny_residual, TINY),
        pytest.param(tiny_depthwise, TINY, marks=pytest.mark.full),
        pytest.param(tiny_joined, TINY, marks=pytest.mark.full),
        (tiny_pools, TINY),
        pytest.param(residual, graph_chip(CORE, CORES), marks=pytest.mark.full),
        pytest.param(residual, graph_chip(CORE, CORES, "prism"), marks=pytest.mark.full),
    ],
    ids=["tiny", "depthwise", "joined", "pools", "mesh", "prism"],
)
def test_every_bit_is_the_models(tmp_path, make, chip):
    """Row tiles, strides, projections, means; programmed devices, their noise; two batches."""
    rng = np.random.default_rng(2)
    graph = make(rng)
    images = rng.integers(0, 128, (2, graph.inputs)).astype(np.uint8)
    programmed = program(graph, chip, PCM, images, 1)
    inference = Inference(programmed, images, np.zeros(2, np.uint8), seed=1, at_once=1)
    try:
        figures = inference.run(tmp_path, sim="icarus")
    finally:
        inference.stop()
    assert figures["mismatches"] == 0, figures["first_mismatches"]
    stages = [
        f"{one.name}.{part}" if len(tiles) > 1 else one.name
        for one in graph.layers
        for tiles in [row_tiles(graph, one, chip.core)]
        for part in range(len(tiles))
    ]
    assert list(figures["busy_by_core"]) == stages
    sent = sum(one.vectors * one.outputs for one in graph.layers)
    assert figures["values_compared"] > 2 * sent
    assert figures["cycles_per_image"] > graph.layers[0].vectors * 128
    assert figures["cycles_modelled"] == pytest.approx(figures["cycles_per_image"], rel=0.05)


@pytest.mark.parametrize("make", [tiny_dense, pytest.param(tiny_depthwise, marks=pytest.mark.full)])
def test_devices_are_programmed_in_rtl(tmp_path, make):
    """Every pulse and conductance is the model's, and what then is inferred."""
    rng = np.random.default_rng(3)
    graph = make(rng)
    images = rng.integers(0, 128, (1, graph.inputs)).astype(np.uint8)
    programmed = program(graph, TINY, PCM, images, 1)
    inference = Inference(programmed, images, images[:, 0], seed=1, at_once=1, in_rtl=True)
    try:
        figures = inference.run(tmp_path, sim="icarus")
    finally:
        inference.stop()
    assert figures["mismatches"] == 0, figures["first_mismatches"]
    weights = [stage.tile.targets for stage in inference.mapping.stages]
    assert figures["programming_pulses"] > sum(np.count_nonzero(part) for part in weights)
    assert figures["unverified"] == programmed.unverified
