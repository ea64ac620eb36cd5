# SPDX-License-Identifier: Apache-2.0
"""Instructions and packets that mappings write alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ONE, Layer
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, Function, Opcode, encode

__all__ = [
    "LOOPED",
    "activate",
    "delta",
    "driven",
    "gather",
    "loop",
    "outer",
    "output_lines",
    "product",
    "repeat",
    "send",
    "send_sums",
    "target_packets",
    "vector",
]

LOOPED = 0xFFFF
"""Most passes of a loop."""


def product(opcode: Opcode, config: CoreConfig, *, segment: int, slot: int) -> int:
    """FORWARD or BACKWARD of a segment, with all input bits, signs and polarities."""
    return encode(
        opcode, segment=segment, slot=slot, precision=config.input_bits, input_signs=3,
        polarities=3,
    )  # fmt: skip


def activate(segment: int, function: Function, **values: int) -> int:
    """ACTIVATE of a segment; fields that are not given are 0."""
    unused = dict.fromkeys(
        (
            "axis", "from_slot", "slot", "accumulate", "shift", "affine", "table", "destination",
            "destination_line",
        ),
        0,
    )  # fmt: skip
    return encode(Opcode.ACTIVATE, segment=segment, function=function, **unused | values)


def delta(recipe: Recipe, layer: int, **values: int) -> int:
    """DELTA that makes a layer's delta vector on its columns; see :func:`activate`.

    Unless the values say otherwise the layer is a sigmoid one, and its lines are where they are.
    """
    unused = dict.fromkeys(("axis", "source", "slot"), 0)
    unused |= {
        "function": Function.SIGMOID, "destination_line": recipe.network.layers[layer].col_start,
    }  # fmt: skip
    return encode(
        Opcode.DELTA, bias=recipe.biases[layer], **recipe.network.training.delta_fields,
        **unused | values,
    )  # fmt: skip


def outer(segment: int, *, slot: int, delta: int) -> int:
    """OUTER of input slot and delta slot, and the pulses that are due."""
    return encode(Opcode.OUTER, segment=segment, slot=slot, delta=delta, transfer=1)


def gather(
    object_: int, destination: int, row: int = 0, col: int = 0, *, block: int = 0,
    largest: bool = False,
) -> int:  # fmt: skip
    """GATHER of the window at (row, col) of a block of positions, or of the largest of its pixels,
    into a slot, from the first line of a ``block`` of lines on."""
    return encode(
        Opcode.GATHER, object=object_, destination=destination, block=block, block_row=row,
        block_col=col, largest=int(largest),
    )  # fmt: skip


def send(route: int, slot: int, *, first_line: int = 0, length: int) -> int:
    """SEND of lines of a slot."""
    return encode(
        Opcode.SEND, route=route, partial=0, slot=slot, first_line=first_line, length=length,
        merge=0, object=0,
    )  # fmt: skip


def send_sums(route: int, *, first_line: int = 0, length: int, behind: int | None = None) -> int:
    """SEND of the accumulators as partial sums, of which those of object ``behind`` come first."""
    return encode(
        Opcode.SEND, route=route, partial=1, slot=0, first_line=first_line, length=length,
        merge=int(behind is not None), object=behind or 0,
    )  # fmt: skip


def loop(count: int, *, counter: int = 0, target: int = 0) -> list[int]:
    """Back to ``target`` until what is from there to here has run ``count`` times."""
    if count < 2:
        return []
    return [encode(Opcode.LOOP, counter=counter, target=target, count=count)]


def repeat(program: list[int], body: Sequence[int], count: int) -> None:
    """Append ``body``, run ``count`` times, with loop counters 0 and 3."""
    whole, rest = divmod(count, LOOPED)
    for passes, times in ((rest, 1), (LOOPED, whole)):
        if passes and times:
            target = len(program)
            program += body
            program += loop(passes, target=target)
            program += loop(times, counter=3, target=target)


def vector(line: int, codes: NDArray[np.int64], config: CoreConfig, *, slot: int = 0) -> bytes:
    """Packet of ``codes`` for ``line`` and up, with zeros before to the start of a group."""
    skipped = line % GROUP
    padded = np.pad(codes, (skipped, 0))
    return vector_packet(padded, config=config, start=line - skipped, slot=slot)


def target_packets(recipe: Recipe, *, slot: int = 0) -> list[bytes]:
    """Packet of the target codes by label."""
    layer = recipe.network.layers[-1]
    codes = recipe.network.training.targets(layer.outputs)
    return [vector(layer.col_start, row, recipe.config, slot=slot) for row in codes]


def driven(images: NDArray[np.uint8], inputs: int) -> NDArray[np.uint8]:
    """Codes of a first layer's rows by image: its ``inputs``, then the bias code."""
    if images.ndim != 2 or images.shape[1] != inputs:
        raise ValueError(f"images must have shape (images, {inputs}), not {tuple(images.shape)}")
    return np.pad(images, ((0, 0), (0, 1)), constant_values=ONE)


def output_lines(layer: Layer) -> tuple[int, int]:
    """First line, at the start of a group, and number of the lines that show a layer's outputs."""
    start = layer.col_start // GROUP * GROUP
    return start, layer.col_start + layer.outputs - start
