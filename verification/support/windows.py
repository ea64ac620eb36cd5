# SPDX-License-Identifier: Apache-2.0
"""Random windows of random objects, for the golden kernel and for the bench of the window unit."""

from random import Random
from typing import Any, NamedTuple

from phasecore.models.golden.window import Window

__all__ = ["Case", "Geometry", "random_case"]


class Geometry(NamedTuple):
    """Vector memory: lines of a slot, bytes and number of its words, slots at its front."""

    lines: int
    lanes: int
    words: int
    slots: int


class Case(NamedTuple):
    """A window, the position at which it is gathered, and the same for the oracle."""

    window: Window
    position: dict[str, Any]
    oracle: dict[str, Any]


def random_case(rng: Random, geometry: Geometry) -> Case:
    """One that the ring holds: packed rows, the largest of pixels, or a copy of any row tile."""
    while True:
        try:
            return _case(rng, geometry)
        except ValueError:
            # A tile or a position that this ring does not hold.
            continue


def _case(rng: Random, geometry: Geometry) -> Case:
    lines, lanes, words, slots = geometry
    kind = rng.choice(["packed", "largest", "copy", "copy"])
    shape = _packed(rng) if kind == "packed" else _pixels(rng, lines, largest=kind == "largest")
    block = rng.choice([(0, 0), (rng.randint(0, 2), rng.randint(0, 2))])
    size = rng.randint(1, min(words - slots * lines // lanes, 1 + 6 * lines // lanes))
    base = rng.choice([words - size, rng.randint(0, words - size)])
    free = [
        slot for slot in range(slots)
        if (slot + 1) * lines <= base * lanes or slot * lines >= (base + size) * lanes
    ]  # fmt: skip
    start = lanes * rng.randrange(lines // lanes)
    segment, kernel = shape["segment"], (shape["rows"], shape["cols"])
    whole = segment if kind == "largest" else segment * kernel[0] * kernel[1]
    before = rng.choice([0, rng.randrange(whole)])
    pixel, skip = divmod(before, segment)
    first = divmod(pixel, kernel[1])
    most = min(lines - start, whole - before)
    count = rng.choice([most, most, rng.randint(1, most)])
    row_pitch = shape.pop("row_bytes") % (size * lanes)
    window = Window(
        **shape, row_pitch=row_pitch, ring_base=base * lanes, ring_size=size * lanes,
        origin=rng.randrange(size * lanes // 8) * 8, first_row=first[0], first_col=first[1],
        skip=skip, count=count, largest=kind == "largest",
    )  # fmt: skip
    row, col = rng.randrange(8), rng.randrange(8)
    position = {
        "row": row, "col": col, "slot": rng.choice(free or [None]), "start": start, "block": block,
    }  # fmt: skip
    if position["slot"] is None:
        raise ValueError("the ring covers all slots")
    window.at(**position)
    step = 0 if window.col_step is None else window.col_step
    oracle = {
        "origin": window.origin + col * step,
        "frame": (window.height, window.width),
        "pixel": (
            row * window.stride_row - window.padding_row + block[0],
            col * window.stride_col - window.padding_col + block[1],
        ),
        "pitches": (row_pitch, window.pitch),
        "kernel": kernel,
        **{name: getattr(window, name) for name in ("segment", "skip", "count", "largest")},
        "first": first,
        "start": start,
    }
    return Case(window, position, oracle)


def _pixels(rng: Random, lines: int, *, largest: bool) -> dict[str, Any]:
    """An object of pixels with all their channels."""
    side = rng.choice([1, 2, 3, 5])
    rows, cols = rng.choice([(side, side), (rng.randint(1, 5), rng.randint(1, 7))])
    segment = rng.choice([1, 3, 6, 8, 16, 24, 32, 48, 64, 96, 128, 200, 256, 512])
    segment = min(segment, 2 * lines)
    # Windows begin and end within the padding, or lie in it.
    padding = rng.choice([0, 1, 2, rows])
    pitch = rng.choice([-(-segment // 8) * 8, segment, segment + 8])
    height = max(rng.randint(1, 8), rows - 2 * padding)
    width = max(rng.randint(1, 8), cols - 2 * padding)
    return {
        "height": height, "width": width, "segment": segment, "pitch": pitch,
        "row_bytes": width * pitch, "rows": rows, "cols": cols, "padding_row": padding,
        "padding_col": padding, "stride_row": rng.randint(1, 3), "stride_col": rng.randint(1, 3),
    }  # fmt: skip


def _packed(rng: Random) -> dict[str, Any]:
    """Rows of an image as pixels: a position is some bytes further in every row."""
    channels, side, stride = rng.choice([1, 3]), rng.choice([3, 5, 7]), rng.randint(1, 2)
    return {
        "height": rng.randint(side, 12), "width": 8, "segment": side * channels,
        "pitch": stride * channels, "row_bytes": -(-28 * channels // 8) * 8,
        "rows": side, "cols": 1, "stride_row": stride, "stride_col": 0,
        "padding_row": rng.randint(0, 2), "padding_col": 0, "col_step": stride * channels,
    }  # fmt: skip
