# SPDX-License-Identifier: Apache-2.0
"""Flits of vectors on the mesh."""

from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, MessageKind

__all__ = ["message_flits", "multicast_flits"]


def message_flits(length: int, config: CoreConfig, kind: MessageKind = MessageKind.VECTOR) -> int:
    """Flits of a message of ``length`` lines from the start of a memory word, with heads."""
    flits = 0
    for start in range(0, length, config.post_lanes):
        lines = min(config.post_lanes, length - start)
        data = -(-lines // LINES_PER_FLIT[kind])
        flits += data + -(-data // PAYLOAD_FLITS)
    return flits


def multicast_flits(length: int, config: CoreConfig, payload: int) -> int:
    """Flits of a vector of which no packet has more than ``payload`` or crosses a word."""
    flits = 0
    for start in range(0, length, config.post_lanes):
        data = -(-min(config.post_lanes, length - start) // GROUP)
        flits += data + -(-data // min(payload, PAYLOAD_FLITS))
    return flits
