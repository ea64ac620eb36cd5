# SPDX-License-Identifier: Apache-2.0
"""The float references against finite differences, and the golden model against them."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.mapping import CoreMapping
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.compiler.recipe import mean_pulse
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training.datasets import load
from phasecore.models.training.float_reference import FloatTwin, MixedPrecision
from phasecore.verification.models.gradients import assert_gradients

NETWORK = NETWORKS["mlp-64-50-10"]
UNITS = [2064 / 4095 * 12] * 2


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def random_weights(seed=5, sd=0.3):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, sd, (layer.rows, layer.outputs)) for layer in NETWORK.layers]


def loss(twin, image, label):
    target = NETWORK.training.targets(10)[label] / ONE
    return 0.5 * np.sum((twin.forward(image)[-1] - target) ** 2)


def test_gradients_are_finite_differences(digits):
    twin = FloatTwin(NETWORK, random_weights())
    image, label = digits.train_x[0], int(digits.train_y[0])
    rng = np.random.default_rng(0)
    assert_gradients(twin, image, label, loss, rng, places=20)


def test_chi_and_devices_hold_every_update():
    """With linear devices nothing is lost: weight and chi together follow plain SGD."""
    profile = replace(IDEAL, initial_mean=5.0, initial_sd=0.2)
    mixed = MixedPrecision(NETWORK, profile, UNITS, pulse=0.77, seed=2)
    start = [weights.copy() for weights in mixed.weights]
    rng = np.random.default_rng(4)
    total = [np.zeros_like(weights) for weights in start]
    for _ in range(30):
        for index in range(2):
            change = rng.normal(0, 0.05, total[index].shape)
            total[index] += change
            mixed.update(index, change)
    assert mixed.pulses > 100
    for index in range(2):
        held = mixed.weights[index] + mixed.chi[index] - start[index]
        assert np.allclose(held, total[index], atol=1e-12)
        assert np.abs(mixed.chi[index]).max() < mixed.thresholds[index]


def test_updates_below_a_pulse_leave_the_devices_alone():
    mixed = MixedPrecision(NETWORK, PCM, UNITS, pulse=0.77, seed=2)
    before = mixed.weights[0].copy()
    mixed.update(0, np.full_like(before, 0.99 * mixed.thresholds[0]))
    assert mixed.pulses == 0
    mixed.update(0, np.full_like(before, 0.02 * mixed.thresholds[0]))
    assert mixed.pulses == before.size
    assert np.mean(mixed.weights[0] - before) == pytest.approx(1.5 / UNITS[0], rel=0.1)


@pytest.mark.parametrize("is_stochastic", [False, True])
def test_increments_of_chi_are_whole_counts(is_stochastic):
    """To nearest, a quarter of a count is lost; by chance, its mean is kept."""
    mixed = MixedPrecision(
        NETWORK, PCM, UNITS, pulse=0.77, seed=2, counts=8, is_stochastic=is_stochastic
    )
    count = mixed.thresholds[0] / 8
    for _ in range(4):
        mixed.update(0, np.full_like(mixed.chi[0], 0.25 * count))
    held = mixed.chi[0] / count
    assert np.allclose(held, np.rint(held))
    assert np.mean(held) == pytest.approx(1.0 if is_stochastic else 0.0, abs=0.1)


def test_refresh_keeps_the_weights_and_empties_the_pairs():
    mixed = MixedPrecision(NETWORK, replace(IDEAL, set_mean=0.05), UNITS, pulse=0.05, seed=3)
    pair = mixed.conductances[1]
    pair[:] = 1.0
    pair[0, :5, :5], pair[1, :5, :5] = 9.0, 8.2
    mixed._read(1)
    before = mixed.weights[1].copy()
    mixed.refresh(8.0, 4.0)
    assert mixed.refreshed == 25
    assert pair.max() < 1.1
    # Overshoot by less than a pulse, and what RESET leaves on the other device.
    assert np.abs(mixed.weights[1] - before).max() <= (0.05 + 0.1) / UNITS[1]


@pytest.mark.parametrize("profile", [IDEAL, PCM], ids=lambda profile: profile.name)
def test_mixed_precision_learns_the_digits(profile, digits):
    mixed = MixedPrecision(NETWORK, profile, UNITS, pulse=mean_pulse(profile), seed=1)
    order = np.random.default_rng(1).permutation(len(digits.train_y))
    for start in range(0, len(order), 100):
        part = order[start : start + 100]
        mixed.train(digits.train_x[part], digits.train_y[part], [0.9] * len(part))
        mixed.refresh(9.0, 5.0)
    assert mixed.accuracy(digits.validation_x, digits.validation_y) > 0.8


def test_golden_model_gathers_the_gradients_of_the_float_twin(digits):
    """chi holds eta times the gradients, in the real values that the recipe gives its codes.

    The rate is so small that no pulse is given and both keep the same weights: what is left is
    the quantisation of codes, sigmoids and errors. This holds the recipe's scales and signs
    against an arithmetic that knows nothing of them.
    """
    images, eta = 20, 0.02
    profile = replace(IDEAL, initial_mean=4.0, initial_sd=0.83)
    core = Core(NETWORK.config, profile, 7)
    mapping = CoreMapping(NETWORK, NETWORK.config, profile, eta_min=eta)
    recipe, segments = mapping.recipe, mapping.segments(eta)[0]
    core.segments[:2] = segments
    setup = mapping.setup()
    core.run(setup.programs[0], setup.packets)
    x, y = digits.train_x[:images], digits.train_y[:images]
    training = mapping.training(x, y, refresh=False, read=False)
    core.run(training.programs[0], training.packets)
    assert core.crossbar.set_pulses == 0

    twin = FloatTwin(NETWORK, mapping.weights({0: core.crossbar.weights}))
    gradients = [twin.gradients(*pair) for pair in zip(x, y.tolist(), strict=True)]
    for index, layer in enumerate(NETWORK.layers):
        wanted = eta * layer.eta_scale * sum(gradient[index] for gradient in gradients)
        segment = segments[index]
        pulse = profile.set_mean / profile.g_full_scale * NETWORK.config.g_max
        held = core.update.chi[segment.rows, segment.cols] / segment.threshold
        held *= pulse / recipe.weight_units[index]
        assert held.shape == wanted.shape
        assert np.sum(held * wanted) / np.sum(wanted**2) == pytest.approx(1, abs=0.03)
        assert np.linalg.norm(held - wanted) < 0.1 * np.linalg.norm(wanted)
