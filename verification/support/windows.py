# SPDX-License-Identifier: Apache-2.0
"""Random windows of random objects, for the golden kernels and for the bench of the window unit."""

from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

from phasecore.models.engine.jit import records
from phasecore.models.engine.programs import INSTRUCTION
from phasecore.models.golden.noc import OBJECT, fill
from phasecore.models.golden.window import WINDOW, place
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import BLOCK_MAX, ObjectDescriptor

__all__ = ["Case", "random_case", "window_at"]


class Case(NamedTuple):
    """A GATHER (its fields) of an object at an iteration, and the same for the oracle.

    Of an object of sums a SCATTER, whose slot is the ``destination``.
    """

    descriptor: ObjectDescriptor
    fields: dict[str, int]
    iteration: dict[str, int]
    oracle: dict[str, Any]

    def window(self, config: CoreConfig) -> Any:
        """Record of the window."""
        return window_at(config, self.descriptor, self.fields, **self.iteration)


def window_at(
    config: CoreConfig, descriptor: ObjectDescriptor, gather: Mapping[str, int], *,
    row: int = 0, col: int = 0, frame: int = 0,
) -> Any:  # fmt: skip
    """Record of a GATHER (its fields, 0 if not given) at an iteration, as the kernels have it."""
    entry, instruction, window = (records(1, kind)[0] for kind in (OBJECT, INSTRUCTION, WINDOW))
    fill(entry, descriptor, config)
    entry["row"], entry["col"], entry["frame_number"] = row, col, frame
    for name, value in gather.items():
        instruction[name] = value
    place(window, entry, instruction, instruction.destination, config.lines, config.post_lanes)
    return window


def random_case(rng: Random, config: CoreConfig, *, sums: bool = False) -> Case:
    """One that the ring holds: packed rows, the largest of pixels, or a copy of any row tile.

    Of ``sums`` the last.
    """
    while True:
        case = _case(rng, config, sums=sums)
        try:
            case.descriptor.check(config)
            check = case.descriptor.check_scatter if sums else case.descriptor.check_gather
            check(config, case.fields)
        except ValueError:
            # A tile, a block or a ring that does not go with the others.
            continue
        return case


def _case(rng: Random, config: CoreConfig, *, sums: bool) -> Case:
    lanes, low = config.post_lanes, config.blocks if sums else 0
    words = config.accumulator_words if sums else config.memory_words
    kind = "copy" if sums else rng.choice(["packed", "largest", "copy", "copy"])
    shape = _packed(rng) if kind == "packed" else _pixels(rng, config, largest=kind == "largest")
    size = rng.randint(1, min(words - low, 1 + 6 * config.blocks))
    ring = size * lanes
    window = _tile(rng, config, shape, largest=kind == "largest")
    row_bytes, zero = shape["row_bytes"], 8 * rng.randrange(ring // 8)
    top = shape["padding_row"] - window["first"][0]
    frame_step = 0 if sums else rng.randrange(ring)
    iteration = {name: rng.randrange(8) for name in ("row", "col", "frame")}
    descriptor = ObjectDescriptor(
        base=rng.choice([words - size, rng.randint(low, words - size)]), size=size,
        sums=int(sums), cursor=int(sums),
        height=shape["height"], width=shape["width"], packed=int(kind == "packed"),
        out_height=8, out_width=8, padding_row=top, padding_col=shape["padding_col"],
        stride_row=shape["stride_row"], stride_col=shape["stride_col"],
        kernel_height=window["rows"] + BLOCK_MAX, kernel_width=window["cols"] + BLOCK_MAX,
        segment=shape["segment"], first_col=window["first"][1],
        **{name: window[name] for name in ("rows", "cols", "skip", "count")},
        pixel_pitch=shape["pitch"], row_pitch=row_bytes % ring,
        origin=(
            zero - top * row_bytes + (window["first"][1] - shape["padding_col"]) * shape["pitch"]
        ) % ring,
        col_step=shape["col_step"] % ring, row_step=shape["stride_row"] * row_bytes % ring,
        frame_step=frame_step,
    )  # fmt: skip
    block = rng.choice([(0, 0), (rng.randint(0, 2), rng.randint(0, 2))])
    fields = {
        "object": 0, "destination": rng.randrange(config.slots),
        "block": rng.randrange(config.blocks), "block_row": block[0], "block_col": block[1],
        "largest": int(kind == "largest"),
    }  # fmt: skip
    start, row, col = fields["block"] * lanes, iteration["row"], iteration["col"]
    along = shape["col_step"] if kind == "packed" else 0
    oracle = {
        "origin": zero + iteration["frame"] * frame_step + col * along,
        "frame": (shape["height"], shape["width"]),
        "pixel": (
            row * shape["stride_row"] - shape["padding_row"] + block[0],
            col * shape["stride_col"] - shape["padding_col"] + block[1],
        ),
        "pitches": (row_bytes, shape["pitch"]),
        "kernel": shape["kernel"],
        "segment": shape["segment"],
        "first": window["first"],
        "skip": window["skip"],
        "start": start,
        "count": min(window["count"], config.lines - start),
        "largest": kind == "largest",
    }
    return Case(descriptor, fields, iteration, oracle)


def _tile(
    rng: Random, config: CoreConfig, shape: Mapping[str, Any], *, largest: bool
) -> dict[str, Any]:
    """Part of a window's rows, or of the channels that are compared."""
    (rows, cols), segment = shape["kernel"], shape["segment"]
    whole = segment if largest else rows * cols * segment
    before = rng.choice([0, rng.randrange(whole)])
    first, skip = divmod(before, segment)
    most = min(config.lines, whole - before)
    count = rng.choice([most, most, rng.randint(1, most)])
    return {
        "first": divmod(first, cols), "rows": rows - first // cols, "cols": cols, "skip": skip,
        "count": count,
    }  # fmt: skip


def _pixels(rng: Random, config: CoreConfig, *, largest: bool) -> dict[str, Any]:
    """An object of pixels with all their channels."""
    side = rng.choice([1, 2, 3, 5])
    kernel = rng.choice([(side, side), (rng.randint(1, 5), rng.randint(1, 7))])
    segment = rng.choice([1, 3, 6, 8, 16, 24, 32, 48, 64, 96, 128, 200, 256, 512])
    segment = min(segment, 2 * config.lines)
    # Windows begin and end within the padding, or lie in it.
    padding = rng.choice([0, 1, 2, kernel[0]])
    pitch, stride_col = rng.choice([-(-segment // 8) * 8, segment, segment + 8]), rng.randint(1, 3)
    width = rng.randint(1, 8)
    return {
        "height": rng.randint(1, 8), "width": width, "segment": segment, "pitch": pitch,
        "row_bytes": width * pitch, "kernel": kernel, "padding_row": padding,
        "padding_col": padding, "stride_row": rng.randint(1, 3), "stride_col": stride_col,
        "col_step": stride_col * pitch,
    }  # fmt: skip


def _packed(rng: Random) -> dict[str, Any]:
    """Rows of an image as pixels: a position is some bytes further in every row."""
    channels, side, stride = rng.choice([1, 3]), rng.choice([3, 5, 7]), rng.randint(1, 2)
    return {
        "height": rng.randint(side, 12), "width": 8, "segment": side * channels,
        "pitch": channels, "row_bytes": -(-28 * channels // 8) * 8, "kernel": (side, 1),
        "padding_row": rng.randint(0, 2), "padding_col": 0, "stride_row": stride,
        "stride_col": 0, "col_step": stride * channels,
    }  # fmt: skip
