# SPDX-License-Identifier: Apache-2.0
"""The host bridge: packets of the host to messages, and back (docs/contract)."""

import numpy as np

from phasecore.models.golden.packets import Result, parse_input
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import HEADER, ObjectDescriptor, PacketKind, unpack
from phasecore.rtl.spec.messages import PAYLOAD_FLITS, MessageKind
from phasecore.verification.oracle.network_interface import (
    FabricError,
    Message,
    Streams,
    packet_count,
    split,
)

__all__ = ["HostBridge"]


class HostBridge:
    """Streams and objects of the host.

    Attributes
    ----------
    streams : :class:`~phasecore.verification.oracle.network_interface.Streams`
    objects : descriptors, None where undefined
    malformed : packets of the host that were dropped
    errors : packets of the fabric, and of the host for undefined streams, that were dropped, by
        :class:`FabricError`
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        self.streams = Streams(config.host_streams, config.fabric)
        self.objects: list[ObjectDescriptor | None] = [None] * config.host_objects
        self.malformed = 0
        self.errors = dict.fromkeys(FabricError, 0)

    def define_object(self, index: int, descriptor: ObjectDescriptor) -> None:
        """Write a descriptor; ``enable = 0``, or no such channel, undefines the object."""
        if not 0 <= index < len(self.objects):
            raise ValueError(f"object must be in 0..{len(self.objects) - 1}, not {index}")
        exists = descriptor.vc < self.config.fabric.virtual_channels
        self.objects[index] = descriptor if descriptor.enable and exists else None

    def read(self, packet: bytes) -> tuple[int, Message] | None:
        """Host stream and vector (or table) of a packet; None, and counted, if it is dropped."""
        try:
            found = parse_input(packet, config=self.config.core)
        except ValueError:
            self.malformed += 1
            return None
        stream = unpack(HEADER, int.from_bytes(packet[:8], "little"))["slot"]
        descriptor = self.streams.descriptor(stream)
        if descriptor is None:
            self.errors[FabricError.FABRIC_OBJECT] += 1
            return None
        if found.kind is PacketKind.VECTOR:
            return stream, Message(MessageKind.VECTOR, descriptor.object, found.start, found.codes)
        assert found.scale is not None
        values = found.scale | found.codes << 8
        return stream, Message(MessageKind.AFFINE, descriptor.object, found.start, values)

    def sendable(self, stream: int, message: Message) -> bool:
        """The stream has the credits for a vector; affine tables need none."""
        if message.kind is MessageKind.AFFINE:
            return True
        descriptor = self.streams.descriptor(stream)
        return descriptor is None or self.streams.credits[stream] >= descriptor.needed

    def send(self, stream: int, message: Message) -> None:
        """Take the credits of a message that leaves."""
        descriptor = self.streams.descriptor(stream)
        if message.kind is MessageKind.VECTOR and descriptor is not None:
            self.streams.credits[stream] -= descriptor.consumers

    def take(self, message: Message, limit: int = PAYLOAD_FLITS) -> list[Result]:
        """Results of a message, one per packet of ``limit`` data flits at most."""
        error = self._refusal(message)
        is_credit = message.kind is MessageKind.CREDIT
        if error is None and is_credit and not self.streams.add(message.object, message.value):
            error = FabricError.FABRIC_CREDIT
        if error is not None:
            self.errors[error] += packet_count(message, self.config.core, limit)
        if error is not None or is_credit:
            return []
        return [
            Result(message.object, part.start, part.values.astype(np.int8))
            for part in split(message, self.config.core, limit)
        ]

    def _refusal(self, message: Message) -> FabricError | None:
        """Why nothing of a message is taken."""
        kind, number, lines = message.kind, message.object, len(message.values)
        if kind is MessageKind.CREDIT:
            known = self.streams.descriptor(number) is not None
        else:
            known = kind is MessageKind.VECTOR and self.object(number) is not None
        if not known:
            return FabricError.FABRIC_OBJECT
        if (kind is MessageKind.CREDIT) != (lines == 0):
            return FabricError.FABRIC_RANGE
        if message.start + lines > self.config.core.lines:
            return FabricError.FABRIC_RANGE
        return None

    def object(self, index: int) -> ObjectDescriptor | None:
        """Descriptor of an enabled object; None for any other number."""
        return self.objects[index] if index < len(self.objects) else None
