# SPDX-License-Identifier: Apache-2.0
"""Plain stochastic gradient descent on a convolutional network, in floating point."""

from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import ConvNetwork
from phasecore.models.compiler.network import ONE, Network
from phasecore.models.training.float_reference import Descent, FloatTwin, Real, sigmoid
from phasecore.rtl.spec.instructions import Function

__all__ = ["ConvTwin", "make_twin"]

BATCH = 500
"""Images classified at a time."""


class ConvTwin(Descent):
    """Convolutions and fully connected layers."""

    network: ConvNetwork

    def __init__(self, network: ConvNetwork, weights: Sequence[Real]):
        super().__init__(network, weights)
        self._gather = [layer.gather() for layer in network.layers]
        self._pool = [layer.pool_cells() for layer in network.layers]
        # Activations by the cell they are pooled into: the mean of equal shares.
        self._order = [np.argsort(pool.reshape(-1), kind="stable") for pool in self._pool]

    def forward(self, images: NDArray[np.uint8]) -> tuple[list[Real], list[Real]]:
        """What every layer's kernel sees, shape (images, positions, rows), and activations,
        shape (images, positions, outputs)."""
        seen, activations = [], []
        cells: Real = images / ONE
        for index, layer in enumerate(self.network.layers):
            constants = np.broadcast_to([0.0, 1.0], (len(cells), 2))
            seen.append(np.concatenate([cells, constants], axis=1)[:, self._gather[index]])
            a = seen[-1] @ self.weights[index]
            activations.append(np.tanh(a) if layer.function is Function.TANH else sigmoid(a))
            shares = activations[-1].reshape(len(cells), -1)[:, self._order[index]]
            cells = shares.reshape(len(cells), layer.out_cells, -1).mean(axis=2)
        return seen, activations

    def gradients(self, image: NDArray[np.uint8], label: int) -> list[Real]:
        seen, activations = self.forward(image[None])
        y = activations[-1][0]
        error: Real = (self._targets[label] - y) * y * (1 - y)
        directions = []
        for index in reversed(range(len(self.weights))):
            directions.append(seen[index][0].T @ error)
            if index:
                layer, before = self.network.layers[index], self.network.layers[index - 1]
                back = error @ self.weights[index].T
                sums = np.bincount(
                    self._gather[index].reshape(-1), back.reshape(-1), layer.cells + 2
                )
                hidden = activations[index - 1][0]
                shared = sums[self._pool[index - 1]] / (1 << before.shared_log2)
                error = shared * (1 - hidden * hidden)
        return directions[::-1]

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        right = 0
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            outputs = self.forward(images[part])[1][-1][:, 0]
            right += int(np.count_nonzero(outputs.argmax(axis=1) == labels[part]))
        return right / len(images)


@singledispatch
def make_twin(
    network: Network, weights: Sequence[Real], plain: type[FloatTwin] = FloatTwin
) -> Descent:
    """Float twin of any network; of fully connected ones it is a ``plain``."""
    return plain(network, weights)


@make_twin.register
def _(network: ConvNetwork, weights: Sequence[Real], plain: type[FloatTwin] = FloatTwin) -> Descent:
    return ConvTwin(network, weights)
