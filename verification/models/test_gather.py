# SPDX-License-Identifier: Apache-2.0
"""GATHER of compiled chips: windows of whole frames by numpy, and the bits of the oracle."""

import numpy as np
import pytest

from phasecore.models.compiler.windows import LayerInput, window_object
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import ObjectDescriptor, Opcode, RouteDescriptor, encode
from phasecore.verification.cosim.random_windows import RandomWindows, windows_of
from phasecore.verification.models.same import (
    assert_same_chip,
    assert_same_results,
    assert_same_traces,
    configure,
)
from phasecore.verification.oracle.chip import Chip as OracleChip

CHIP = CHIPS["tiny"]
CORE = CHIP.core


def by_object(results):
    """Those of one object of the host in order of arrival, those of different ones by number."""
    return sorted(results, key=lambda result: result.slot)


@pytest.mark.parametrize("number", range(40))
def test_random_layers(number, seed):
    """Oracle, model and numpy agree, run after run."""
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    work = [RandomWindows(CHIP, 1000 * seed + number) for _ in chips]
    for chip, windows in zip(chips, work, strict=True):
        configure(chip, windows.objects, windows.routes)
    for _ in range(2):
        results = [
            by_object(chip.run(windows.programs(), windows.packets()))
            for chip, windows in zip(chips, work, strict=True)
        ]
        assert_same_results(*results)
        assert_same_chip(*chips)
        for node, core in chips[0].cores.items():
            assert_same_traces(core, chips[1].cores[node])
        for stage in range(2):
            found = [r.codes for r in results[1] if r.slot == stage]
            expected = work[1].expected(stage)
            assert np.array_equal(np.concatenate(found), np.concatenate(expected))
    faults = [node.faults for node in (*chips[1].interfaces.values(), chips[1].host)]
    assert not any(count for counted in faults for count in counted.values())
    assert not any(node.local.refused for node in chips[1].interfaces.values())


LAYERS = {
    "mnist 5x5, blocks of 2x2": LayerInput(
        height=28, width=28, channels=1, kernel=(5, 5), padding=(2, 2, 2, 2), block=(2, 2),
        packed=True,
    ),
    "5x5 over 6 channels": LayerInput(height=14, width=14, channels=6, kernel=(5, 5)),
    "3x3 over 96 channels": LayerInput(
        height=6, width=5, channels=96, kernel=(3, 3), padding=(1, 1, 1, 1)
    ),
    "7x7 over colours": LayerInput(
        height=20, width=100, channels=3, kernel=(7, 7), stride=(2, 2), padding=(3, 3, 2, 2),
        packed=True,
    ),
    "11x11 over colours": LayerInput(
        height=23, width=27, channels=3, kernel=(11, 11), stride=(4, 4), packed=True
    ),
    "largest of 3x3": LayerInput(
        height=8, width=9, channels=40, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1),
        largest=True,
    ),
    "fully connected": LayerInput(height=5, width=5, channels=16, kernel=(5, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_networks(name):
    """On the default chip: every tile of rows on the shortest ring, two frames after each other."""
    config, layer = CHIPS["default"], LAYERS[name]
    lines, rng = config.core.lines, np.random.default_rng(1)
    frames = rng.integers(-127, 128, (2, layer.height, layer.width, layer.channels))
    x, y = config.place(config.host)
    for first in range(0, layer.matrix_rows, lines):
        tile = first, min(first + lines, layer.matrix_rows)
        entry = window_object(config.core, layer, base=config.core.slot_words, tile=tile, x=x, y=y)
        chip = Chip(config, IDEAL, 1)
        credits_ = min(entry.depth, 255)
        chip.define_object(0, 0, entry)
        chip.define_route(config.host, 0, RouteDescriptor(object=0, x=0, y=0, credits=credits_))
        chip.define_route(0, 0, RouteDescriptor(object=0, x=x, y=y))
        chip.define_object(config.host, 0, ObjectDescriptor(x=0, y=0, route=0))
        program = []
        for row, col in layer.places:
            program += [
                encode(
                    Opcode.GATHER, object=0, destination=1, block=0, block_row=row, block_col=col,
                    largest=int(layer.largest),
                ),
                encode(
                    Opcode.SEND, route=0, partial=0, slot=1, first_line=0,
                    length=tile[1] - tile[0], merge=0, object=0,
                ),
            ]  # fmt: skip
        count = 2 * np.prod(layer.iterations)
        program += [
            encode(Opcode.RELEASE, objects=1),
            encode(Opcode.LOOP, counter=0, target=0, count=count), encode(Opcode.HALT),
        ]  # fmt: skip
        packets = [
            vector_packet(codes, config=config.core)
            for frame in frames for codes in layer.vectors(frame, config.core)
        ]  # fmt: skip
        found = np.concatenate([result.codes for result in chip.run({0: program}, packets)])
        expected = [windows_of(frame, layer, tile) for frame in frames]
        assert np.array_equal(found, np.concatenate(expected).reshape(-1))
