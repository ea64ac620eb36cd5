# SPDX-License-Identifier: Apache-2.0
"""A convolutional network infers and learns in RTL, bit for bit with the golden model."""

import numpy as np
import pytest

from phasecore.models.compiler.convolution import CONV_NETWORKS, ConvNetwork, conv, dense
from phasecore.models.compiler.mapping import map_network
from phasecore.models.golden.device import PCM
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.instructions import Function
from phasecore.verification.cosim.machine import Machine

CORE = CONV_NETWORKS["conv-8x8"].config.replace(devices_per_polarity=1)
SMALL = ChipConfig(core=CORE)
TWO = ConvNetwork(
    name="two-convolutions", dataset="digits", config=CORE, chip=SMALL,
    layers=(
        conv(6, 1, 4, 3, padding=1),
        conv(3, 4, 6, 2),
        dense(6, 10, function=Function.SIGMOID, forward_lsb_log2=14),
    ),
)  # fmt: skip
"""Pixels go from core to core in both directions."""

IMAGES = 2
LEAST_BUSY = 0.95
"""Of the cycles in which images follow each other, those with a window of a convolution."""


def compared(machine, folder, chunks, sim):
    """Reports of chunks, in which RTL and model agree."""
    machine.rtl.write_macros(folder)
    for index, chunk in enumerate(chunks):
        machine.save(folder, index, chunk)
    build = machine.rtl.build(sim=sim)
    machine.rtl.simulate(build, folder, sim=sim, seed=1, batches=len(chunks))
    reports = [machine.check(folder, index, chunk) for index, chunk in enumerate(chunks)]
    assert [report.mismatches for report in reports] == [[] for _ in chunks]
    return reports


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
    reports = compared(machine, tmp_path, chunks, sim)
    outputs = reports[1].outputs["rtl"]
    assert len(outputs) == IMAGES
    assert not np.array_equal(*outputs)
    phases = reports[1].phases
    assert phases["window"] >= LEAST_BUSY * phases["total"]
    # A window of 128 cycles for every position of the first layer, and the tail of the last image.
    assert phases["total"] <= (IMAGES * network.layers[0].positions + 10) * 128


def test_two_convolutions_learn(tmp_path):
    """Windows, sums by pixel and pulses of an image; then a forward pass with the new weights.

    What accumulators have at power-up does not matter.
    """
    machine, zeroed = (Machine(map_network(TWO, TWO.config, PCM), 1) for _ in range(2))
    rng = np.random.default_rng(2)
    for core in machine.cores.values():
        sums = core.post.accumulators
        sums[...] = rng.integers(-(2**23), 2**23, sums.shape)
    images, labels = rng.integers(0, 128, (2, TWO.inputs)).astype(np.uint8), np.array([3, 7])
    eta = 20 * TWO.training.eta
    chunks = [
        machine.setup(eta), machine.training(images[:1], labels[:1], eta),
        machine.inference(images[1:], labels[1:], eta),
    ]  # fmt: skip
    compared(machine, tmp_path, chunks, "icarus")
    for node, core in machine.cores.items():
        assert core.programmer.set_pulses or node == machine.mapping.head
    for chunk in chunks:
        zeroed.run_model(chunk)
    for node, core in machine.cores.items():
        assert np.array_equal(core.update.chi, zeroed.cores[node].update.chi)
        assert np.array_equal(core.crossbar.weights, zeroed.cores[node].crossbar.weights)


def test_batches_without_a_refresh_learn_alike():
    """Images one by one or together, in the model: a run can be cut so that it is heard of."""
    machines = [Machine(map_network(TWO, TWO.config, PCM), 1) for _ in range(2)]
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 128, (2, TWO.inputs)).astype(np.uint8), np.array([3, 7])
    eta = 20 * TWO.training.eta
    whole, cut = machines
    for chunk in (whole.setup(eta), whole.training(images, labels, eta)):
        whole.run_model(chunk)
    first = cut.training(images[:1], labels[:1], eta, refresh=False)
    for chunk in (cut.setup(eta), first, cut.training(images[1:], labels[1:], eta)):
        cut.run_model(chunk)
    assert [first.is_dumped, chunk.is_dumped] == [False, True]
    for node, core in whole.cores.items():
        assert np.array_equal(core.update.chi, cut.cores[node].update.chi)
        assert np.array_equal(core.crossbar.conductance, cut.cores[node].crossbar.conductance)
