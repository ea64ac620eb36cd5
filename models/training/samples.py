# SPDX-License-Identifier: Apache-2.0
"""Labelled images for trained networks, and what makes the values of a network's input of them."""

import tomllib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.ranges import code_limit
from phasecore.models.golden.arithmetic import Int
from phasecore.models.training.datasets import NAMES, DataError, load
from phasecore.models.training.own_data import read_arrays, read_labels
from phasecore.rtl.spec.instructions import Function

__all__ = ["CALIBRATION", "Preprocessing", "Samples", "read_samples"]

Real = NDArray[np.float64]

CALIBRATION = 200
"""Images that choose ranges, unless others do."""

LAYOUTS = ("HWC", "CHW")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Values of a network's input: (pixel * scale - mean) / std."""

    scale: float = 1.0

    mean: tuple[float, ...] = (0.0,)
    """Of every channel, or of all."""

    std: tuple[float, ...] = (1.0,)
    """Likewise."""

    layout: str = "HWC"
    """Order of the axes of an image in the data: HWC or CHW."""

    def __post_init__(self) -> None:
        if not 0 < abs(self.scale) < np.inf:
            raise ValueError(f"scale must be a number other than 0, not {self.scale}")
        if not self.std or min(self.std) <= 0:
            raise ValueError(f"std must be above 0, not {list(self.std)}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be {' or '.join(LAYOUTS)}, not {self.layout!r}")

    @classmethod
    def load(cls, path: Path) -> "Preprocessing":
        """From a TOML file with any of the fields; ``ValueError`` names what is wrong there."""
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
            known = [one.name for one in fields(cls)]
            for name in found:
                if name not in known:
                    raise ValueError(f"unknown field {name!r}; known: {', '.join(known)}")
            return cls(**{name: cls._read(name, value) for name, value in found.items()})
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @staticmethod
    def _read(name: str, value: Any) -> Any:
        if name == "layout":
            return value
        numbers = value if isinstance(value, list) else [value]
        if not all(type(one) in (int, float) and np.isfinite(one) for one in numbers):
            raise ValueError(f"{name} must be a number, or one by channel, not {value!r}")
        if name == "scale":
            if isinstance(value, list):
                raise ValueError(f"scale must be one number, not {value!r}")
            return float(value)
        return tuple(map(float, numbers))

    def values(self, images: NDArray[Any], shape: tuple[int, int, int], what: str) -> Real:
        """Values of images, shape (images, inputs), by row, column and channel.

        ``shape``: height, width and channels of the network's input.
        """
        height, width, channels = shape
        if not images.size or images[0].size != height * width * channels:
            raise DataError(
                f"{what} must be images of {height} x {width} x {channels}, not of shape"
                f" {images.shape}"
            )
        for name, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, channels):
                raise ValueError(
                    f"{name} must be one number, or {channels}, one by channel, not {len(given)}"
                )
        if self.layout == "CHW":
            frames = images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        else:
            frames = images.reshape(-1, height, width, channels)
        found: Real = (frames * self.scale - np.array(self.mean)) / np.array(self.std)
        return found.reshape(len(images), -1)


@dataclass(frozen=True)
class Samples:
    """Values of images to calibrate with, and of images to infer, shape (images, inputs)."""

    name: str
    calibration: Real
    images: Real
    labels: NDArray[np.uint8]

    @cached_property
    def code(self) -> float:
        """Value of an input code of 1, by the calibration images: their largest value is 127, or
        less if that lets the others have finer codes."""
        values = self.calibration.reshape(-1, 1)
        return float(code_limit(values, 0 * values, Function.IDENTITY, power=1)[0]) / ONE

    def codes(self, values: Real) -> NDArray[np.int8]:
        """Input codes of values; what is too large is saturated."""
        return np.rint(values / self.code).clip(-ONE, ONE).astype(np.int8)


def read_samples(
    source: str | Path, shape: tuple[int, int, int], given: Preprocessing, *, calibration: int,
    images: int | None, folder: Path | None = None,
) -> Samples:  # fmt: skip
    """Samples of a data set for a network's input.

    Parameters
    ----------
    source : name of a data set, or path: IDX files, folders of pictures by class, or an ``.npz``
        with ``x_test`` and ``y_test``, or ``x`` and ``y``, and perhaps ``x_train``
    shape : height, width and channels of the input; pictures are read in colour for 3
    calibration : images that choose ranges: of those for training, else of those for the test
    images : how many of the test; None takes all. Both are taken evenly from those that there are
    folder : of the MNIST files
    """
    if source in NAMES:
        data = load(str(source), folder)
        # Codes of the brightest pixel are 127.
        arrays: dict[str, NDArray[Any]] = {
            "x_train": data.train_x * (255 / ONE), "x_test": data.test_x * (255 / ONE),
            "y_test": data.test_y,
        }  # fmt: skip
        name = data.name
    else:
        path = Path(source)
        arrays, name = read_arrays(path, colour=shape[2] == 3), path.resolve().stem
    x, y = arrays["x_test"], read_labels(arrays["y_test"], f"{name}: labels")
    if len(x) != len(y):
        raise DataError(f"{name} has {len(x)} images, {len(y)} labels")
    if images is not None and images > len(x):
        raise ValueError(f"--images must be at most {len(x)} (images of {name}), not {images}")
    train = arrays.get("x_train", x)
    chosen = _spread(len(x), images or len(x))
    return Samples(
        name,
        given.values(train[_spread(len(train), calibration)], shape, f"{name}: images"),
        given.values(x[chosen], shape, f"{name}: images"), y[chosen],
    )  # fmt: skip


def _spread(present: int, wanted: int) -> Int:
    """Numbers of ``wanted`` images of those ``present``: folders have class after class."""
    count = min(present, wanted)
    found: Int = np.arange(count) * present // count
    return found
