# SPDX-License-Identifier: Apache-2.0
"""Float twin as machine code: the steps of ``float_reference.py``, sums in another order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.fixed_point import CODE_MAX
from phasecore.models.training.float_reference import FloatTwin

__all__ = ["CompiledFloatTwin"]


class CompiledFloatTwin(FloatTwin):
    """Plain SGD; equal to :class:`FloatTwin` but for the rounding of sums."""

    def train(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], etas: Sequence[float]
    ) -> None:
        layers = self.network.layers
        scales = np.array([layer.eta_scale for layer in layers])
        rows = [layer.rows for layer in layers]
        values = tuple(np.ones(size) for size in (*rows, layers[-1].outputs))
        errors = tuple(np.zeros(layer.outputs) for layer in layers)
        _train(
            tuple(self.weights), values, errors, images, labels, self._targets,
            np.asarray(etas, dtype=np.float64), scales,
        )  # fmt: skip


@compiled
def _train(
    weights: Any, values: Any, errors: Any, images: Any, labels: Any, targets: Any, etas: Any,
    scales: Any,
) -> None:  # fmt: skip
    """Learn ``images`` in order; the last of each layer's ``values`` but the last's is the bias."""
    for k in range(len(images)):
        for i in range(images.shape[1]):
            values[0][i] = images[k, i] / CODE_MAX
        for index in range(len(weights)):
            _forward(weights[index], values[index], values[index + 1])
        last = len(weights) - 1
        for j in range(len(errors[last])):
            y = values[last + 1][j]
            errors[last][j] = (targets[labels[k], j] - y) * y * (1 - y)
        for index in range(last, 0, -1):
            _backward(weights[index], errors[index], values[index], errors[index - 1])
        for index in range(len(weights)):
            _update(weights[index], values[index], errors[index], etas[k] * scales[index])


@compiled
def _forward(weights: Any, x: Any, y: Any) -> None:
    outputs = weights.shape[1]
    for j in range(outputs):
        y[j] = 0.0
    for i in range(len(x)):
        if x[i] != 0:
            row = weights[i]
            for j in range(outputs):
                y[j] += x[i] * row[j]
    for j in range(outputs):
        y[j] = 1 / (1 + np.exp(-y[j]))


@compiled
def _backward(weights: Any, error: Any, hidden: Any, below: Any) -> None:
    for i in range(len(below)):
        total = 0.0
        for j in range(len(error)):
            total += weights[i, j] * error[j]
        below[i] = total * hidden[i] * (1 - hidden[i])


@compiled
def _update(weights: Any, x: Any, error: Any, eta: float) -> None:
    for i in range(len(x)):
        if x[i] != 0:
            step, row = eta * x[i], weights[i]
            for j in range(len(error)):
                row[j] += step * error[j]
