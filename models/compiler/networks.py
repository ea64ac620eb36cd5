# SPDX-License-Identifier: Apache-2.0
"""The built-in networks, by name."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from phasecore.models.compiler.convolution import CONV_NETWORKS, ConvLayer, ConvNetwork
from phasecore.models.compiler.network import ChipNetwork, Layer, Network, Training
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY, CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["CHIP_NETWORKS", "CORE_NETWORKS", "NETWORKS", "ON_CHIPS", "restored"]


def _perceptron(
    dataset: str, inputs: int, hidden: int, config: CoreConfig, *, rows: tuple[int, int]
) -> Network:
    """Two layers that begin at column 0 and at the given rows."""
    first, second = rows
    return Network(
        name=f"mlp-{inputs}-{hidden}-10",
        dataset=dataset,
        layers=(
            Layer(inputs=inputs, outputs=hidden, row_start=first, col_start=0),
            Layer(inputs=hidden, outputs=10, row_start=second, col_start=0, index_log2=3),
        ),
        config=config,
    )


CORE_NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        _perceptron("mnist14", 196, 50, DEFAULT, rows=(56, 0)),
        _perceptron("digits", 64, 50, SMALL.replace(rows=128), rows=(56, 0)),
        _perceptron("digits48", 48, 14, SMALL, rows=(0, 49)),
        _perceptron("digits8", 8, 6, TINY, rows=(0, 9)),
    )
}
"""Networks of one core; ``config`` is the one they were tuned for."""


def _tiled(
    dataset: str,
    inputs: int,
    hidden: int,
    chip: ChipConfig,
    tiles: int,
    *,
    index_log2: int = 3,
    eta_scale: float = 1.0,
    training: Training | None = None,
) -> ChipNetwork:
    """Two layers, the first of which is dealt out over ``tiles`` cores.

    ``index_log2`` and ``eta_scale`` are of the other one. An error common to many images moves all
    weights of an output by a pulse at about the same time, which adds up over the hidden
    activations: the more there are, the less a pulse and the rate may be.
    """
    return ChipNetwork(
        name=f"mlp-{inputs}-{hidden}-10",
        dataset=dataset,
        layers=(
            Layer(inputs=inputs, outputs=hidden, row_start=0, col_start=0),
            Layer(
                inputs=hidden, outputs=10, row_start=0, col_start=0, index_log2=index_log2,
                eta_scale=eta_scale,
            ),
        ),
        config=chip.core,
        training=training or Training(),
        chip=chip,
        tiles=tiles,
    )  # fmt: skip


CHIP_NETWORKS: Mapping[str, ChipNetwork] = {
    network.name: network
    for network in (
        _tiled(
            "mnist",
            784,
            250,
            CHIPS["default"],
            4,
            index_log2=2,
            eta_scale=0.2,
            training=Training(eta_end=0.2, refresh_interval=100),
        ),
        _tiled("digits", 64, 14, CHIPS["small"], 4),
        _tiled("digits48", 48, 12, CHIPS["tiny"], 4),
    )
}
"""Networks of several cores; ``chip`` is the one they were tuned for."""

ON_CHIPS: Mapping[str, Network] = {**CHIP_NETWORKS, **CONV_NETWORKS}
"""All networks of several cores."""

NETWORKS: Mapping[str, Network] = {**CORE_NETWORKS, **ON_CHIPS}
"""All of them."""


def restored(
    fields: Mapping[str, Any], *, config: CoreConfig, training: Training, dataset: str
) -> Network:
    """The network that ``fields`` are of, as JSON has them, on cores of ``config``.

    They are those of the dataclass, but for what is given beside.
    """
    values = {**fields, "config": config, "training": training, "dataset": dataset}
    layers = [dict(layer) for layer in values.pop("layers")]
    kind: type[Network] = Network
    if "chip" in values:
        kind = ChipNetwork if "tiles" in values else ConvNetwork
        values["chip"] = ChipConfig.from_dict({**values["chip"], "core": asdict(config)})
    if kind is not ConvNetwork:
        return kind(layers=tuple(Layer(**layer) for layer in layers), **values)
    for layer in layers:
        layer["function"] = Function(layer["function"])
    return kind(layers=tuple(ConvLayer(**layer) for layer in layers), **values)
