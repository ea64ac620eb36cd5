# SPDX-License-Identifier: Apache-2.0
"""Convolutions of the golden model: tables by hand, the oracle, gradients, training."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phasecore.models.compiler.convolution import CONV_NETWORKS, ConvNetwork, conv, dense
from phasecore.models.compiler.mapping import ConvMapping, map_network
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.engine.programs import Decoder
from phasecore.models.golden import conv_cores as convolution
from phasecore.models.golden import update_unit
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.update_unit import RIGHT_SHIFT_MAX
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import load
from phasecore.models.training.float_convolution import ConvTwin
from phasecore.models.training.learner import Learner
from phasecore.models.training.model import Kinds
from phasecore.models.training.trainer import Trainer
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import Function, Opcode, Segment, encode
from phasecore.verification.models.gradients import assert_gradients
from phasecore.verification.oracle.activation import activation
from phasecore.verification.oracle.convolution import ConvCores, _aligned
from phasecore.verification.oracle.core import Trace
from phasecore.verification.oracle.fixed_point import round_shift
from phasecore.verification.oracle.update_unit import UpdateUnit

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
"""Two convolutions; on 8 rows all of its layers have several cores."""

EIGHT_ROWS = TINY.replace(rows=8, segments=1)
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
    assert len(ConvMapping(LENET, LENET.config, IDEAL).nodes) == 6


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
    network = ConvNetwork(name="bad", dataset="digits", layers=layers, config=TINY)
    with pytest.raises(ValueError, match=message):
        ConvMapping(network, TINY, IDEAL)


def prepared(mapping, seed):
    """Cores that are set up and have their instructions."""
    conv_cores = ConvCores(mapping, seed)
    for node, segments in mapping.segments(mapping.network.training.eta).items():
        conv_cores.cores[node].segments[: len(segments)] = segments
    conv_cores.run(mapping.setup())
    conv_cores.prepare(mapping.inference(np.zeros((0, 0), dtype=np.uint8)))
    forget(conv_cores)
    return conv_cores


def forget(conv_cores):
    for core in conv_cores.cores.values():
        core.trace = Trace()


# Products and sums


@PROFILES
def test_activations_and_sums_follow_from_the_codes(profile, digits):
    """Partial sums of tiles, pooling and col2im by plain loops over the converters' codes."""
    conv_cores = prepared(ConvMapping(OVERLAPPING, EIGHT_ROWS, profile), 3)
    plans = conv_cores.plans
    target = OVERLAPPING.training.targets(10)[4]
    inputs, activations = conv_cores._forward(digits.train_x[0])
    for plan, outputs, cells in zip(plans, activations, [*inputs[1:], None], strict=True):
        codes = np.sum([conv_cores.cores[k].trace.codes for k in plan.tiles], axis=0)
        u = round_shift(
            128 * codes + 64 * len(plan.tiles), conv_cores.recipe.shifts[plans.index(plan)]
        )
        assert np.array_equal(outputs, activation(u, plan.layer.function)[0])
        if cells is not None:
            height, width = plan.layer.out_height, plan.layer.out_width
            object_ = outputs.reshape(height, width, -1)
            for row in range(0, height, 2):
                for col in range(0, width, 2):
                    point = object_[row : row + 2, col : col + 2].sum(axis=(0, 1))
                    at = (row // 2 * (width // 2) + col // 2) * plan.layer.outputs
                    assert np.array_equal(np.rint(point / 4), cells[at : at + plan.layer.outputs])
    forget(conv_cores)
    errors = conv_cores._backward(activations, target)
    plan, (_, exponents) = plans[1], errors[1]
    top = int(exponents.max())
    assert len(set(exponents.tolist())) > 1
    wanted = np.zeros(plan.layer.cells + 2, dtype=np.int64)
    for position in range(plan.layer.positions):
        for row, cell in enumerate(kernel_cells(plan.layer, position)):
            tile, line = row % len(plan.tiles), row // len(plan.tiles)
            code = conv_cores.cores[plan.tiles[tile]].trace.codes[position][line]
            # Not below the top by 2**8: exact.
            wanted[cell] += (2 * code + 1) << int(exponents[position]) - (top - 8)
    forget(conv_cores)
    sums = wanted[:-2][plans[0].pool]
    v = sums * (127**2 - activations[0] ** 2)
    mantissas, exponents = errors[0]
    for position, values in enumerate(v):
        shift = max(0, int(np.abs(values).max()).bit_length() - 7)
        assert np.array_equal(mantissas[position], np.clip(np.rint(values / 2.0**shift), -127, 127))
        assert exponents[position] == top - 8 + shift + conv_cores.recipe.biases[0]


def test_an_image_s_gradient_goes_into_chi_at_once():
    """By hand: rounding to even, saturation of increment and sum, the rest of chi untouched."""
    unit = UpdateUnit(TINY)
    segment = Segment(row_start=1, row_count=2, col_start=3, col_count=2, chi_shift=-1)
    unit.chi[1, 3] = 100
    unit.chi[2, 4] = -32700
    unit.add(segment, [[6, 10], [1 << 33, -(1 << 8)]], -1)
    assert unit.chi[1:3, 3:5].tolist() == [[102, 2], [32767, -32764]]
    assert np.count_nonzero(unit.chi) == 4
    # The increment of 2**31 alone: its sum with chi fits.
    assert unit.chi_saturations == 1
    unit.add(segment, [[0, 0], [4, -400]], -1)
    assert unit.chi[1:3, 3:5].tolist() == [[102, 2], [32767, -32768]]
    assert unit.chi_saturations == 3
    unit.add(segment, [[1 << 33, -(1 << 33)], [3, 5]], -100)
    assert unit.chi[1:3, 3:5].tolist() == [[102, 2], [32767, -32768]]
    # Whole words are visited: two columns of one word, in two rows.
    assert unit.products == 3 * 2


SUMS = st.lists(st.integers(-(2**33), 2**33) | st.integers(-(2**10), 2**10), min_size=4, max_size=4)


@given(SUMS, st.integers(-60, 40), st.integers(-32, 31), st.lists(
    st.integers(-(2**15), 2**15 - 1), min_size=4, max_size=4
))  # fmt: skip
@example([1 << 33, -(1 << 33), 5, -5], -60, -20, [0, 1, -(2**15), 2**15 - 1])
@example([1 << 33, -(1 << 33), 0, 1], 40, 31, [0, 1, -1, 2**15 - 1])
def test_compiled_sums_are_the_reference_s(sums, exponent, chi_shift, held):
    segment = Segment(
        row_start=2, row_count=2, col_start=7, col_count=2, threshold=5, chi_shift=chi_shift
    )
    core, unit = Core(TINY, IDEAL, 1), UpdateUnit(TINY)
    for chi in (core.update.chi, unit.chi):
        chi[2:4, 7:9] = np.reshape(held, (2, 2))
    unit.add(segment, np.reshape(sums, (2, 2)), exponent)
    code = Decoder(TINY).decode([encode(Opcode.TRANSFER, segment=0)], [segment])
    for row, part in enumerate(np.reshape(sums, (2, 2))):
        update_unit.add_sums(core.cores, core.geometry, 0, 2 + row, code[0], part, exponent)
    assert np.array_equal(core.update.chi, unit.chi)
    assert core.update.chi_saturations == unit.chi_saturations
    assert core.update.products == unit.products


@pytest.mark.parametrize("top", [-128, 120])
def test_exponents_saturate(top):
    """Of errors at the ends of their range, and of those far below the largest."""
    mapping = ConvMapping(DIGITS, DIGITS.config, IDEAL)
    reference = prepared(mapping, 1)
    machine = convolution.ConvCores(mapping, 1)
    maps, layer = machine._maps, reference.plans[0].layer
    rng = np.random.default_rng(2)
    # From nothing to the largest sums, so that exponents are within the range as well.
    sums = rng.integers(-(2**8), 2**8, layer.out_cells) << np.arange(layer.out_cells) // 6
    activations = rng.integers(-127, 128, (layer.positions, layer.outputs))
    mantissas, exponents = reference._normalised(0, sums, top, activations)
    start = maps.layers[1]["cells_at"]
    maps.sums[start : start + layer.out_cells] = sums
    maps.outputs[: activations.size] = activations.reshape(-1)
    convolution._normalise(machine._state.cores, maps, maps.layers[0], maps.layers[1], top)
    assert np.array_equal(maps.mantissas[: mantissas.size], mantissas.reshape(-1))
    assert np.array_equal(maps.exponents[: len(exponents)], exponents)
    assert len(set(exponents.tolist())) > 1
    assert (127 if top > 0 else -128) in exponents
    assert np.array_equal(_aligned(np.array([5, -(2**15)]), -128, 127), [0, 0])
    maps.exponents[0] = -128
    assert convolution._aligning(maps, maps.layers[0], 0, 127) == RIGHT_SHIFT_MAX


# Whole networks


def assert_same_state(one: Learner, other: Learner) -> None:
    """The same bits in everything that outlives an image."""
    first, second = one.state(), other.state()
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def assert_same(one: Learner, other: Learner) -> None:
    """Besides, the same counts of what was done."""
    assert_same_state(one, other)
    for a, b in zip(one.cores, other.cores, strict=True):
        assert a.adc.clipped == b.adc.clipped
        for counter in ("products", "chi_saturations", "transfer_saturations"):
            assert getattr(a.update, counter) == getattr(b.update, counter)
        for counter in ("accumulator_saturations", "code_saturations"):
            assert getattr(a.post, counter) == getattr(b.post, counter)


@PROFILES
@pytest.mark.parametrize(
    ("network", "config"),
    [
        (DIGITS, DIGITS.config),
        (OVERLAPPING, EIGHT_ROWS),
        (OVERLAPPING, EIGHT_ROWS.replace(devices_per_polarity=4, input_bits=6)),
    ],
    ids=["one-convolution", "tiles", "four-devices"],
)
def test_kernels_have_the_bits_of_the_oracle(network, config, profile):
    compare_learners(network, config, profile, "digits", count=4)


@pytest.mark.parametrize(
    ("profile", "rates"),
    [
        (PCM, [0.5]),
        pytest.param(PCM, [0.5, 0.3], marks=pytest.mark.full),
        pytest.param(IDEAL, [0.5, 0.3], marks=pytest.mark.full),
    ],
    ids=["pcm", "pcm-longer", "ideal"],
)
@pytest.mark.full
def test_lenet_has_the_bits_of_the_oracle(profile, rates):
    compare_learners(LENET, LENET.config, profile, "digits28", count=1, rates=rates)


def compare_learners(network, config, profile, data, *, count, rates=(0.5, 0.3)):
    """Kernels and oracle learn ``count`` images at every rate and classify one."""
    images = load(data)
    mapping = map_network(network, config, profile)
    learners = [Learner(mapping, 7, Kinds(conv=ConvCores)), Learner(mapping, 7)]
    for index, eta in enumerate(rates):
        part = slice(count * index, count * (index + 1))
        outputs = []
        for learner in learners:
            learner.set_rate(eta)
            outputs.append(learner.learn(images.train_x[part], images.train_y[part]))
        assert np.array_equal(*outputs)
        assert_same(*learners)
    assert np.array_equal(*(learner.infer(images.test_x[:1]) for learner in learners))
    assert sum(core.programmer.set_pulses for core in learners[0].cores) > 0


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


@pytest.mark.parametrize(
    ("profile", "least"),
    [(IDEAL, 0.96), pytest.param(PCM, 0.4, marks=pytest.mark.full)],
    ids=["ideal", "pcm"],
)
def test_gradients_point_where_the_twin_s_do(profile, least):
    """Direction and, without device noise, length of every layer's gradient of LeNet-5."""
    data = load("digits28")
    mapping = ConvMapping(LENET, LENET.config, profile)
    conv_cores = prepared(mapping, 3)
    codes = {node: core.crossbar.weights for node, core in conv_cores.cores.items()}
    twin = ConvTwin(LENET, mapping.weights(codes))
    image, label = data.train_x[1], int(data.train_y[1])
    inputs, activations = conv_cores._forward(image)
    errors = conv_cores._backward(activations, LENET.training.targets(10)[label])
    for index, wanted in enumerate(twin.gradients(image, label)):
        mantissas, exponents = errors[index]
        scale = conv_cores.recipe.delta_units[index] * 2.0 ** exponents[:, None]
        seen = inputs[index][conv_cores.plans[index].gather] / ONE
        found = seen.T @ (mantissas * scale)
        lengths = np.linalg.norm(found), np.linalg.norm(wanted)
        assert np.sum(found * wanted) / np.prod(lengths) > least
        if profile is IDEAL:
            assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


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
    assert_same_state(second._learner, whole._learner)
    for one, other in zip(second.twin.weights, whole.twin.weights, strict=True):
        assert np.array_equal(one, other)
    assert [point["loss"] for point in second.curve] == [point["loss"] for point in whole.curve]
