# SPDX-License-Identifier: Apache-2.0
"""Placement, recipe and programs of the built-in networks."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.mapping import CoreMapping, map_network
from phasecore.models.compiler.network import ONE, Layer, Network, Training, classes
from phasecore.models.compiler.networks import CHIP_NETWORKS, CORE_NETWORKS
from phasecore.models.compiler.placement import check_tiles
from phasecore.models.compiler.recipe import Recipe, mean_pulse
from phasecore.models.golden.device import IDEAL, PCM, DeviceProfile
from phasecore.models.golden.packets import Result, parse_input
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY, CoreConfig
from phasecore.rtl.spec.instructions import Opcode, decode

SMALL_NETWORK = Network(
    name="small",
    dataset="digits",
    layers=(
        Layer(inputs=5, outputs=4, row_start=8, col_start=0),
        Layer(inputs=4, outputs=3, row_start=0, col_start=2, eta_scale=0.5),
    ),
    config=TINY,
    training=Training(eta=1.0, eta_end=1.0),
)


IMAGES = np.zeros((6, 5), dtype=np.uint8), np.zeros(6, dtype=np.uint8)
"""Six images for it, and their labels."""


@pytest.mark.parametrize("name", CORE_NETWORKS)
def test_networks_fit_their_configuration_and_the_default(name):
    network = CORE_NETWORKS[name]
    for config in (network.config, DEFAULT):
        for profile in (IDEAL, PCM):
            mapping = CoreMapping(network, config, profile)
            for eta in (network.training.eta, network.training.eta_end):
                for segment in mapping.segments(eta)[0]:
                    assert 256 <= segment.threshold <= 0.85 * 2**15


@pytest.mark.parametrize("name", CHIP_NETWORKS)
@pytest.mark.parametrize("devices", [1, 2])
def test_chip_networks_fit_their_cores(name, devices):
    network = CHIP_NETWORKS[name]
    config = network.config.replace(devices_per_polarity=devices)
    check_tiles(network, config)
    assert config.objects
    assert config.routes
    rows = [network.tile_rows(tile) for tile in range(network.tiles)]
    assert sum(rows) == network.layers[0].rows
    assert max(rows) - min(rows) <= 1
    for profile in (IDEAL, PCM):
        recipe = Recipe(network, config, profile)
        for eta in (network.training.eta, network.training.eta_end):
            for segment in (recipe.segment(0, eta, rows=rows[-1]), recipe.segment(1, eta)):
                assert 256 <= segment.threshold <= 0.85 * 2**15


def test_a_tile_is_its_layer_with_fewer_rows():
    recipe = Recipe(SMALL_NETWORK, TINY, IDEAL)
    whole, tile = recipe.segment(1, 0.5), recipe.segment(1, 0.5, rows=3)
    assert tile == replace(whole, row_count=3)
    with pytest.raises(ValueError, match=r"^segment rows 0\.\.16 are outside 0\.\.15$"):
        recipe.segment(1, 0.5, rows=17)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiles": 0}, r"^mlp-48-12-10 needs 2 layers and 1\.\.48 tiles, not 2 and 0$"),
        ({"tiles": 49}, r"^mlp-48-12-10 needs 2 layers and 1\.\.48 tiles, not 2 and 49$"),
        ({"tiles": 3}, r"^mlp-48-12-10 needs 17 rows and 12 columns for each of 3 tiles of layer"),
        ({"first": {"outputs": 17}}, r"^mlp-48-12-10 needs 13 rows and 17 columns for each of 4"),
        ({"first": {"outputs": 11}}, r"^mlp-48-12-10 layer 1 has 12 inputs; the layer before has"),
        ({"first": {"row_start": 3}}, r"^row_start of layer 0 must be a multiple of 8, not 3$"),
        ({"first": {"col_start": 4}}, r"must be the same multiple of 8, not 4 and 0$"),
        ({"second": {"row_start": 3}}, r"must be the same multiple of 8, not 0 and 3$"),
        ({"second": {"outputs": 17}}, r"^mlp-48-12-10 needs 13 rows and 17 columns for layer 1;"),
    ],
)
def test_chip_placement_errors(changes, message):
    network = CHIP_NETWORKS["mlp-48-12-10"]
    first, second = network.layers
    layers = (
        replace(first, **changes.get("first", {})),
        replace(second, **changes.get("second", {})),
    )
    network = replace(network, layers=layers, tiles=changes.get("tiles", network.tiles))
    with pytest.raises(ValueError, match=message):
        check_tiles(network, network.config)


def test_recipe_by_hand():
    recipe = Recipe(SMALL_NETWORK, TINY, IDEAL)
    # A weight of 1.0, all inputs 1.0: one line's charge is 127 units; 2**15 / count, 4 steps each.
    unit = 2 ** (15 + 5 - 2) / 127
    assert recipe.weight_units == [unit, unit]
    assert 127 * unit / 2**15 * 4 == 32
    assert recipe.shifts == [5, 5]
    # 2**(13 - 1) / (2064.126 * 127**2) = 1.2303e-4 = 1.00787 * 2**-13
    assert recipe.biases == [-13, 0]
    assert recipe.delta_units[1] == 1 / (2 * 127**3)
    assert recipe.delta_units[0] == pytest.approx(1.00787 / (2 * 127**3), rel=1e-5)
    # 0.77 uS of 12 uS = 262.7625 codes = 0.127300 weights; eta 0.5:
    # 0.1273 * 127 * 2 * 127**3 / 0.5 = 1.32463e8 -> * 2**-13 = 16169.8 <= 27852
    segment = recipe.segment(1, 1.0)
    assert (segment.chi_shift, segment.threshold) == (-13, 16170)


def test_thresholds_rise_as_the_rate_falls():
    network = replace(SMALL_NETWORK, training=Training(eta=1.0, eta_end=0.25))
    recipe = Recipe(network, TINY, IDEAL)
    for index in range(2):
        one, other = recipe.segment(index, 1.0), recipe.segment(index, 0.25)
        assert one.chi_shift == other.chi_shift
        assert other.threshold == pytest.approx(4 * one.threshold, abs=2)
    assert Training(eta=1.0, eta_end=0.25).rate(0.5) == 0.5


@pytest.mark.parametrize(("eta", "eta_end"), [(0.01, 0.05), (0.05, 0.01)])
def test_rates_may_rise_or_fall(eta, eta_end):
    network = replace(SMALL_NETWORK, training=Training(eta=eta, eta_end=eta_end))
    recipe = Recipe(network, TINY, IDEAL)
    assert recipe.warnings() == []
    for rate in (eta, eta_end):
        assert recipe.rates(rate) == pytest.approx([rate, rate], rel=1e-3)


def test_rates_that_chi_cannot_hold_are_refused():
    """They were clipped: with a threshold of 1 no increment is left, with the largest the rate is
    another."""
    network = replace(SMALL_NETWORK, training=Training(eta=1.0, eta_end=1e-6))
    message = (
        r"^eta 1 does not fit beside the run's other rates: layer 0 of small would need a threshold"
        r" of 0\.0\d+, chi of 16 bits has 1\.\.32767$"
    )
    with pytest.raises(ValueError, match=message):
        Recipe(network, TINY, IDEAL)
    with pytest.raises(ValueError, match=r"^eta 0\.01 .* threshold of 1\.\d+e\+06, chi of 16 bits"):
        Recipe(SMALL_NETWORK, TINY, IDEAL).segment(0, 0.01)
    shifted = replace(SMALL_NETWORK, training=Training(eta=1e50, eta_end=1e50))
    with pytest.raises(ValueError, match=r"^chi_shift must be in -128\.\.127, not 1\d\d$"):
        Recipe(shifted, TINY, IDEAL).segment(0, 1e50)


def test_rates_that_chi_holds_badly_are_warned_of():
    network = replace(SMALL_NETWORK, training=Training(eta=1.0, eta_end=2e-4))
    recipe = Recipe(network, TINY, IDEAL)
    used = recipe.rates(1.0)
    assert used != pytest.approx([1.0, 1.0], rel=0.01)
    assert recipe.warnings()[:2] == [
        f"eta 1 in layer 0: {used[0]:.4g} is used, its threshold being 4",
        "eta 1 in layer 0: a pulse is 4 counts of chi, smaller gradients are lost",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": 0.0}, "eta must be a number above 0, not 0.0"),
        ({"eta_end": float("nan")}, "eta_end must be a number above 0, not nan"),
        ({"refresh_interval": 0}, "refresh_interval must be at least 1, not 0"),
        ({"refresh_high": 128}, r"refresh_high must be in 0\.\.127, not 128"),
        ({"delta_shift": 32}, r"delta_shift must be in 0\.\.31, not 32"),
    ],
)
def test_training_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Training(**changes)


@pytest.mark.parametrize(
    ("changes", "range_of_weights"),
    [
        ({"g_bits": 10}, 1),
        ({"g_bits": 14}, 1),
        ({"devices_per_polarity": 4}, 2),
        ({"input_bits": 7}, 1),
    ],
)
def test_other_formats_keep_the_range_of_weights(changes, range_of_weights):
    """The largest weight is the same number; four devices double it."""
    config = TINY.replace(**changes)
    recipe, reference = (Recipe(SMALL_NETWORK, c, IDEAL) for c in (config, TINY))
    for unit, plain in zip(recipe.weight_units, reference.weight_units, strict=True):
        full_scale = 2**config.g_bits * config.devices_per_polarity
        largest = full_scale / unit
        assert largest == pytest.approx(range_of_weights * 2**TINY.g_bits / plain)
    assert recipe.biases == reference.biases
    assert recipe.delta_units == pytest.approx(reference.delta_units)


def test_mean_pulse():
    assert mean_pulse(IDEAL) == pytest.approx(0.77)
    assert mean_pulse(PCM) == pytest.approx(0.766, abs=0.001)
    decaying = DeviceProfile(set_mean=0.0, set_mean_memory=1.0, memory_decay=1.0)
    assert mean_pulse(decaying, pulses=1) == pytest.approx(np.exp(-1))
    with pytest.raises(ValueError, match=r"^the mean SET pulse of ideal is 0 uS, not above 0$"):
        mean_pulse(replace(IDEAL, set_mean=0.0))


def test_training_program_by_instruction():
    mapping = CoreMapping(SMALL_NETWORK, TINY, IDEAL)
    job = mapping.training(*IMAGES, read=False)
    program = [decode(word) for word in job.programs[0]]
    names = [opcode.name for opcode, _ in program]
    assert names == [
        "LOAD", "LOAD", "FORWARD", "ACTIVATE", "FORWARD", "ACTIVATE", "DELTA", "BACKWARD",
        "DELTA", "OUTER", "OUTER", "LOOP", "REFRESH", "REFRESH", "HALT",
    ]  # fmt: skip
    fields = [values for _, values in program]
    assert (fields[3]["destination_line"], fields[5]["destination_line"]) == (0, 2)
    assert (fields[6]["axis"], fields[6]["source"], fields[6]["destination_line"]) == (0, 1, 2)
    assert (fields[8]["axis"], fields[8]["segment"], fields[8]["bias"]) == (1, 1, -13)
    assert (fields[11]["counter"], fields[11]["count"]) == (0, 6)
    words = mapping.training(*IMAGES, refresh=False).programs[0]
    names = [decode(word)[0].name for word in words]
    assert names.index("READ") == names.index("DELTA") - 1
    assert "REFRESH" not in names


def test_one_image_needs_no_loop():
    mapping, images, labels = CoreMapping(SMALL_NETWORK, TINY, IDEAL), *IMAGES
    for job in (mapping.training(images[:1], labels[:1]), mapping.inference(images[:1])):
        assert Opcode.LOOP not in [decode(word)[0] for word in job.programs[0]]


def test_a_job_has_images():
    mapping, images, labels = CoreMapping(SMALL_NETWORK, TINY, IDEAL), *IMAGES
    with pytest.raises(ValueError, match=r"^images must be at least 1, not 0$"):
        mapping.training(images[:0], labels[:0])


def test_packets_put_codes_on_their_lines():
    mapping = CoreMapping(SMALL_NETWORK, TINY, IDEAL)
    image = np.array([[1, 2, 3, 4, 5]], dtype=np.uint8)
    x, target = (
        parse_input(packet, config=TINY)
        for packet in mapping.training(image, np.array([1], dtype=np.uint8)).packets
    )
    assert (x.start, x.codes.tolist()) == (8, [1, 2, 3, 4, 5, ONE])
    margin = SMALL_NETWORK.training.target_margin
    assert (target.start, target.codes.tolist()) == (0, [0, 0, margin, ONE - margin, margin])
    setup = mapping.setup()
    (bias,) = (parse_input(packet, config=TINY) for packet in setup.packets)
    assert (bias.start, bias.codes.tolist()) == (0, [0, 0, 0, 0, ONE])
    names = [decode(word)[0].name for word in setup.programs[0]]
    assert names == ["CALIBRATE", "LOAD", "HALT"]


def test_images_of_the_wrong_size():
    mapping = CoreMapping(SMALL_NETWORK, TINY, IDEAL)
    with pytest.raises(ValueError, match=r"^images must have shape \(images, 5\), not \(2, 4\)$"):
        mapping.inference(np.zeros((2, 4), dtype=np.uint8))


def test_outputs_begin_behind_the_lines_before_them():
    codes = [np.array([90, 90, *outputs], dtype=np.int8) for outputs in ([1, 2, 3], [5, 5, 3])]
    mapping = CoreMapping(SMALL_NETWORK, TINY, IDEAL)
    vectors = mapping.outputs([Result(3, 0, vector) for vector in codes])
    assert np.array_equal(vectors, [[1, 2, 3], [5, 5, 3]])
    assert classes(vectors).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("config", "layers", "message"),
    [
        (SMALL, None, r"^mlp-196-50-10 needs 253 rows and 50 columns for layer 0; the crossbar"),
        (TINY, (0, {"row_start": 4}), r"^small layer 1 shares cells with another layer$"),
        (TINY, (1, {"inputs": 3}), r"^small layer 1 has 3 inputs; the layer before has 4 outputs$"),
        (TINY.replace(rows=32), (0, {"row_start": 9}), r"^row_start of layer 0 must be a multiple"),
        (TINY.replace(slots=4), (0, {}), r"^small needs 6 slots, not 4$"),
        (TINY.replace(segments=1), (0, {}), r"^small needs 2 segments, not 1$"),
    ],
)
def test_placement_errors(config: CoreConfig, layers, message):
    network = CORE_NETWORKS["mlp-196-50-10"]
    if layers is not None:
        index, changes = layers
        changed = list(SMALL_NETWORK.layers)
        changed[index] = replace(changed[index], **changes)
        network = replace(SMALL_NETWORK, layers=tuple(changed))
    with pytest.raises(ValueError, match=message):
        map_network(network, config, IDEAL)


def test_a_layer_is_made_of_numbers_that_can_be():
    place = {"row_start": 0, "col_start": 0}
    with pytest.raises(ValueError, match=r"^outputs must be at least 1, not 0$"):
        Layer(inputs=5, outputs=0, **place)
    with pytest.raises(TypeError, match=r"^inputs must be an integer, not 5\.0$"):
        Layer(inputs=5.0, outputs=4, **place)
