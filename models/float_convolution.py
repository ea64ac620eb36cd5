# SPDX-License-Identifier: Apache-2.0
"""Plain stochastic gradient descent on a convolutional network, in floating point."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.convolution import ConvNetwork
from models.float_reference import FloatTwin, Real, sigmoid
from models.networks import ONE, Network
from rtl.isa import Function

__all__ = ["ConvTwin", "make_twin"]

BATCH = 500
"""Images classified at a time."""


class ConvTwin:
    """The same network, schedule and targets as the hardware's; batch 1.

    Parameters
    ----------
    network : layers and targets
    weights : by layer, shape (inputs + 1, outputs), the bias last; copied
    """

    def __init__(self, network: ConvNetwork, weights: Sequence[Real]):
        self.network = network
        self.weights: list[Real] = [np.array(layer, dtype=np.float64) for layer in weights]
        self._targets = network.training.targets(network.layers[-1].outputs) / ONE
        self._gather = [layer.gather() for layer in network.layers]
        self._pool = [layer.pool_cells() for layer in network.layers]

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
            # Activations by the cell they are pooled into: the mean of equal shares.
            order = np.argsort(self._pool[index].reshape(-1), kind="stable")
            shares = activations[-1].reshape(len(cells), -1)[:, order]
            cells = shares.reshape(len(cells), layer.out_cells, -1).mean(axis=2)
        return seen, activations

    def gradients(self, image: NDArray[np.uint8], label: int) -> list[Real]:
        """Descent direction of every layer for one image."""
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

    def train(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], etas: Sequence[float]
    ) -> None:
        """Learn images in order, each at its own rate."""
        for image, label, eta in zip(images, labels, etas, strict=True):
            for index, direction in enumerate(self.gradients(image, int(label))):
                self.weights[index] += eta * self.network.layers[index].eta_scale * direction

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        """Fraction of images whose largest output is their label's."""
        right = 0
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            outputs = self.forward(images[part])[1][-1][:, 0]
            right += int(np.count_nonzero(outputs.argmax(axis=1) == labels[part]))
        return right / len(images)


def make_twin(
    network: Network, weights: Sequence[Real], plain: type[FloatTwin] = FloatTwin
) -> FloatTwin | ConvTwin:
    """Float twin of any network; of fully connected ones it is a ``plain``."""
    if isinstance(network, ConvNetwork):
        return ConvTwin(network, weights)
    return plain(network, weights)
