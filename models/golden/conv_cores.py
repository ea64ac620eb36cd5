# SPDX-License-Identifier: Apache-2.0
"""Cores with feature maps between them: a convolutional network in plain numpy
(docs/contract/convolution.md).

Every product, activation, threshold transfer, pulse and refresh is an instruction of a core;
im2col, pooling, col2im and the sum over positions are here. No RTL does that part yet.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import ALIGNED_BITS, ConvLayer, ConvNetwork
from phasecore.models.compiler.network import ONE, Recipe
from phasecore.models.golden.activation import derivative
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.fixed_point import Int, round_shift, saturate
from phasecore.models.golden.update_unit import RIGHT_SHIFT_MAX
from phasecore.rtl.spec.core import EXPONENT_BITS, PARTIAL_SHIFT, CoreConfig
from phasecore.rtl.spec.instructions import Function, Opcode, encode

__all__ = ["ERROR_SLOT", "OUTPUT_SLOT", "STEPS", "TARGET_SLOT", "X_SLOT", "ConvCores", "Plan"]

X_SLOT, TARGET_SLOT, OUTPUT_SLOT, ERROR_SLOT = range(4)
"""Slots of every core."""

STEPS = ("forward", "activate", "backward", "sums", "error", "outer", "transfer", "refresh")
"""Instructions of every core, in the order of :meth:`ConvCores.program`."""

Step = tuple[Opcode, dict[str, int]]


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


class ConvCores:
    """Cores of a network, which learn one image after another.

    Parameters
    ----------
    network, config, profile : ``config`` is that of every core
    seed : core n has seed + n

    Attributes
    ----------
    recipe : of the network
    cores : layer by layer, tile by tile
    plans : by layer
    """

    def __init__(self, network: ConvNetwork, config: CoreConfig, profile: DeviceProfile, seed: int):
        self.network = network
        self.recipe = Recipe(network, config, profile)
        self.plans: list[Plan] = []
        count = 0
        for index, layer in enumerate(network.layers):
            tiles = tuple(range(count, count + network.tiles(index, config)))
            count += len(tiles)
            self.plans.append(Plan(layer, layer.gather(), layer.pool_cells(), tiles))
        self.cores = [Core(config, profile, seed + number) for number in range(count)]
        self._steps: list[Mapping[str, Step]] = []
        self.set_rate(network.training.eta)
        for core in self.cores:
            core.run([encode(Opcode.CALIBRATE), encode(Opcode.HALT)])

    def set_rate(self, eta: float) -> None:
        """Write the segments for a learning rate."""
        for index, plan in enumerate(self.plans):
            for tile, number in enumerate(plan.tiles):
                self.cores[number].segments[0] = self.recipe.segment(
                    index, eta, rows=len(plan.rows(tile))
                )
        self._steps = [
            dict(zip(STEPS, self.cores[number].instructions(words), strict=True))
            for number, words in self.programs()
        ]

    def programs(self) -> Iterator[tuple[int, list[int]]]:
        """Number and program of every core: the instructions of ``STEPS``, and HALT."""
        for index, plan in enumerate(self.plans):
            for tile, number in enumerate(plan.tiles):
                yield number, self._program(index, tile)

    def weights(self) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last, shape (rows, outputs)."""
        found = []
        for index, plan in enumerate(self.plans):
            whole = np.zeros((plan.layer.rows, plan.layer.outputs))
            for tile, number in enumerate(plan.tiles):
                rows = plan.rows(tile)
                codes = self.cores[number].crossbar.weights[: len(rows), : plan.layer.outputs]
                whole[rows] = codes / self.recipe.weight_units[index]
            found.append(whole)
        return found

    def learn(self, images: NDArray[np.uint8], targets: Int) -> list[NDArray[np.int8]]:
        """Learn images in order; the output of each before it was learnt.

        ``targets`` are codes, shape (images, outputs).
        """
        outputs = []
        for image, target in zip(images, targets, strict=True):
            inputs, activations = self._forward(image)
            outputs.append(activations[-1][0].astype(np.int8))
            errors = self._backward(activations, target)
            for index in reversed(range(len(self.plans))):
                self._update(index, inputs[index], *errors[index])
        self._forget()
        return outputs

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.int8]]:
        """Outputs of images."""
        outputs = [self._forward(image)[1][-1][0].astype(np.int8) for image in images]
        self._forget()
        return outputs

    def refresh(self) -> None:
        """REFRESH of every core."""
        for number in range(len(self.cores)):
            self._do(number, "refresh")
        self._forget()

    def _program(self, index: int, tile: int) -> list[int]:
        plan, precision = self.plans[index], self.recipe.config.input_bits
        function = plan.layer.function if tile == 0 else Function.NONE
        product = {"segment": 0, "precision": precision, "input_signs": 3, "polarities": 3}
        post: dict[str, Any] = {"segment": 0, "from_slot": 0, "start": 0}
        scaled = {"accumulate": 0, "affine": 0, "table": 0}
        return [
            encode(Opcode.FORWARD, slot=X_SLOT, **product),
            encode(Opcode.ACTIVATE, **post | scaled | {
                "side": 0, "slot": 0, "function": function, "destination": OUTPUT_SLOT,
                "shift": self.recipe.shifts[index],
                "accumulate": int(tile == 0 and len(plan.tiles) > 1),
            }),
            encode(Opcode.BACKWARD, slot=ERROR_SLOT, **product),
            encode(Opcode.ACTIVATE, **post | scaled | {
                "side": 1, "slot": 0, "function": Function.NONE, "destination": 0, "shift": 0,
            }),
            encode(Opcode.ERROR, **post | {
                "side": 0, "from_slot": 1, "slot": TARGET_SLOT, "output": OUTPUT_SLOT,
                "function": plan.layer.function, "fixed": 0, "shift": 0,
                "bias": self.recipe.biases[index], "destination": ERROR_SLOT,
            }),
            encode(Opcode.OUTER, segment=0, slot=X_SLOT, error=ERROR_SLOT, transfer=1),
            encode(Opcode.TRANSFER, segment=0),
            encode(Opcode.REFRESH, segment=0, all_rows=0),
            encode(Opcode.HALT),
        ]  # fmt: skip

    def _do(self, number: int, step: str) -> None:
        self.cores[number].execute(*self._steps[number][step])

    def _forget(self) -> None:
        for core in self.cores:
            core.trace = type(core.trace)()

    def _forward(self, image: NDArray[np.uint8]) -> tuple[list[Int], list[Int]]:
        """Input objects, the padding's and the bias code behind them, and activations
        (positions, outputs) of all layers."""
        inputs, activations = [], []
        cells: Int = image.astype(np.int64)
        for plan in self.plans:
            inputs.append(np.append(cells, [0, ONE]))
            activations.append(
                np.stack([self._product(plan, inputs[-1][seen]) for seen in plan.gather])
            )
            sums = np.zeros(plan.layer.out_cells, dtype=np.int64)
            np.add.at(sums, plan.pool, activations[-1])
            cells = round_shift(sums, plan.layer.shared_log2)
        return inputs, activations

    def _product(self, plan: Plan, codes: Int) -> Int:
        """Activations of one position."""
        head, outputs = self.cores[plan.tiles[0]], plan.layer.outputs
        for tile, number in enumerate(plan.tiles):
            self.cores[number].slots[X_SLOT, : len(plan.rows(tile))] = codes[plan.rows(tile)]
            self._do(number, "forward")
        if len(plan.tiles) > 1:
            head.post.accumulators[:outputs] = 0
        for number in plan.tiles[1:]:
            self._do(number, "activate")
            partial = self.cores[number].post.accumulators[:outputs] >> PARTIAL_SHIFT
            head.post.accumulators[:outputs] += partial << PARTIAL_SHIFT
        self._do(plan.tiles[0], "activate")
        return head.slots[OUTPUT_SLOT, :outputs].copy()

    def _backward(self, activations: list[Int], target: Int) -> list[tuple[Int, Int]]:
        """Mantissas (positions, outputs) and exponents (positions,) of all layers."""
        head, outputs = self.cores[self.plans[-1].tiles[0]], len(target)
        head.slots[TARGET_SLOT, :outputs] = target
        self._do(self.plans[-1].tiles[0], "error")
        errors = [
            (head.slots[ERROR_SLOT, :outputs][None].copy(), head.exponents[ERROR_SLOT][None].copy())
        ]
        for index in reversed(range(self.network.last)):
            sums, top = self._col2im(self.plans[index + 1], *errors[0])
            errors.insert(0, self._normalised(index, sums, top, activations[index]))
        return errors

    def _col2im(self, plan: Plan, mantissas: Int, exponents: Int) -> tuple[Int, int]:
        """Sums of a layer's backward partial sums by input cell, and the largest exponent."""
        sums = np.zeros(plan.layer.cells + 2, dtype=np.int64)
        top = int(exponents.max())
        for seen, mantissa, exponent in zip(plan.gather, mantissas, exponents, strict=True):
            for tile, number in enumerate(plan.tiles):
                core, rows = self.cores[number], plan.rows(tile)
                self._set_error(core, mantissa, exponent)
                self._do(number, "backward")
                self._do(number, "sums")
                partial = core.post.accumulators[: len(rows)] >> PARTIAL_SHIFT
                aligned = _aligned(partial, int(exponent), top)
                np.add.at(sums, seen[rows], aligned)
        return sums[:-2], top

    def _normalised(self, index: int, sums: Int, top: int, activations: Int) -> tuple[Int, Int]:
        """Mantissas and exponents by position, as ERROR makes them of one vector."""
        plan, core = self.plans[index], self.cores[self.plans[index].tiles[0]]
        m = sums[plan.pool]
        mantissas, exponents = np.empty_like(activations), []
        for position, y in enumerate(activations):
            v = m[position] * derivative(y, plan.layer.function)
            shift = max(0, int(np.abs(v).max()).bit_length() - 7)
            rounded = round_shift(v, shift)
            mantissas[position] = saturate(rounded, 8, symmetric=True)
            core.post.code_saturations += int(np.count_nonzero(mantissas[position] != rounded))
            exponents.append(top - ALIGNED_BITS + shift + self.recipe.biases[index])
        return mantissas, saturate(exponents, EXPONENT_BITS)

    def _update(self, index: int, cells: Int, mantissas: Int, exponents: Int) -> None:
        """chi and pulses of a layer."""
        plan = self.plans[index]
        if plan.layer.positions > 1:
            top = int(exponents.max())
            gradient = np.zeros((plan.layer.rows, plan.layer.outputs), dtype=np.int64)
            for seen, mantissa, exponent in zip(plan.gather, mantissas, exponents, strict=True):
                product = np.multiply.outer(cells[seen], mantissa)
                gradient += _aligned(product, int(exponent), top)
        for tile, number in enumerate(plan.tiles):
            core, rows = self.cores[number], plan.rows(tile)
            if plan.layer.positions == 1:
                core.slots[X_SLOT, : len(rows)] = cells[plan.gather[0, rows]]
                self._set_error(core, mantissas[0], exponents[0])
                self._do(number, "outer")
            else:
                segment = core.segments[0]
                assert segment is not None
                core.update.add(segment, gradient[rows], top - ALIGNED_BITS)
                self._do(number, "transfer")

    def _set_error(self, core: Core, mantissa: Int, exponent: np.int64) -> None:
        core.slots[ERROR_SLOT, : len(mantissa)] = mantissa
        core.exponents[ERROR_SLOT] = exponent


def _aligned(values: Int, exponent: int, top: int) -> Int:
    """``values`` of an exponent in units of ``2**(top - ALIGNED_BITS)``."""
    return round_shift(values, min(top - ALIGNED_BITS - exponent, RIGHT_SHIFT_MAX))
