# SPDX-License-Identifier: Apache-2.0
"""Data sets: splits, codes, and every way in which the files can be wrong."""

import argparse
import gzip
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phasecore.models.training import datasets
from phasecore.models.training.datasets import (
    MNIST_FILES,
    DataError,
    Dataset,
    MnistFile,
    load,
    pool,
    read_idx,
)
from phasecore.scripts.cli import main
from phasecore.scripts.commands import fetch_mnist


def idx(array):
    """An idx file of ``array``."""
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def described(name, array):
    content = idx(array)
    packed = gzip.compress(content, mtime=0)
    return MnistFile(
        name,
        array.shape,
        hashlib.md5(packed).hexdigest(),
        hashlib.sha256(packed).hexdigest(),
        hashlib.sha256(content).hexdigest(),
    ), content


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder of four small files, half of them compressed, under MNIST's names."""
    rng = np.random.default_rng(3)
    files = {}
    for key, real in MNIST_FILES.items():
        count = 30 if key.startswith("train") else 20
        top = 256 if key.endswith("x") else 10
        files[key], content = described(
            real.name, rng.integers(0, top, (count, *real.shape[1:]), dtype=np.uint8)
        )
        if key.endswith("x"):
            (tmp_path / f"{real.name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (tmp_path / real.name).write_bytes(content)
    monkeypatch.setattr(datasets, "MNIST_FILES", files)
    monkeypatch.setattr(datasets, "MNIST_VALIDATION", 10)
    monkeypatch.delenv("PHASECORE_DATA", raising=False)
    return tmp_path


def test_digits_are_codes_and_split_once():
    digits = load("digits")
    assert digits.inputs == 64
    assert [len(part) for part in (digits.train_y, digits.validation_y, digits.test_y)] == [
        1197, 300, 300,
    ]  # fmt: skip
    for images in (digits.train_x, digits.validation_x, digits.test_x):
        assert images.dtype == np.uint8
        assert images.max() == 127
    for labels in (digits.train_y, digits.validation_y, digits.test_y):
        assert set(labels.tolist()) == set(range(10))
    again = load("digits")
    assert np.array_equal(digits.train_x, again.train_x)


def test_pool_rounds_the_mean_to_nearest():
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, :2, :2] = 255  # mean 255 -> 127
    image[0, 0, 2:4] = 255  # mean 127.5 -> 63.5, rounded up
    image[0, 2, 1] = 4  # mean 1 -> 0.498
    image[0, 27, 27] = 5  # mean 1.25 -> 0.6225
    codes = pool(image)[0].reshape(14, 14)
    assert (codes[0, 0], codes[0, 1], codes[1, 0], codes[13, 13]) == (127, 64, 0, 1)
    assert codes.sum() == 127 + 64 + 1


def test_whole_rounds_every_pixel_to_nearest():
    image = np.arange(784).reshape(1, 28, 28) % 256
    codes = datasets.whole(image.astype(np.uint8))[0]
    assert np.array_equal(codes, np.rint(image.reshape(-1) * 127 / 255))
    assert (codes.dtype, codes.max()) == (np.uint8, 127)


def test_mnist_whole_and_pooled_are_the_same_images(small_mnist):
    whole, pooled = load("mnist", small_mnist), load("mnist14", small_mnist)
    assert (whole.name, whole.inputs, pooled.inputs) == ("mnist", 784, 196)
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(whole, f"{part}_y"), getattr(pooled, f"{part}_y"))
        means = getattr(whole, f"{part}_x").reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
        difference = means.reshape(-1, 196) - getattr(pooled, f"{part}_x")
        assert np.abs(difference).max() <= 1


def test_mnist_reads_raw_and_compressed_files(small_mnist):
    small = load("mnist14", small_mnist)
    assert small.train_x.shape == (20, 196)
    assert small.validation_x.shape == (10, 196)
    assert small.test_x.shape == (20, 196)
    assert small.train_x.max() <= 127
    assert (len(small.train_y), len(small.validation_y), len(small.test_y)) == (20, 10, 20)


def test_mnist_folder_from_the_environment(small_mnist, monkeypatch):
    monkeypatch.setenv("PHASECORE_DATA", str(small_mnist))
    assert load("mnist14").inputs == 196


def test_no_folder(monkeypatch):
    monkeypatch.delenv("PHASECORE_DATA", raising=False)
    with pytest.raises(DataError, match=r"^no MNIST folder: give --data DIR or set PHASECORE_DATA"):
        load("mnist14")


def test_folder_missing(tmp_path):
    with pytest.raises(DataError, match=r"^MNIST folder .*nowhere does not exist$"):
        load("mnist14", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"^MNIST folder .*file is a file, not a folder$"):
        load("mnist14", tmp_path / "file")


def test_unknown_name():
    with pytest.raises(DataError, match=r"^unknown data set 'cifar'; known: mnist14, digits, "):
        load("cifar")


def test_file_missing(small_mnist):
    (small_mnist / "train-labels-idx1-ubyte").unlink()
    message = r"^train-labels-idx1-ubyte \(or train-labels-idx1-ubyte\.gz\) is missing in "
    with pytest.raises(DataError, match=message):
        load("mnist14", small_mnist)


def test_file_not_gzip(small_mnist):
    (small_mnist / "t10k-images-idx3-ubyte.gz").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"^cannot read .*t10k-images-idx3-ubyte\.gz: Not a gzip"):
        load("mnist14", small_mnist)


def test_wrong_content(small_mnist):
    path = small_mnist / "t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = (
        r"^t10k-labels-idx1-ubyte has sha256 [0-9a-f]{16}\.\.\., not [0-9a-f]{16}\.\.\. of MNIST:"
        r" --dataset .* trains on data of one's own$"
    )
    with pytest.raises(DataError, match=message):
        load("mnist14", small_mnist)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08\x03", r"^f has magic 00000803, not 00000801$"),
        (b"\x00\x00\x08\x01\x00", r"^f ends within its header$"),
        (idx(np.zeros(3)), r"^f has shape \(3,\), not \(2,\)$"),
        (idx(np.zeros(2)) + b"\x00", r"^f has 3 data bytes, not 2$"),
    ],
)
def test_idx_errors(content, message):
    with pytest.raises(DataError, match=message):
        read_idx(content, (2,), "f")


@pytest.fixture
def mirror(tmp_path):
    """A one-file mirror as a file: address, the description of its file, its folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    file, content = described("train-labels-idx1-ubyte", np.arange(5))
    (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    return f"{folder.as_uri()}/", file, folder


def test_fetch_checks_and_keeps(mirror, tmp_path):
    address, file, _ = mirror
    broken = (tmp_path / "none").as_uri() + "/"
    assert fetch_mnist.fetch(file, tmp_path, [broken, address]) == address
    assert (tmp_path / f"{file.name}.gz").exists()
    assert not list(tmp_path.glob("*.part"))
    assert fetch_mnist.fetch(file, tmp_path, []) == "present"


def test_fetch_refuses_wrong_checksums(mirror, tmp_path):
    address, file, _ = mirror
    for wrong in (replace(file, md5_gz="0" * 32), replace(file, sha256_gz="0" * 64)):
        with pytest.raises(DataError, match=r"^no mirror gave train-labels-idx1-ubyte\.gz \(file:"):
            fetch_mnist.fetch(wrong, tmp_path, [address])
        assert not (tmp_path / f"{file.name}.gz").exists()
    fetch_mnist.fetch(file, tmp_path, [address])
    message = r"has md5 [0-9a-f]{32}, not 0{32}: delete it and try again$"
    with pytest.raises(DataError, match=message):
        fetch_mnist.fetch(replace(file, md5_gz="0" * 32), tmp_path, [address])


def test_fetch_offline(mirror, tmp_path):
    _, file, _ = mirror
    missing = (tmp_path / "none").as_uri() + "/"
    message = re.escape("without a network, copy the four MNIST .gz files into")
    with pytest.raises(DataError, match=message):
        fetch_mnist.fetch(file, tmp_path, [missing, missing])


def test_command_reports_every_file(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch_mnist, "fetch", lambda file, folder: "present")
    report = fetch_mnist.run(argparse.Namespace(out=tmp_path / "mnist"))
    assert len(report["files"]) == 4
    assert Path(report["out"]).is_dir()


def test_command_needs_a_folder(capsys):
    assert main(["fetch", "mnist"]) == 1
    error = "phasecore: error: --out must name the folder for the MNIST files\n"
    assert capsys.readouterr().err == error


def test_enlarged_digits():
    small, large = load("digits"), load("digits28")
    images = large.train_x.reshape(-1, 28, 28)
    assert np.array_equal(images[:, 3:-3:3, 3:-3:3].reshape(-1, 64), small.train_x)
    assert np.array_equal(images[:, 2:-2:3, 4:-2:3].reshape(-1, 64), small.train_x)
    assert not images[:, :2].any()
    assert not images[:, :, -2:].any()


def test_merged_data_has_the_validation_images_behind_the_others():
    digits = load("digits")
    merged = digits.merged()
    assert len(merged.train_x) == len(digits.train_x) + len(digits.validation_x)
    assert np.array_equal(merged.train_x[-300:], digits.validation_x)
    assert np.array_equal(merged.train_y[-300:], digits.validation_y)
    assert np.array_equal(merged.train_x[:-300], digits.train_x)
    assert merged.validation_x.shape == (0, 64)
    assert np.array_equal(merged.test_x, digits.test_x)


def made(**changes):
    """A sound data set of 2 inputs, but for the changes."""
    arrays = {f"{part}_x": np.ones((3, 2), np.uint8) for part in ("train", "validation", "test")}
    arrays |= {f"{part}_y": np.ones(3, np.uint8) for part in ("train", "validation", "test")}
    return Dataset("d", **{**arrays, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_y": np.ones(3)}, "train_y of d must be a uint8 array, not float64"),
        ({"test_x": [[1, 2]] * 3}, "test_x of d must be a uint8 array, not list"),
        ({"test_x": np.ones(3, np.uint8)}, "test_x of d must have 2 dimensions, not 1"),
        ({"train_y": np.ones(2, np.uint8)}, "d has 3 train images, 2 labels"),
        (
            {"test_x": np.ones((3, 4), np.uint8)},
            "test_x of d must have 2 codes per image as train_x has, not 4",
        ),
        (
            {"test_x": np.ones((0, 2), np.uint8), "test_y": np.ones(0, np.uint8)},
            "d has no test images",
        ),
        (
            {"validation_x": np.full((3, 2), 128, np.uint8)},
            "validation_x of d must be in 0..127, not 128",
        ),
    ],
)
def test_unsound_data_sets_are_refused(changes, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        made(**changes)


def test_data_must_fit_the_network():
    made(test_y=np.full(3, 9, np.uint8)).check("n", 2, 10)
    with pytest.raises(DataError, match=r"^n needs 3 inputs; d has 2$"):
        made().check("n", 3, 10)
    message = r"^n has 10 outputs, for labels 0\.\.9; d has label 10$"
    with pytest.raises(DataError, match=message):
        made(test_y=np.full(3, 10, np.uint8)).check("n", 2, 10)


@pytest.mark.skipif("PHASECORE_DATA" not in os.environ, reason="PHASECORE_DATA is not set")
def test_the_real_mnist():
    mnist = load("mnist14")
    assert mnist.train_x.shape == (50_000, 196)
    assert mnist.validation_x.shape == (10_000, 196)
    assert np.bincount(mnist.test_y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
