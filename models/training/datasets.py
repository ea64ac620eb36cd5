# SPDX-License-Identifier: Apache-2.0
"""Training data as input codes: MNIST, whole or pooled to 14 x 14, or scikit-learn's digits."""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DATA_VARIABLE",
    "MNIST_FILES",
    "NAMES",
    "DataError",
    "Dataset",
    "MnistFile",
    "idx_content",
    "load",
    "order",
    "pool",
    "read_idx",
    "whole",
]

DATA_VARIABLE = "PHASECORE_DATA"
"""Environment variable that names the folder of the MNIST files."""

CODE_MAX = 127
"""Input code of a fully bright pixel."""

MNIST_VALIDATION = 10_000
"""Last training images of MNIST, kept for choosing hyper-parameters."""

DIGITS_SEED = 20_190
"""Seed of the one shuffle that splits the digits; the split is the same everywhere."""

DIGITS_HELD_OUT = 300
"""Images of the digits' validation part, and as many of its test part."""

_CODE_OF_SUM = ((np.arange(4 * 255 + 1) * CODE_MAX + 510) // 1020).astype(np.uint8)
"""Code of the mean of four pixels, by their sum."""

_CODE_OF_PIXEL = ((np.arange(256) * 2 * CODE_MAX + 255) // 510).astype(np.uint8)
"""Code of one pixel."""

NAMES = ("mnist14", "digits", "digits48", "digits8", "digits28", "mnist")


class DataError(ValueError):
    """Data files are missing, damaged or not what they should be."""


@dataclass(frozen=True)
class MnistFile:
    """One idx file: ``shape`` of its content and checksums of the .gz and of what it holds."""

    name: str
    shape: tuple[int, ...]
    md5_gz: str
    sha256_gz: str
    sha256: str


MNIST_FILES: Mapping[str, MnistFile] = {
    "train_x": MnistFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train_y": MnistFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        "d53e105ee54ea40749a09fcbcd1e9432",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test_x": MnistFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "9fb629c4189551a2d022fa330f9573f3",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test_y": MnistFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "ec29112dd5afa0611ce80d1b7f02629c",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 codes 0..127, shape (images, inputs), and their uint8 labels.

    Only the validation part may be empty.
    """

    name: str
    train_x: NDArray[np.uint8]
    train_y: NDArray[np.uint8]
    validation_x: NDArray[np.uint8]
    validation_y: NDArray[np.uint8]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            for name, array, rank in ((f"{part}_x", x, 2), (f"{part}_y", y, 1)):
                if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
                    kind = getattr(array, "dtype", type(array).__name__)
                    raise DataError(f"{name} of {self.name} must be a uint8 array, not {kind}")
                if array.ndim != rank:
                    raise DataError(
                        f"{name} of {self.name} must have {rank} dimensions, not {array.ndim}"
                    )
            if len(x) != len(y):
                raise DataError(f"{self.name} has {len(x)} {part} images, {len(y)} labels")
            if x.shape[1] != self.inputs:
                raise DataError(
                    f"{part}_x of {self.name} must have {self.inputs} codes per image as train_x"
                    f" has, not {x.shape[1]}"
                )
            if not x.size and part != "validation":
                raise DataError(f"{self.name} has no {part} images")
            if x.size and x.max() > CODE_MAX:
                raise DataError(f"{part}_x of {self.name} must be in 0..{CODE_MAX}, not {x.max()}")

    @property
    def inputs(self) -> int:
        """Codes of one image."""
        return int(self.train_x.shape[1])

    def check(self, network: str, inputs: int, outputs: int) -> None:
        """Raise :class:`DataError` unless the images and their labels fit a network."""
        if self.inputs != inputs:
            raise DataError(f"{network} needs {inputs} inputs; {self.name} has {self.inputs}")
        labels = (self.train_y, self.validation_y, self.test_y)
        largest = max(int(part.max()) for part in labels if part.size)
        if largest >= outputs:
            raise DataError(
                f"{network} has {outputs} outputs, for labels 0..{outputs - 1}; {self.name} has"
                f" label {largest}"
            )

    def checksum(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all images and labels; the validation
        images may be merged or not."""
        digest = hashlib.sha256()
        for array in (
            self.train_x, self.validation_x, self.train_y, self.validation_y, self.test_x,
            self.test_y,
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def merged(self) -> "Dataset":
        """The same with the validation images behind the training images, and none to validate."""
        return replace(
            self,
            train_x=np.concatenate([self.train_x, self.validation_x]),
            train_y=np.concatenate([self.train_y, self.validation_y]),
            validation_x=self.validation_x[:0],
            validation_y=self.validation_y[:0],
        )


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Load ``mnist`` or ``mnist14`` from ``data_dir`` (default: the folder in PHASECORE_DATA),
    or ``digits``.

    For small crossbars there are ``digits48``, the digits without their first and last column,
    and ``digits8``, the mean of every row of pixels. ``digits28`` stands in for ``mnist`` where
    that is not to be had: every pixel three by three times, in a dark frame of two, 28 x 28.

    MNIST files may be compressed (.gz) or not; their content must have the known checksum.
    """
    if name in _DIGITS:
        return _digits(name)
    if name in _MNIST:
        return _mnist(name, _mnist_folder(data_dir))
    raise DataError(f"unknown data set {name!r}; known: {', '.join(NAMES)}")


def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order in which ``count`` training images are seen in an epoch of a run."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def read_idx(content: bytes, shape: tuple[int | None, ...], source: str) -> NDArray[np.uint8]:
    """Array of unsigned bytes of an idx file; its magic, shape and length are checked.

    A size that is None may be any.
    """
    header = 4 + 4 * len(shape)
    magic = bytes([0, 0, 8, len(shape)])
    if content[:4] != magic:
        raise DataError(f"{source} has magic {content[:4].hex()}, not {magic.hex()}")
    if len(content) < header:
        raise DataError(f"{source} ends within its header")
    found = tuple(int(size) for size in np.frombuffer(content[4:header], dtype=">u4"))
    if any(size not in (None, here) for size, here in zip(shape, found, strict=True)):
        raise DataError(f"{source} has shape {found}, not {shape}")
    if len(content) - header != math.prod(found):
        raise DataError(f"{source} has {len(content) - header} data bytes, not {math.prod(found)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(found)


def pool(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2 x 2 pixels of 28 x 28 images as codes 0..127, shape (images, 196)."""
    rows = images[:, ::2].astype(np.uint16) + images[:, 1::2]
    sums = rows[:, :, ::2] + rows[:, :, 1::2]
    return _CODE_OF_SUM[sums].reshape(-1, 196)


def whole(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels of images as codes 0..127, shape (images, pixels)."""
    return _CODE_OF_PIXEL[images].reshape(len(images), -1)


def _mnist_folder(data_dir: str | Path | None) -> Path:
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    if not chosen:
        raise DataError(
            f"no MNIST folder: give --data DIR or set {DATA_VARIABLE};"
            " `phasecore fetch mnist --out DIR` downloads the files"
        )
    folder = Path(chosen)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"MNIST folder {folder} {what}")
    return folder


def _content(folder: Path, file: MnistFile) -> bytes:
    """Decompressed content of ``file``, whichever form of it is there."""
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.exists():
            return idx_content(path)
    raise DataError(f"{file.name} (or {file.name}.gz) is missing in {folder}")


def idx_content(path: Path) -> bytes:
    """Content of an idx file, decompressed if its name ends in .gz."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _mnist(name: str, folder: Path) -> Dataset:
    coded = _MNIST[name]
    arrays = {}
    for key, file in MNIST_FILES.items():
        content = _content(folder, file)
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise DataError(
                f"{file.name} has sha256 {found[:16]}..., not {file.sha256[:16]}... of MNIST:"
                f" --dataset {folder} trains on data of one's own"
            )
        arrays[key] = read_idx(content, file.shape, file.name)
    train_x, train_y = coded(arrays["train_x"]), arrays["train_y"]
    return Dataset(
        name,
        train_x[:-MNIST_VALIDATION],
        train_y[:-MNIST_VALIDATION],
        train_x[-MNIST_VALIDATION:],
        train_y[-MNIST_VALIDATION:],
        coded(arrays["test_x"]),
        arrays["test_y"],
    )


_MNIST: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "mnist14": pool,
    "mnist": whole,
}
"""Codes from 28 x 28 images, by data set."""


_DIGITS: Mapping[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "digits": lambda images: images.reshape(-1, 64),
    "digits48": lambda images: images[:, :, 1:-1].reshape(-1, 48),
    "digits8": lambda images: images.mean(axis=2).round().astype(np.int64),
    "digits28": lambda images: np.pad(
        np.kron(images, np.ones((1, 3, 3), dtype=np.int64)), ((0, 0), (2, 2), (2, 2))
    ).reshape(-1, 784),
}
"""Inputs in 1/16 from 8 x 8 images, by data set."""


def _digits(name: str) -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    shuffled = np.random.Generator(np.random.PCG64(DIGITS_SEED)).permutation(len(images))
    pixels = _DIGITS[name](images.reshape(-1, 8, 8).astype(np.int64))
    codes = ((pixels * CODE_MAX + 8) // 16).astype(np.uint8)[shuffled]
    classes = labels.astype(np.uint8)[shuffled]
    train = len(images) - 2 * DIGITS_HELD_OUT
    validation = slice(train, train + DIGITS_HELD_OUT)
    test = slice(train + DIGITS_HELD_OUT, None)
    return Dataset(
        name,
        codes[:train],
        classes[:train],
        codes[validation],
        classes[validation],
        codes[test],
        classes[test],
    )
