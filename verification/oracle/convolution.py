# SPDX-License-Identifier: Apache-2.0
"""Cores with feature maps between them: a convolutional network in plain numpy
(docs/contract/convolution.md).

Every product, activation, threshold transfer, pulse and refresh is an instruction of a core;
im2col, pooling, col2im and the sum over positions are here. No RTL does that part yet.
"""

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import ALIGNED_BITS
from phasecore.models.compiler.mapping.base import Job
from phasecore.models.compiler.mapping.convolution import (
    DELTA_SLOT,
    OUTPUT_SLOT,
    STEPS,
    TARGET_SLOT,
    X_SLOT,
    ConvJob,
    ConvMapping,
    Plan,
)
from phasecore.models.compiler.network import ONE
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.core import EXPONENT_BITS, PARTIAL_SHIFT
from phasecore.rtl.spec.instructions import Opcode
from phasecore.verification.oracle.activation import derivative
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.fixed_point import Int, round_shift, saturate
from phasecore.verification.oracle.update_unit import RIGHT_SHIFT_MAX

__all__ = ["ConvCores"]

Step = tuple[Opcode, dict[str, int]]


class ConvCores:
    """Cores of a network, which learn one image after another.

    Parameters
    ----------
    mapping : what is on which core
    seed : core n has seed + n

    Attributes
    ----------
    cores : by number
    """

    def __init__(self, mapping: ConvMapping, seed: int):
        self.recipe, self.plans = mapping.recipe, mapping.hardware.plans
        self.cores = {
            node: Core(mapping.config, mapping.profile, seed + node) for node in mapping.nodes
        }
        self._steps: dict[int, dict[str, Step]] = {}

    def run(self, job: Job) -> list[Result]:
        """Output vectors of a job's images, of before each is learnt; of another job none."""
        if not isinstance(job, ConvJob):
            for node, program in job.programs.items():
                self.cores[node].run(program)
            return []
        self.prepare(job)
        found = self._images(job)
        return [Result(OUTPUT_SLOT, 0, codes) for codes in found]

    def prepare(self, job: ConvJob) -> None:
        """Take the instructions of a job's programs."""
        self._steps = {
            node: dict(zip(STEPS, self.cores[node].instructions(words), strict=True))
            for node, words in job.programs.items()
        }

    def _images(self, job: ConvJob) -> list[NDArray[np.int8]]:
        outputs = []
        for number, image in enumerate(job.images):
            inputs, activations = self._forward(image)
            outputs.append(activations[-1][0].astype(np.int8))
            if not len(job.targets):
                continue
            errors = self._backward(activations, job.targets[number])
            for index in reversed(range(len(self.plans))):
                self._update(index, inputs[index], *errors[index])
        if job.refresh:
            for node in self.cores:
                self._do(node, "refresh")
        return outputs

    def _do(self, number: int, step: str) -> None:
        self.cores[number].execute(*self._steps[number][step])

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
        self._do(self.plans[-1].tiles[0], "delta")
        errors = [
            (head.slots[DELTA_SLOT, :outputs][None].copy(), head.exponents[DELTA_SLOT][None].copy())
        ]
        for index in reversed(range(len(self.plans) - 1)):
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
                self._set_delta(core, mantissa, exponent)
                self._do(number, "backward")
                self._do(number, "sums")
                partial = core.post.accumulators[: len(rows)] >> PARTIAL_SHIFT
                aligned = _aligned(partial, int(exponent), top)
                np.add.at(sums, seen[rows], aligned)
        return sums[:-2], top

    def _normalised(self, index: int, sums: Int, top: int, activations: Int) -> tuple[Int, Int]:
        """Mantissas and exponents by position, as DELTA makes them of one vector."""
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
                self._set_delta(core, mantissas[0], exponents[0])
                self._do(number, "outer")
            else:
                segment = core.segments[0]
                assert segment is not None
                core.update.add(segment, gradient[rows], top - ALIGNED_BITS)
                self._do(number, "transfer")

    def _set_delta(self, core: Core, mantissa: Int, exponent: np.int64) -> None:
        core.slots[DELTA_SLOT, : len(mantissa)] = mantissa
        core.exponents[DELTA_SLOT] = exponent


def _aligned(values: Int, exponent: int, top: int) -> Int:
    """``values`` of an exponent in units of ``2**(top - ALIGNED_BITS)``."""
    return round_shift(values, min(top - ALIGNED_BITS - exponent, RIGHT_SHIFT_MAX))
