# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks on cores with feature maps between them (docs/convolution.md).

Every layer has cores of its own, which its rows are dealt out over. What walks the feature maps
(``models/golden/conv_cores.py``) is no RTL yet; it has the cores carry out single instructions,
which are in the programs of a job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import ConvLayer, ConvNetwork, check_layers
from phasecore.models.compiler.mapping.base import (
    NONE_SENT,
    Images,
    Job,
    Labels,
    Mapping,
    Sent,
)
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Axis, DeltaSource, Function, Opcode, Segment, encode

__all__ = [
    "DELTA_SLOT",
    "OUTPUT_SLOT",
    "STEPS",
    "TARGET_SLOT",
    "X_SLOT",
    "ConvConfig",
    "ConvJob",
    "ConvMapping",
    "Plan",
]

X_SLOT, TARGET_SLOT, OUTPUT_SLOT, DELTA_SLOT = range(4)
"""Slots of every core."""

STEPS = ("forward", "activate", "backward", "sums", "delta", "outer", "transfer", "refresh")
"""Instructions of every core, in the order of its program."""


@dataclass(frozen=True)
class Plan:
    """A layer's tables and places."""

    layer: ConvLayer
    gather: Int
    pool: Int
    tiles: tuple[int, ...]
    """Its cores; row i is on core i mod their number."""

    def rows(self, tile: int) -> Int:
        """Rows of a tile, ascending."""
        return np.arange(tile, self.layer.rows, len(self.tiles))


@dataclass(frozen=True)
class ConvConfig:
    """Cores of one kind, and feature maps between them."""

    core: CoreConfig
    plans: tuple[Plan, ...]
    """By layer."""


@dataclass(frozen=True, kw_only=True)
class ConvJob(Job):
    """Images that walk through the feature maps; ``programs`` are the ``STEPS`` of every core."""

    images: Images
    targets: Int
    """Target codes, shape (images, outputs); none where images are not learnt."""
    refresh: bool = False


class ConvMapping(Mapping):
    """A convolutional network; cores are numbered layer by layer, tile by tile.

    Parameters
    ----------
    network, config, profile : what is trained on what; ``config`` is that of every core
    """

    hardware: ConvConfig

    def __init__(self, network: ConvNetwork, config: CoreConfig, profile: DeviceProfile):
        check_layers(network, config)
        self.recipe = Recipe(network, config, profile)
        plans: list[Plan] = []
        count = 0
        for index, layer in enumerate(network.layers):
            tiles = tuple(range(count, count + network.tiles(index, config)))
            count += len(tiles)
            plans.append(Plan(layer, layer.gather(), layer.pool_cells(), tiles))
        self.hardware = ConvConfig(config, tuple(plans))
        self.nodes = tuple(range(count))
        self._targets = network.training.targets(network.layers[-1].outputs)

    def setup(self) -> Job:
        return self.calibration()

    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        """Outputs are always sent."""
        targets = self._targets[labels]
        return ConvJob(self._programs(), images=images, targets=targets, refresh=refresh)

    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        return ConvJob(self._programs(), images=images, targets=self._targets[:0])

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        return {
            node: [self.recipe.segment(index, eta, rows=len(plan.rows(tile)))]
            for index, plan in enumerate(self.hardware.plans)
            for tile, node in enumerate(plan.tiles)
        }

    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
        found = []
        for plan, unit in zip(self.hardware.plans, self.recipe.weight_units, strict=True):
            whole = np.zeros((plan.layer.rows, plan.layer.outputs))
            for tile, node in enumerate(plan.tiles):
                rows = plan.rows(tile)
                whole[rows] = codes[node][: len(rows), : plan.layer.outputs] / unit
            found.append(whole)
        return found

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        return [result.codes for result in results]

    def _programs(self) -> dict[int, list[int]]:
        return {
            node: self._program(index, tile)
            for index, plan in enumerate(self.hardware.plans)
            for tile, node in enumerate(plan.tiles)
        }

    def _program(self, index: int, tile: int) -> list[int]:
        plan, precision = self.hardware.plans[index], self.config.input_bits
        function = plan.layer.function if tile == 0 else Function.NONE
        product = {"segment": 0, "precision": precision, "input_signs": 3, "polarities": 3}
        post: dict[str, Any] = {"segment": 0, "destination_line": 0}
        scaled = {"from_slot": 0, "accumulate": 0, "affine": 0, "table": 0}
        return [
            encode(Opcode.FORWARD, slot=X_SLOT, **product),
            encode(Opcode.ACTIVATE, **post | scaled | {
                "axis": Axis.COLS, "slot": 0, "function": function, "destination": OUTPUT_SLOT,
                "shift": self.recipe.shifts[index],
                "accumulate": int(tile == 0 and len(plan.tiles) > 1),
            }),
            encode(Opcode.BACKWARD, slot=DELTA_SLOT, **product),
            encode(Opcode.ACTIVATE, **post | scaled | {
                "axis": Axis.ROWS, "slot": 0, "function": Function.NONE, "destination": 0,
                "shift": 0,
            }),
            encode(Opcode.DELTA, **post | {
                "axis": Axis.COLS, "source": DeltaSource.DIFFERENCE, "slot": TARGET_SLOT,
                "output": OUTPUT_SLOT, "function": plan.layer.function, "fixed": 0, "shift": 0,
                "bias": self.recipe.biases[index], "destination": DELTA_SLOT,
            }),
            encode(Opcode.OUTER, segment=0, slot=X_SLOT, delta=DELTA_SLOT, transfer=1),
            encode(Opcode.TRANSFER, segment=0),
            encode(Opcode.REFRESH, segment=0, all_rows=0),
            encode(Opcode.HALT),
        ]  # fmt: skip
