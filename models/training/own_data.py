# SPDX-License-Identifier: Apache-2.0
"""Training data of one's own as input codes: IDX files, an .npz file or folders of pictures."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import Network
from phasecore.models.training.datasets import (
    DataError,
    Dataset,
    idx_content,
    load,
    pool,
    read_idx,
    whole,
)

__all__ = ["ACCEPTED", "load_for", "load_own", "read_arrays", "read_labels"]

ACCEPTED = (
    "a folder of the four IDX files of MNIST's format (Fashion-MNIST, EMNIST; .gz or not) or one of"
    " them, an .npz file with x_train, y_train and perhaps x_test, y_test, or a folder with one"
    " folder of pictures per class, perhaps in folders train and test"
)
"""What :func:`load_own` takes, in words."""

SPLIT_SEED = 20_260
"""Seed of the one shuffle that splits the data; the split is the same everywhere."""

HELD_OUT = 6
"""One in so many training images is kept for validation, and as many if there is no test set."""

_IDX_NAMES = {
    "x_train": ("train-images-idx3-ubyte",),
    "y_train": ("train-labels-idx1-ubyte",),
    "x_test": ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte"),
    "y_test": ("t10k-labels-idx1-ubyte", "test-labels-idx1-ubyte"),
}
"""How the names of IDX files end, but for .gz."""

PLAIN = {"x": "x_test", "y": "y_test"}
"""Arrays of an ``.npz`` file of images that are all for the test."""

_GREY_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's pixels of at most 8 bits per colour."""

Parts = dict[str, NDArray[np.generic]]


def load_for(
    network: Network, dataset: Dataset | str | Path | None = None, folder: Path | None = None
) -> Dataset:
    """Data set for a network: its own, or one of ``NAMES``, a path (``ACCEPTED``) or the data.

    ``folder`` holds the MNIST files; None: where the environment says. ``ValueError`` if the data
    do not fit the network.
    """
    if isinstance(dataset, Path):
        data = load_own(dataset, network.inputs)
    elif isinstance(dataset, Dataset):
        data = dataset
    elif not (name := dataset or network.dataset):
        raise ValueError(f"{network.name} has no data set of its own: --dataset names one")
    else:
        data = load(name, folder)
    data.check(network.name, network.inputs, network.layers[-1].outputs)
    return data


def load_own(path: Path, inputs: int, *, colour: bool = False) -> Dataset:
    """Data set in a file or folder, as codes for ``inputs`` inputs; see ``ACCEPTED``.

    Pixels are unsigned bytes, 255 being the code 127; pictures become grey, or have three bytes a
    pixel with ``colour``, none is enlarged or cut. 28 x 28 pixels make 784 inputs, or 196 by the
    mean of 2 x 2. Training images are shuffled once, then a sixth is kept for validation, and
    another for the test if there are no test images.
    """
    arrays = _read(path, colour=colour)
    for key in ("x_train", "x_test"):
        if key in arrays:
            arrays[key] = _codes(arrays[key], inputs, f"{path}: {key}")
    for key in ("y_train", "y_test"):
        if key in arrays:
            arrays[key] = read_labels(arrays[key], f"{path}: {key}")
    for part in ("train", "test"):
        images, labels = (len(arrays.get(f"{kind}_{part}", ())) for kind in "xy")
        if images != labels:
            raise DataError(f"{path}: {part} has {images} images, {labels} labels")
    return _split(path.resolve().name.removesuffix(".npz"), arrays)


def read_arrays(path: Path, *, colour: bool = False) -> Parts:
    """x_test, y_test and perhaps x_train, y_train as they are in the files.

    Without a part for the test, all images are for it. ``colour``: pictures have three channels.
    """
    found = _read(path, colour=colour, tests=True)
    if "x_test" not in found:
        return {"x_test": found["x_train"], "y_test": found["y_train"]}
    return found


def _read(path: Path, *, colour: bool = False, tests: bool = False) -> Parts:
    """Arrays of x_train, y_train and perhaps x_test, y_test as they are in the files."""
    if path.is_file() and path.suffix == ".npz":
        return _npz(path, tests=tests)
    prefix = _prefix(path) if path.is_file() else None
    if prefix is None and not path.is_dir():
        what = "is a file of another kind" if path.exists() else "does not exist"
        raise DataError(f"data set {path} {what}; accepted: {ACCEPTED}")
    if found := _idx_files(path if prefix is None else path.parent, prefix):
        ranks = {key: 3 if key.startswith("x") else 1 for key in found}
        return {
            key: read_idx(idx_content(file), (None,) * ranks[key], str(file))
            for key, file in found.items()
        }
    return _pictures(path, colour=colour)


def _prefix(path: Path) -> str | None:
    """What the name of an IDX file begins with before the names of MNIST's; None of another."""
    name = path.name.removesuffix(".gz")
    endings = [ending for endings in _IDX_NAMES.values() for ending in endings]
    return next((name.removesuffix(end) for end in endings if name.endswith(end)), None)


def _idx_files(folder: Path, prefix: str | None) -> dict[str, Path]:
    """IDX files of a folder by array, either all four or none; those with a prefix if given."""
    found = {}
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if prefix is not None:
        paths = [path for path in paths if _prefix(path) == prefix]
    for key, endings in _IDX_NAMES.items():
        fitting = [path for path in paths if path.name.removesuffix(".gz").endswith(endings)]
        if len({path.name.removesuffix(".gz") for path in fitting}) > 1:
            files = ", ".join(path.name for path in fitting)
            raise DataError(f"{folder} has several data sets: name one of {files}")
        if fitting:
            found[key] = fitting[0]
    if missing := [_IDX_NAMES[key][0] for key in _IDX_NAMES if found and key not in found]:
        raise DataError(f"{missing[0]} (or {missing[0]}.gz) is missing in {folder}")
    return found


def _npz(path: Path, *, tests: bool) -> Parts:
    """Arrays of a file; with ``tests`` images for the test are enough, which may be ``PLAIN``."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = stored.files
            arrays = {key: stored[key] for key in _IDX_NAMES if key in names}
            if tests and not arrays and set(PLAIN) <= set(names):
                arrays = {key: stored[name] for name, key in PLAIN.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    parts = {key.partition("_")[2] for key in arrays}
    needed = parts if tests and parts else parts | {"train"}
    for key in _IDX_NAMES:
        if key not in arrays and key.partition("_")[2] in needed:
            raise DataError(f"{path} has no array {key}, only {', '.join(names) or 'none'}")
    return arrays


def _pictures(folder: Path, *, colour: bool) -> Parts:
    """Pictures in folders by class; the classes of train and test are the same."""
    roots = {part: folder / part for part in ("train", "test") if (folder / part).is_dir()}
    if "train" not in roots:
        roots = {"train": folder}
    classes = _class_names(roots["train"])
    arrays: Parts = {}
    for part, root in roots.items():
        if _class_names(root) != classes:
            raise DataError(f"{root} has other class folders than {roots['train']}")
        by_class = [_files(root / name) for name in classes]
        if not any(by_class):
            raise DataError(f"{root} has no pictures in folders; accepted: {ACCEPTED}")
        arrays[f"y_{part}"] = np.repeat(np.arange(len(classes)), [len(files) for files in by_class])
        arrays[f"x_{part}"] = _stack([file for files in by_class for file in files], colour=colour)
    return arrays


def _class_names(root: Path) -> list[str]:
    """Names of the class folders, numbers in their order; the place is the label."""
    names = [path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]


def _stack(files: list[Path], *, colour: bool) -> NDArray[np.uint8]:
    """Pictures of one size, shape (pictures, height, width), in colour with a last axis of 3."""
    images = [_picture(file, colour=colour) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{file} has {_size(image.shape[:2])} pixels, {files[0]}"
                f" {_size(images[0].shape[:2])}: all pictures must have the same"
            )
    return np.stack(images)


def _picture(path: Path, *, colour: bool) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in _GREY_MODES:
                raise DataError(f"{path} has pixels of mode {image.mode}, not of 8 bits")
            return np.asarray(image.convert("RGB" if colour else "L"))
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a picture that Pillow knows") from None
    except (OSError, SyntaxError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _codes(images: NDArray[np.generic], inputs: int, what: str) -> NDArray[np.uint8]:
    """Codes of images, shape (images, inputs)."""
    if images.dtype != np.uint8:
        raise DataError(f"{what} must be unsigned bytes (uint8, 0..255), not {images.dtype}")
    shape = images.shape[1:]
    in_colour = images.ndim == 4 and shape[-1] == 3
    if not (images.ndim in (2, 3) or in_colour) or not images.size:
        raise DataError(
            f"{what} must be of shape (images, height, width), with 3 behind it in colour, or"
            f" (images, pixels), not {images.shape}"
        )
    if inputs == 196 and shape == (28, 28):
        return pool(images.astype(np.uint8))
    if np.prod(shape) != inputs:
        side = round(inputs**0.5)
        square = f" ({side} x {side})" if side * side == inputs else ""
        raise DataError(
            f"{what} has images of {_size(shape)} pixels, the network needs {inputs}{square}:"
            " they are not scaled"
        )
    return whole(images.astype(np.uint8))


def read_labels(labels: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    """Classes of images, 0 .. 255, in bytes; ``DataError`` names ``what`` they are."""
    if labels.dtype.kind not in "iu":
        raise DataError(f"{what} must be integers, not {labels.dtype}")
    if labels.ndim != 1:
        raise DataError(f"{what} must be one class per image, not of shape {labels.shape}")
    numbers = labels.astype(np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= 255:
        raise DataError(f"{what} must be in 0..255, not {numbers.min()}..{numbers.max()}")
    return numbers.astype(np.uint8)


def _split(name: str, arrays: Parts) -> Dataset:
    """Shuffle the training images and keep some of them."""
    x, y = (np.asarray(arrays[key], dtype=np.uint8) for key in ("x_train", "y_train"))
    shuffled = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(x))
    x, y = x[shuffled], y[shuffled]
    kept = len(x) // HELD_OUT
    test_x, test_y = x[:0], y[:0]
    if "x_test" in arrays:
        test_x, test_y = (np.asarray(arrays[key], np.uint8) for key in ("x_test", "y_test"))
    else:
        x, test_x = np.split(x, [len(x) - kept])
        y, test_y = np.split(y, [len(y) - kept])
    if not kept or not len(test_x):
        raise DataError(f"{name} has too few images: {len(shuffled)} to train on")
    return Dataset(name, x[:-kept], y[:-kept], x[-kept:], y[-kept:], test_x, test_y)
