# SPDX-License-Identifier: Apache-2.0
"""Values of a network's input from labelled images; preprocessing and data that do not fit."""

import numpy as np
import pytest

from phasecore.models.training.datasets import load
from phasecore.models.training.samples import Preprocessing, Samples, read_samples

PLAIN = Preprocessing()
TWO = np.arange(2 * 2 * 3 * 3).reshape(2, 2, 3, 3)
"""Two images of 2 x 3 pixels of three channels."""


def test_values_by_hand():
    given = Preprocessing(scale=0.5, mean=(1, 2, 3), std=(1, 2, 4))
    values = given.values(TWO, (2, 3, 3), "x")
    assert values.shape == (2, 18)
    assert values[0, :4].tolist() == [0 - 1, (0.5 - 2) / 2, (1 - 3) / 4, 1.5 - 1]
    first = TWO.transpose(0, 3, 1, 2)
    other = Preprocessing(scale=0.5, mean=(1, 2, 3), std=(1, 2, 4), layout="CHW")
    assert np.array_equal(other.values(first, (2, 3, 3), "x"), values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale = 0", "scale must be a number other than 0, not 0.0"),
        ("scale = [1, 2]", "scale must be one number, not .1, 2."),
        ("scale = true", "scale must be a number, or one by channel, not True"),
        ("mean = 'a'", "mean must be a number, or one by channel, not 'a'"),
        ("mean = nan", "mean must be a number, or one by channel, not nan"),
        ("std = [1, 0]", r"std must be above 0, not \[1.0, 0.0\]"),
        ("std = []", r"std must be above 0, not \[\]"),
        ("layout = 'NHWC'", "layout must be HWC or CHW, not 'NHWC'"),
        ("factor = 1", "unknown field 'factor'; known: scale, mean, std, layout"),
        ("scale", ""),
    ],
)
def test_preprocessing_that_is_none(tmp_path, text, message):
    path = tmp_path / "net.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"net.toml: {message}"):
        Preprocessing.load(path)


def test_preprocessing_of_a_file(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text("scale = 2\nmean = [1, 2.5]\nlayout = 'CHW'\n", encoding="utf-8")
    assert Preprocessing.load(path) == Preprocessing(scale=2.0, mean=(1.0, 2.5), layout="CHW")
    with pytest.raises(ValueError, match="mean must be one number, or 3, one by channel, not 2"):
        Preprocessing.load(path).values(TWO, (2, 3, 3), "x")


def test_images_for_the_test_alone(tmp_path):
    """Of signed bytes; the largest calibration value is the code 127, larger ones are saturated."""
    path = tmp_path / "words.npz"
    x = np.array([[-4, 2], [1, 3], [9, -8]], dtype=np.int8)
    np.savez(path, x=x, y=np.array([1, 0, 1]))
    found = read_samples(path, (1, 1, 2), PLAIN, calibration=2, images=None)
    assert (found.name, found.labels.tolist()) == ("words", [1, 0, 1])
    assert found.code == pytest.approx(4 / 127)
    assert found.codes(found.images).tolist() == [[-127, 64], [32, 95], [127, -127]]
    assert len(read_samples(path, (1, 1, 2), PLAIN, calibration=1, images=2).images) == 2


def test_calibration_is_of_the_training_part(tmp_path):
    path = tmp_path / "a.npz"
    x, y = np.full((4, 6), 5, np.uint8), np.zeros(4, np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x[:2] + 1, y_test=y[:2])
    found = read_samples(path, (2, 1, 3), PLAIN, calibration=3, images=None)
    assert found.calibration.tolist() == [[5] * 6] * 3
    assert found.images.tolist() == [[6] * 6] * 2


def test_pictures_in_colour(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        image.fromarray(pixels + 10 * int(name)).save(tmp_path / name / "a.png")
    found = read_samples(tmp_path, (2, 4, 3), PLAIN, calibration=9, images=None)
    assert np.array_equal(found.images, [pixels.reshape(-1), pixels.reshape(-1) + 10])
    assert found.labels.tolist() == [0, 1]
    grey = read_samples(tmp_path, (2, 4, 1), PLAIN, calibration=9, images=None)
    assert grey.images.shape == (2, 8)


def test_data_sets_by_name():
    """Pixels are 0..255 again; images are taken evenly from all."""
    found = read_samples("digits", (8, 8, 1), PLAIN, calibration=5, images=7)
    data = load("digits")
    chosen = np.arange(7) * len(data.test_x) // 7
    assert found.code == pytest.approx(255 / 127)
    assert np.array_equal(found.codes(found.images), data.test_x[chosen])
    assert np.array_equal(found.labels, data.test_y[chosen])
    whole = read_samples("digits", (8, 8, 1), PLAIN, calibration=5, images=None)
    assert np.array_equal(whole.codes(whole.images), data.test_x)


def test_few_large_values_are_clipped():
    """If that lets the others have finer codes; an even spread is not."""
    few = np.r_[np.linspace(-40, 40, 999), 1000.0][np.newaxis]
    assert Samples("a", few, few, np.zeros(1, np.uint8)).code < 200 / 127
    even = np.linspace(-40, 40, 1000)[np.newaxis]
    assert Samples("a", even, even, np.zeros(1, np.uint8)).code == pytest.approx(40 / 127)


@pytest.mark.parametrize(
    ("arrays", "images", "message"),
    [
        ({"x": np.ones((3, 2)), "y": np.zeros(2, int)}, None, "a has 3 images, 2 labels"),
        ({"x": np.ones((3, 2)), "y": np.zeros(3)}, None, "a: labels must be integers, not float64"),
        (
            {"x": np.ones((3, 3)), "y": np.zeros(3, int)},
            None,
            "a: images must be images of 1 x 1 x",
        ),
        ({"x": np.ones((3, 2)), "y": np.zeros(3, int)}, 4, r"--images must be at most 3 \(images"),
        ({"x": np.ones((3, 2))}, None, "has no array x_train, only x"),
        ({"x_test": np.ones((3, 2))}, None, "has no array y_test, only x_test"),
    ],
)
def test_data_that_do_not_fit(tmp_path, arrays, images, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / "a.npz", (1, 1, 2), PLAIN, calibration=2, images=images)
