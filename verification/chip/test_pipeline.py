# SPDX-License-Identifier: Apache-2.0
"""A convolutional network infers in RTL, bit for bit with the golden model."""

import numpy as np
import pytest

from phasecore.models.compiler.convolution import CONV_NETWORKS
from phasecore.models.compiler.mapping import map_network
from phasecore.models.golden.device import PCM
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.cosim.machine import Machine

SMALL_NETWORK = CONV_NETWORKS["conv-8x8"]
SMALL = ChipConfig(
    core=SMALL_NETWORK.config.replace(
        devices_per_polarity=1, slots=8, objects=4, routes=4, vector_words=128
    ),
    noc=NocConfig(width=3, height=2), host=2,
)  # fmt: skip
IMAGES = 2
LEAST_BUSY = 0.95
"""Of the cycles in which images follow each other, those with a window of a convolution."""


@pytest.mark.parametrize(
    ("name", "chip", "sim"),
    [
        ("conv-8x8", SMALL, "icarus"),
        pytest.param("lenet-5", CHIPS["default"], "verilator", marks=pytest.mark.full),
    ],
)
def test_windows_follow_each_other_without_a_pause(tmp_path, name, chip, sim):
    """Padding, mean of four and two row tiles; with the noise of devices and converters."""
    network = CONV_NETWORKS[name]
    mapping = map_network(network, chip, PCM)
    assert len(mapping.tiles) == 2
    machine, rng = Machine(mapping, 1), np.random.default_rng(1)
    for golden in machine.cores.values():
        shape = golden.crossbar.conductance.shape
        golden.crossbar.conductance = rng.integers(0, chip.core.g_max // 4, shape)
        golden.crossbar.refresh_weights()
    images = rng.integers(0, 128, (IMAGES, network.inputs)).astype(np.uint8)
    eta = network.training.eta
    chunks = [machine.setup(eta), machine.inference(images, np.zeros(IMAGES, np.uint8), eta)]
    machine.rtl.write_macros(tmp_path)
    for index, chunk in enumerate(chunks):
        machine.save(tmp_path, index, chunk)
    build = machine.rtl.build(sim=sim)
    machine.rtl.simulate(build, tmp_path, sim=sim, seed=1, batches=len(chunks))
    reports = [machine.check(tmp_path, index, chunk) for index, chunk in enumerate(chunks)]
    assert [report.mismatches for report in reports] == [[], []]
    outputs = reports[1].outputs["rtl"]
    assert len(outputs) == IMAGES
    assert not np.array_equal(*outputs)
    phases = reports[1].phases
    assert phases["window"] >= LEAST_BUSY * phases["total"]
    # A window of 128 cycles for every position of the first layer, and the tail of the last image.
    assert phases["total"] <= (IMAGES * network.layers[0].positions + 10) * 128
