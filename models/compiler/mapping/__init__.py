# SPDX-License-Identifier: Apache-2.0
"""Mappings: networks on hardware; :func:`map_network` knows that of every kind of network."""

from functools import singledispatch
from typing import Any

from phasecore.models.compiler.convolution import ConvNetwork
from phasecore.models.compiler.mapping.base import (
    NONE_SENT,
    Job,
    Mapping,
    Sent,
    Tables,
    check_tables,
)
from phasecore.models.compiler.mapping.chip import ChipMapping
from phasecore.models.compiler.mapping.core import CoreMapping
from phasecore.models.compiler.mapping.pipeline import PipelineMapping
from phasecore.models.compiler.network import ChipNetwork, Network
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig

__all__ = [
    "NONE_SENT",
    "ChipMapping",
    "CoreMapping",
    "Job",
    "Mapping",
    "PipelineMapping",
    "Sent",
    "Tables",
    "check_tables",
    "map_network",
]


@singledispatch
def map_network(network: Network, config: Any, profile: DeviceProfile) -> Mapping:
    """The network on the hardware it is made for, whose every core is a ``CoreConfig``.

    Of a network on a chip ``config`` may be a whole :class:`ChipConfig`.
    """
    return CoreMapping(network, config, profile)


@map_network.register
def _(network: ChipNetwork, config: CoreConfig | ChipConfig, profile: DeviceProfile) -> Mapping:
    chip = config if isinstance(config, ChipConfig) else network.chip.replace(core=config)
    return ChipMapping(network, chip, profile)


@map_network.register
def _(network: ConvNetwork, config: CoreConfig | ChipConfig, profile: DeviceProfile) -> Mapping:
    chip = config if isinstance(config, ChipConfig) else network.chip.replace(core=config)
    return PipelineMapping(network, chip, profile)
