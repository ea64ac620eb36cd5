# SPDX-License-Identifier: Apache-2.0
"""Data of one's own: IDX files, .npz and pictures give the same codes; what does not fit."""

import gzip
import json
import re

import numpy as np
import pytest
from PIL import Image

from phasecore.models.training.datasets import DataError, pool, whole
from phasecore.models.training.own_data import load_own
from phasecore.scripts.cli import main
from phasecore.scripts.commands.options import at_most

RNG = np.random.default_rng(5)
X = RNG.integers(0, 256, (24, 28, 28), dtype=np.uint8)
Y = np.arange(24, dtype=np.uint8) % 3
SOUND = {"x_train": X[:18], "y_train": Y[:18], "x_test": X[18:], "y_test": Y[18:]}


def idx(array):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def write_idx(folder, prefix=""):
    for key, name in (("train", "train"), ("test", "t10k")):
        (folder / f"{prefix}{name}-images-idx3-ubyte").write_bytes(idx(SOUND[f"x_{key}"]))
        labels = gzip.compress(idx(SOUND[f"y_{key}"]))
        (folder / f"{prefix}{name}-labels-idx1-ubyte.gz").write_bytes(labels)


def write_pictures(folder, images, labels):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:02}.png")


def pairs(images, labels):
    """Images with their labels, in an order of their own."""
    return sorted(zip(map(bytes, images), labels.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["idx", "one idx of several", "npz", "pictures"])
def test_all_kinds_give_the_same_codes(kind, tmp_path):
    path = tmp_path / "fashion"
    path.mkdir()
    if kind == "npz":
        path = path / "fashion.npz"
        np.savez(path, **{**SOUND, "y_train": SOUND["y_train"].astype(np.int64)})
    elif kind == "pictures":
        write_pictures(path / "train", X[:18], Y[:18])
        write_pictures(path / "test", X[18:], Y[18:])
    else:
        write_idx(path, "emnist-digits-")
        if kind != "idx":
            write_idx(path, "emnist-letters-")
            with pytest.raises(DataError, match=r"has several data sets: name one of emnist-digi"):
                load_own(path, 784)
            path = path / "emnist-digits-train-images-idx3-ubyte"
    data = load_own(path, 784)
    assert (len(data.train_x), len(data.validation_x), len(data.test_x)) == (15, 3, 6)
    merged, pooled = data.merged(), load_own(path, 196)
    assert pairs(merged.train_x, merged.train_y) == pairs(whole(X[:18]), Y[:18])
    assert pairs(data.test_x, data.test_y) == pairs(whole(X[18:]), Y[18:])
    assert pairs(pooled.test_x, pooled.test_y) == pairs(pool(X[18:]), Y[18:])
    assert data.name.startswith(("fashion", "emnist-digits"))


def test_without_a_test_set_some_training_images_are_kept(tmp_path):
    write_pictures(tmp_path, X[:, :4, :2], Y)
    data = load_own(tmp_path, 8)
    assert (len(data.train_x), len(data.validation_x), len(data.test_x)) == (16, 4, 4)
    merged = data.merged()
    found = pairs(merged.train_x, merged.train_y) + pairs(data.test_x, data.test_y)
    assert sorted(found) == pairs(whole(X[:, :4, :2]), Y)


def test_pictures_in_colour_have_three_bytes_a_pixel(tmp_path):
    colours = np.stack([X[:, :4, :2], 255 - X[:, :4, :2], X[:, 1:5, :2]], axis=-1)
    write_pictures(tmp_path, colours, Y)
    data = load_own(tmp_path, 24, colour=True).merged()
    found = pairs(data.train_x, data.train_y) + pairs(data.test_x, data.test_y)
    assert sorted(found) == pairs(whole(colours), Y)
    with pytest.raises(DataError, match=r"has images of 4 x 2 pixels, the network needs 24"):
        load_own(tmp_path, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X[:18] / 255}, "x_train must be unsigned bytes .*, not float64"),
        ({"x_train": X[:17]}, "train has 17 images, 18 labels"),
        (
            {"x_test": X[18:, :, :27]},
            r"x_test has images of 28 x 27 pixels, the network needs 784 \(28 x 28\): they are not",
        ),
        (
            {"x_train": X[:18, None]},
            r"x_train must be of shape \(images, height, width\), with 3 behind",
        ),
        ({"y_train": Y[:18] / 2}, "y_train must be integers, not float64"),
        ({"y_train": Y[:18].astype(int) - 1}, r"y_train must be in 0\.\.255, not -1\.\.1"),
        ({"y_train": np.eye(18, dtype=int)}, "y_train must be one class per image, not of shape"),
        ({"y_test": None}, "has no array y_test, only x_train, y_train, x_test"),
        ({"x_train": X[:5], "y_train": Y[:5]}, "has too few images: 5 to train on"),
        ({"x_train": np.array([{}])}, "cannot read .*d.npz: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message, tmp_path):
    arrays = {key: value for key, value in {**SOUND, **changes}.items() if value is not None}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_own(tmp_path / "d.npz", 784)


def test_damaged_files_are_named(tmp_path):
    def refused(path, message):
        with pytest.raises(DataError, match=message):
            load_own(path, 784)

    for content in (b"", b"PK\x03\x04cut"):
        (tmp_path / "d.npz").write_bytes(content)
        refused(tmp_path / "d.npz", r"^cannot read .*d.npz: ")
    (tmp_path / "d.csv").touch()
    refused(tmp_path / "d.csv", r"d\.csv is a file of another kind; accepted: a folder of the four")
    refused(tmp_path / "none", r"^data set .*none does not exist; accepted: ")
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", r"a has no pictures in folders; accepted: ")
    (tmp_path / "a" / "x").mkdir()
    (tmp_path / "a" / "x" / "1.png").write_bytes(b"\x89PNG")
    refused(tmp_path / "a", r"1\.png is not a picture that Pillow knows$")
    Image.fromarray(X[0].astype(np.uint16)).save(tmp_path / "a" / "x" / "1.png")
    refused(tmp_path / "a", r"1\.png has pixels of mode I;16, not of 8 bits$")
    Image.fromarray(X[0]).save(tmp_path / "a" / "x" / "1.png")
    Image.fromarray(X[0, :5]).save(tmp_path / "a" / "x" / "2.png")
    refused(tmp_path / "a", r"2\.png has 5 x 28 pixels, .*1\.png 28 x 28: all pictures must have")
    folder = tmp_path / "i"
    folder.mkdir()
    write_idx(folder)
    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-9])
    refused(folder, r"^cannot read .*train-labels-idx1-ubyte\.gz: Compressed file ended before")
    labels.unlink()
    refused(folder, r"^train-labels-idx1-ubyte \(or .*\.gz\) is missing in ")


def test_a_network_trains_on_data_of_ones_own(tmp_path, capsys):
    np.savez(tmp_path / "mine.npz", x_train=X[:, 0, :8], y_train=Y)
    command = ["train", "--network", "mlp-8-6-10", "--epochs", "1", "--out", str(tmp_path)]
    command += ["--overwrite", "--json", "--dataset"]
    assert main([*command, str(tmp_path / "mine.npz")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["dataset"], result["images"]) == ("mine", 16)
    np.savez(tmp_path / "many.npz", x_train=X[:, 0, :8], y_train=Y + 9)
    for arguments, message in (
        (["many.npz"], "mlp-8-6-10 has 10 outputs, for labels 0..9; many has label 11"),
        (
            ["mine.npz", "--images", "17"],
            "images_per_epoch must be at most 16 (images that there are), not 17",
        ),
        (["x.npz"], f"argument --dataset: '{tmp_path / 'x.npz'}' is neither one of mnist14, "),
    ):
        assert main([*command, str(tmp_path / arguments[0]), *arguments[1:]]) in (1, 2)
        assert capsys.readouterr().err.startswith(f"phasecore: error: {message}")


def test_amounts_are_not_reduced():
    assert (at_most("--n", None, 7, "x"), at_most("--n", 7, 7, "x")) == (7, 7)
    with pytest.raises(ValueError, match=re.escape("--n must be at most 7 (x), not 8")):
        at_most("--n", 8, 7, "x")
