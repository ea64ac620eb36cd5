# SPDX-License-Identifier: Apache-2.0
"""Perceptrons on a stand-alone core: all layers side by side on one crossbar."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping.base import NONE_SENT, Images, Job, Labels, Mapping, Sent
from phasecore.models.compiler.network import ONE, Network
from phasecore.models.compiler.placement import check_core
from phasecore.models.compiler.program import (
    activate,
    delta,
    driven,
    loop,
    outer,
    output_lines,
    product,
    target_packets,
    vector,
)
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result, vector_packet
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Axis, DeltaSource, Function, Opcode, Segment, encode

__all__ = ["CoreMapping"]

X, TARGET = 0, 1
"""Slots of the image and of the target vector; activations and errors follow."""


class CoreMapping(Mapping):
    """A network on one core, node 0; segment l is layer l.

    Parameters
    ----------
    network, config, profile : what is trained on what
    eta_min : smallest learning rate of the run; see :class:`Recipe`
    """

    hardware: CoreConfig
    nodes = (0,)

    def __init__(
        self, network: Network, config: CoreConfig, profile: DeviceProfile, *,
        eta_min: float | None = None,
    ):  # fmt: skip
        check_core(network, config)
        layers = len(network.layers)
        for name, size, needed in [
            ("slots", config.slots, 2 * layers + 2), ("segments", config.segments, layers),
        ]:  # fmt: skip
            if size < needed:
                raise ValueError(f"{network.name} needs {needed} {name}, not {size}")
        self.recipe = Recipe(network, config, profile, eta_min=eta_min)
        self.hardware = config

    def setup(self) -> Job:
        """Calibration, then the bias code of every hidden layer's output slot: ACTIVATE never
        writes that line."""
        layers = self.network.layers[1:]
        loads = [self._load(self._output(layer)) for layer in range(len(layers))]
        program = [encode(Opcode.CALIBRATE), *loads, encode(Opcode.HALT)]
        code = np.array([ONE])
        packets = [vector(layer.bias_line, code, self.config) for layer in layers]
        return Job({0: program}, packets)

    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        if not len(images):
            raise ValueError("images must be at least 1, not 0")
        layers = range(len(self.network.layers))
        program = [self._load(X), self._load(TARGET), *self._forward()]
        if read:
            program.append(self._read())
        program += self._backward()
        # A layer's pulses leave after the backward product that still needs its weights.
        program += [
            outer(layer, slot=self._input(layer), delta=self._delta(layer))
            for layer in reversed(layers)
        ]
        program += loop(len(images))
        if refresh:
            program += [encode(Opcode.REFRESH, segment=layer, all_rows=0) for layer in layers]
        targets = target_packets(self.recipe)
        packets = [
            packet
            for image, label in zip(self._image_packets(images), labels, strict=True)
            for packet in (image, targets[int(label)])
        ]
        count = len(images)
        return Job({0: [*program, encode(Opcode.HALT)]}, packets, Sent(count, count))

    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        body = [self._load(X), *self._forward(), self._read()]
        program = [*body, *loop(len(images)), encode(Opcode.HALT)]
        return Job({0: program}, self._image_packets(images), Sent(len(images), 0))

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        layers = range(len(self.network.layers))
        return {0: [self.recipe.segment(index, eta) for index in layers]}

    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
        return [
            codes[0][layer.row_start :, layer.col_start :][: layer.rows, : layer.outputs] / unit
            for layer, unit in zip(self.network.layers, self.recipe.weight_units, strict=True)
        ]

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        outputs = self.network.layers[-1].outputs
        return [result.codes[-outputs:] for result in results]

    def _output(self, layer: int) -> int:
        """Slot of a layer's activations, where the next layer's rows (or its columns) are."""
        return TARGET + 1 + layer

    def _delta(self, layer: int) -> int:
        """Slot of a layer's error vector, on its columns."""
        return TARGET + 1 + len(self.network.layers) + layer

    def _input(self, layer: int) -> int:
        """Slot of a layer's inputs, on its rows."""
        return self._output(layer - 1) if layer else X

    def _load(self, slot: int) -> int:
        return encode(Opcode.LOAD, affine=0, slot=slot)

    def _read(self) -> int:
        start, length = output_lines(self.network.layers[-1])
        return encode(
            Opcode.READ, slot=self._output(self.network.last), first_line=start, length=length
        )

    def _forward(self) -> Iterator[int]:
        layers = self.network.layers
        for index, layer in enumerate(layers):
            yield product(Opcode.FORWARD, self.config, segment=index, slot=self._input(index))
            is_last = index == self.network.last
            yield activate(
                index, Function.SIGMOID, shift=self.recipe.shifts[index],
                destination=self._output(index),
                destination_line=layer.col_start if is_last else layers[index + 1].row_start,
            )  # fmt: skip

    def _backward(self) -> Iterator[int]:
        last = self.network.last
        yield delta(
            self.recipe, last, segment=last, source=DeltaSource.DIFFERENCE, slot=TARGET,
            output=self._output(last), destination=self._delta(last),
        )  # fmt: skip
        for index in reversed(range(last)):
            yield product(
                Opcode.BACKWARD, self.config, segment=index + 1, slot=self._delta(index + 1)
            )
            yield delta(
                self.recipe, index, segment=index + 1, axis=Axis.ROWS, output=self._output(index),
                destination=self._delta(index),
            )  # fmt: skip

    def _image_packets(self, images: Images) -> list[bytes]:
        """The codes of the first layer's rows, the bias code last, by image."""
        first = self.network.layers[0]
        return [
            vector_packet(row, config=self.config, start=first.row_start)
            for row in driven(images, first.inputs)
        ]
