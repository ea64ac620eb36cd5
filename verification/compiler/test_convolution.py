# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks: tables by hand, outputs, gradients, training."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.convolution import CONV_NETWORKS, ConvNetwork, conv, dense
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import load
from phasecore.models.training.float_convolution import ConvTwin
from phasecore.models.training.learner import Learner
from phasecore.models.training.trainer import Trainer
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import Axis, Function, Opcode, encode
from phasecore.verification.models.gradients import assert_gradients
from phasecore.verification.oracle.core import Core as Oracle
from phasecore.verification.oracle.fixed_point import round_shift

LENET = CONV_NETWORKS["lenet-5"]
DIGITS = CONV_NETWORKS["conv-8x8"]
OVERLAPPING = replace(
    DIGITS,
    name="overlapping",
    layers=(conv(8, 1, 3, 3, padding=1), conv(4, 3, 4, 3, padding=1), DIGITS.layers[-1]),
)
OVERLAPPING = replace(
    OVERLAPPING,
    layers=(*OVERLAPPING.layers[:2], dense(16, 10, function=Function.SIGMOID, forward_lsb_log2=14)),
)
"""Two convolutions."""

PROFILES = pytest.mark.parametrize("profile", [IDEAL, PCM], ids=lambda profile: profile.name)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


# Tables


def kernel_cells(layer, position):
    """Cells of an object (height, width, channels) under the kernel at a position, bias last."""
    top, left = (at - layer.padding for at in divmod(position, layer.out_width))
    for row in range(top, top + layer.kernel):
        for col in range(left, left + layer.kernel):
            inside = 0 <= row < layer.height and 0 <= col < layer.width
            for channel in range(layer.channels):
                cell = (row * layer.width + col) * layer.channels + channel
                yield cell if inside else layer.cells
    yield layer.cells + 1


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_gather_is_the_kernel_at_every_position(padding):
    layer = replace(conv(4, 3, 2, 3, padding=padding), width=6, pooled=False)
    gather = layer.gather()
    assert gather.shape == (layer.positions, 3 * 3 * 3 + 1)
    for position, row in enumerate(gather):
        assert row.tolist() == list(kernel_cells(layer, position))


def test_im2col_product_is_a_convolution():
    """Against the sum over the kernel, written out, of SciPy's correlation."""
    from scipy.signal import correlate2d

    layer = conv(6, 2, 3, 3, padding=1)
    rng = np.random.default_rng(3)
    image = rng.integers(-9, 10, (6, 6, 2))
    kernel = rng.integers(-9, 10, (3, 3, 2, 3))
    bias = rng.integers(-9, 10, 3)
    weights = np.vstack([kernel.reshape(-1, 3), bias])
    found = np.append(image, [0, 1])[layer.gather()] @ weights
    for output in range(3):
        wanted = bias[output] + sum(
            correlate2d(image[:, :, channel], kernel[:, :, channel, output], mode="same")
            for channel in range(2)
        )
        assert np.array_equal(found[:, output].reshape(6, 6), wanted)


def test_pooled_cells():
    layer = conv(4, 1, 2, 3, padding=1)
    assert layer.out_cells == 8
    points = layer.pool_cells()[:, 0].reshape(4, 4) // 2
    assert points.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert np.array_equal(layer.pool_cells()[:, 1], layer.pool_cells()[:, 0] + 1)
    assert np.array_equal(replace(layer, pooled=False).pool_cells().reshape(-1), np.arange(32))


def test_lenet_has_the_products_and_weights_of_its_paper():
    assert sum(layer.positions for layer in LENET.layers) == 887
    assert [layer.rows * layer.outputs for layer in LENET.layers] == [156, 2416, 48120, 10164, 850]
    mapping = map_network(LENET, LENET.config, IDEAL)
    assert len(mapping.nodes) == 5
    assert mapping.bounds({"chi_words_updated": 10})["window"] == (784 + 100 + 6) * 128


@PROFILES
@pytest.mark.parametrize("network", CONV_NETWORKS.values(), ids=CONV_NETWORKS)
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_thresholds_use_their_bits(network, profile, devices):
    recipe = Recipe(network, network.config.replace(devices_per_polarity=devices), profile)
    for eta in (network.training.eta, network.training.eta_end):
        for index in range(len(network.layers)):
            assert 256 <= recipe.segment(index, eta, rows=8).threshold <= 0.85 * 2**15


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((conv(8, 1, 6, 3), dense(96, 10)), r"layer 1 takes 96 codes; the layer before has 54$"),
        ((conv(8, 1, 17, 3, padding=1), dense(272, 10)), r"needs 17 columns for layer 0"),
        ((conv(9, 1, 1, 3, padding=1), dense(16, 10)), r"9 x 9 points, which are not pooled"),
        ((conv(8, 1, 6, 3, padding=1),), r"last layer of bad must have one position"),
    ],
)
def test_networks_that_do_not_fit(layers, message):
    core = DIGITS.config.replace(rows=TINY.rows)
    chip = CHIPS["default"].replace(core=core)
    network = ConvNetwork(name="bad", dataset="digits", layers=layers, config=core, chip=chip)
    with pytest.raises(ValueError, match=message):
        map_network(network, core, IDEAL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": 4}, r"^conv-8x8 needs 7 objects to learn, not 4$"),
        ({"routes": 2}, r"^conv-8x8 needs 3 routes to learn, not 2$"),
        ({"slots": 8}, r"^conv-8x8 needs 13 slots to learn, not 8$"),
        ({"vector_words": 128}, r"is outside 0\.\.127 \(vector_words\)$"),
        ({"sum_words": 4}, r"is outside 4\.\.3 \(sum_words\)$"),
    ],
)
def test_cores_that_are_too_small_to_learn_still_infer(changes, message):
    mapping = map_network(DIGITS, DIGITS.config.replace(**changes), IDEAL)
    images, labels = np.zeros((1, 64), dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    assert mapping.inference(images).programs
    with pytest.raises(ValueError, match=message):
        mapping.training(images, labels)


# Outputs


def randomise(learner, seed):
    """Conductances of any size, their sum of a column near 0."""
    rng = np.random.default_rng(seed)
    for core in learner.cores:
        shape = core.crossbar.conductance.shape
        core.crossbar.conductance = rng.integers(0, core.config.g_max // 4, shape)
        core.crossbar.refresh_weights()


def of_a_core_alone(mapping, stage, core, inputs):
    """Activations by position of a core that gets every window into its slot."""
    layer = mapping.network.layers[stage.layer]
    config = mapping.config.replace(objects=0, routes=0, vector_words=0, sum_words=0)
    alone = Oracle(config, mapping.profile, 1)
    alone.crossbar.conductance[...] = core.crossbar.conductance
    alone.crossbar.refresh_weights()
    alone.segments[0] = mapping.segments(mapping.network.training.eta)[stage.node][0]
    program = [
        encode(
            Opcode.FORWARD, segment=0, slot=0, precision=config.input_bits, input_signs=3,
            polarities=3,
        ),
        encode(
            Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
            function=layer.function, shift=mapping.recipe.shifts[stage.layer], affine=0, table=0,
            destination=1, destination_line=0,
        ),
        encode(Opcode.HALT),
    ]  # fmt: skip
    found = []
    for cells in np.array([*inputs.reshape(-1), 0, ONE])[layer.gather()]:
        alone.slots[0, : layer.rows] = cells
        alone.run(program)
        found.append(alone.slots[1, : layer.outputs].copy())
    return np.array(found)


def test_outputs_are_those_of_cores_that_get_their_windows():
    """Convolution with padding, mean of four, and a fully connected layer on one core."""
    core = DIGITS.config.replace(rows=128, devices_per_polarity=1)
    mapping = map_network(DIGITS, core, IDEAL)
    learner = Learner(mapping, 1)
    randomise(learner, 1)
    assert len(mapping.tiles) == 1
    cores = dict(zip(mapping.nodes, learner.cores, strict=True))
    images = np.random.default_rng(2).integers(0, 128, (5, 64)).astype(np.uint8)
    expected = []
    for image in images[:2]:
        first, second = mapping.stages
        outputs = of_a_core_alone(mapping, first, cores[first.node], image)
        sums = np.zeros(DIGITS.layers[1].cells, dtype=np.int64)
        np.add.at(sums, DIGITS.layers[0].pool_cells(), outputs)
        pooled = round_shift(sums, 2)
        expected.append(of_a_core_alone(mapping, second, cores[second.node], pooled)[0])
    found = learner.infer(images)
    assert np.array_equal(found[:2], expected)
    assert np.array_equal(learner.infer(images[3:4])[0], found[3])
    assert len({tuple(codes) for codes in found}) == len(images)


# Float


def loss(twin, image, label):
    target = twin.network.training.targets(10)[label] / ONE
    return 0.5 * np.sum((twin.forward(image[None])[1][-1][0, 0] - target) ** 2)


def test_gradients_of_the_twin_are_finite_differences(digits):
    rng = np.random.default_rng(5)
    shapes = [(layer.rows, layer.outputs) for layer in OVERLAPPING.layers]
    twin = ConvTwin(OVERLAPPING, [rng.normal(0, 0.3, shape) for shape in shapes])
    image, label = digits.train_x[0], int(digits.train_y[0])
    assert_gradients(twin, image, label, loss, rng, places=15)


FINER = 2
"""log2 of how much finer chi is than in training, for the gradient of a single image."""


def test_chi_is_the_gradient_of_the_twin():
    """Direction and length, layer by layer, of LeNet-5 with weights that leave tanh's middle."""
    images = load("digits28")
    mapping = map_network(LENET, LENET.config, IDEAL)
    learner = Learner(mapping, 3)
    for core in learner.cores:
        core.crossbar.conductance = np.minimum(2 * core.crossbar.conductance, core.config.g_max)
        core.crossbar.refresh_weights()
    weights = learner.weights()
    for core in learner.cores:
        core.segments = [
            entry and replace(entry, chi_shift=entry.chi_shift + FINER, threshold=2**15 - 1)
            for entry in core.segments
        ]
    image, label = images.train_x[1], images.train_y[1:2]
    learner.learn(image[None], label)
    assert [core.update.chi_saturations for core in learner.cores] == [0] * len(learner.cores)
    chi = dict(zip(mapping.nodes, (core.update.chi for core in learner.cores), strict=True))
    recipe, twin = mapping.recipe, ConvTwin(LENET, weights)
    wanted = twin.gradients(image, int(label[0]))
    for index, counts in enumerate(mapping.weights(chi)):
        unit = recipe.weight_units[index] * recipe.delta_units[index] / ONE
        found = counts * unit * 2.0 ** -(recipe.chi_shifts[index] + FINER)
        lengths = np.linalg.norm(found), np.linalg.norm(wanted[index])
        assert np.sum(found * wanted[index]) / np.prod(lengths) > 0.98, index
        assert lengths[0] == pytest.approx(lengths[1], rel=0.15), index


# Training


def described(**changes):
    run = Run(network=DIGITS, config=DIGITS.config, profile=PCM, seed=4, epochs=2, images=1197)
    return replace(run, **changes)


@PROFILES
def test_digits_are_learnt(profile, digits):
    trainer = Trainer(described(profile=profile, epochs=3), digits)
    for _ in trainer.stretches():
        pass
    assert trainer.accuracy(digits.validation_x, digits.validation_y) > 0.88
    assert trainer.twin.accuracy(digits.validation_x, digits.validation_y) > 0.9
    assert trainer.curve[-1]["loss"] < trainer.curve[0]["loss"] / 2


def test_two_convolutions_learn(digits):
    """Of three channels each, too few for packed rows; an odd number of pooled pixels."""
    trainer = Trainer(described(network=OVERLAPPING, epochs=3), digits)
    for _ in trainer.stretches():
        pass
    assert trainer.accuracy(digits.validation_x, digits.validation_y) > 0.3
    assert all(core.programmer.set_pulses for core in trainer.cores[:3])


def test_a_resumed_run_gives_the_same_bits(digits, tmp_path):
    path = tmp_path / "state.npz"
    whole, first, second = (Trainer(described(images=251), digits) for _ in range(3))
    assert len(list(whole.stretches())) == 4
    stretches = first.stretches()
    next(stretches)
    next(stretches)
    first.save(path)
    second.resume(path)
    assert len(list(second.stretches())) == 2
    states = second._learner.state(), whole._learner.state()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert np.array_equal(value, states[1][name]), name
    for one, other in zip(second.twin.weights, whole.twin.weights, strict=True):
        assert np.array_equal(one, other)
    assert [point["loss"] for point in second.curve] == [point["loss"] for point in whole.curve]
