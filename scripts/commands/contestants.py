# SPDX-License-Identifier: Apache-2.0
"""Models that learn the same images in turns: the golden model, and networks in PyTorch."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import POOL, ConvLayer, ConvNetwork
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Layer, Network, classes
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.learner import Learner
from phasecore.rtl.spec.instructions import Function

__all__ = [
    "OURS", "WARM_UP", "Contestant", "InTorch", "Ours", "Torch", "layers", "one_thread",
    "take_turns",
]  # fmt: skip

OURS = "phasecore"

WARM_UP = 50
"""Images that are learnt before: machine code is loaded, caches are filled."""


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Images = NDArray[np.uint8]


class Contestant(Protocol):
    """A network that learns."""

    def learn(self, images: Images, labels: Images) -> object:
        """Learn images one at a time, in order."""

    def infer(self, images: Images) -> NDArray[np.int64]:
        """Classes of images."""


def take_turns(
    contestants: Mapping[str, Contestant],
    data: Dataset,
    chosen: NDArray[np.int64],
    *,
    images: int,
    repeats: int,
) -> dict[str, list[float]]:
    """CPU seconds of every turn of ``images`` images, by contestant; a first short turn warms up.

    All learn the same images in the order of ``chosen``, around and around; who begins changes
    from turn to turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    stops = [WARM_UP + turn * images for turn in range(repeats + 1)]
    for turn, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
        part = chosen[np.arange(start, stop) % len(chosen)]
        names = list(contestants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.process_time()
            contestants[name].learn(data.train_x[part], data.train_y[part])
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds


class Ours:
    """The golden model."""

    def __init__(self, network: Network, profile: DeviceProfile, seed: int):
        self._network = network
        self._learner = Learner(map_network(network, network.config, profile), seed)

    def learn(self, images: Images, labels: Images) -> None:
        interval = self._network.training.refresh_interval
        for start in range(0, len(images), interval):
            self._learner.learn(images[start : start + interval], labels[start : start + interval])

    def infer(self, images: Images) -> NDArray[np.int64]:
        return classes(self._learner.infer(images))


class InTorch:
    """A model of PyTorch that learns the squared error; importing it is left to those that make it.

    Parameters
    ----------
    torch, model, optimizer : the module; what it has made
    network : whose targets and inputs they are
    """

    def __init__(self, torch: Any, model: Any, optimizer: Any, network: Network):
        self._torch, self._model, self._optimizer = torch, model, optimizer
        self._targets = network.training.targets(network.layers[-1].outputs)
        self._shape: tuple[int, ...] = (-1, network.inputs)
        if isinstance(network, ConvNetwork):
            first = network.layers[0]
            self._shape = -1, first.channels, first.height, first.width

    def learn(self, images: Images, labels: Images) -> None:
        targets = self._tensor(self._targets[labels])
        self._model.train()
        for image, target in zip(self._tensor(images), targets, strict=True):
            self._optimizer.zero_grad()
            output = self._model(image.reshape(self._shape))
            loss = 0.5 * ((output - target) ** 2).sum()
            loss.backward()
            self._optimizer.step()

    def infer(self, images: Images) -> NDArray[np.int64]:
        self._model.eval()
        with self._torch.no_grad():
            outputs = self._model(self._tensor(images).reshape(self._shape))
        found: NDArray[np.int64] = outputs.argmax(dim=1).numpy()
        return found

    def _tensor(self, codes: NDArray[Any]) -> Any:
        """Codes as numbers 0..1."""
        return self._torch.from_numpy(codes.astype(np.float32) / 127)


def one_thread(seed: int) -> Any:
    """PyTorch, on one thread."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch


class Torch(InTorch):
    """The network as PyTorch's users write it; imports it."""

    def __init__(self, network: Network, seed: int):
        torch = one_thread(seed)
        nn = torch.nn
        model = nn.Sequential(*layers(network, nn, linear=nn.Linear, convolution=nn.Conv2d))
        optimizer = torch.optim.SGD(model.parameters(), lr=network.training.eta)
        super().__init__(torch, model, optimizer, network)


def layers(
    network: Network, nn: Any, *, linear: Callable[..., Any], convolution: Callable[..., Any]
) -> list[Any]:
    """A network's layers: activations, pooling and flattening of ``nn``, products as given."""
    return [
        module for layer in network.layers for module in _modules(layer, nn, linear, convolution)
    ]


def _modules(
    layer: Layer, nn: Any, linear: Callable[..., Any], convolution: Callable[..., Any]
) -> list[Any]:
    if not isinstance(layer, ConvLayer):
        return [linear(layer.inputs, layer.outputs), nn.Sigmoid()]
    function = nn.Tanh() if layer.function is Function.TANH else nn.Sigmoid()
    if layer.positions == 1:
        return [nn.Flatten(), linear(layer.inputs, layer.outputs), function]
    kernel = convolution(layer.channels, layer.outputs, layer.kernel, padding=layer.padding)
    return [kernel, function, *([nn.AvgPool2d(POOL)] if layer.pooled else [])]
