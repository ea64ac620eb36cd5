# SPDX-License-Identifier: Apache-2.0
"""The host bridge: packets of the host to messages, and back (docs/contract)."""

import numpy as np

from phasecore.models.golden.packets import Result, parse_input
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import HEADER, ObjectDescriptor, PacketKind, unpack
from phasecore.rtl.spec.messages import PAYLOAD_FLITS, MessageKind
from phasecore.verification.oracle.network_interface import (
    Message,
    NocFault,
    Routes,
    packet_count,
    split,
)

__all__ = ["HostBridge"]


class HostBridge:
    """Routes and objects of the host.

    Attributes
    ----------
    routes : :class:`~phasecore.verification.oracle.network_interface.Routes`
    objects : descriptors, None where undefined
    malformed : packets of the host that were dropped
    faults : packets of the NoC, and of the host for undefined routes, that were dropped, by
        :class:`NocFault`
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        self.routes = Routes(config.host_routes, config.noc)
        self.objects: list[ObjectDescriptor | None] = [None] * config.host_objects
        self.malformed = 0
        self.faults = dict.fromkeys(NocFault, 0)

    def define_object(self, index: int, descriptor: ObjectDescriptor) -> None:
        """Write a descriptor; ``enable = 0``, or no such channel, undefines the object."""
        if not 0 <= index < len(self.objects):
            raise ValueError(f"object must be in 0..{len(self.objects) - 1}, not {index}")
        exists = descriptor.vc < self.config.noc.virtual_channels
        self.objects[index] = descriptor if descriptor.enable and exists else None

    def read(self, packet: bytes) -> tuple[int, Message] | None:
        """Host route and vector (or table) of a packet; None, and counted, if it is dropped."""
        try:
            found = parse_input(packet, config=self.config.core)
        except ValueError:
            self.malformed += 1
            return None
        route = unpack(HEADER, int.from_bytes(packet[:8], "little"))["slot"]
        descriptor = self.routes.descriptor(route)
        if descriptor is None:
            self.faults[NocFault.NOC_OBJECT] += 1
            return None
        if found.kind is PacketKind.VECTOR:
            return route, Message(MessageKind.VECTOR, descriptor.object, found.start, found.codes)
        assert found.scale is not None
        values = found.scale | found.codes << 8
        return route, Message(MessageKind.AFFINE, descriptor.object, found.start, values)

    def sendable(self, route: int, message: Message) -> bool:
        """The route has the credits for a vector; affine tables need none."""
        if message.kind is MessageKind.AFFINE:
            return True
        return self.routes.sendable(route)

    def send(self, route: int, message: Message) -> None:
        """Take the credits of a message that leaves."""
        if message.kind is MessageKind.VECTOR and self.routes.descriptor(route) is not None:
            self.routes.pay(route)

    def take(self, message: Message, limit: int = PAYLOAD_FLITS) -> list[Result]:
        """Results of a message, one per packet of ``limit`` data flits at most."""
        error = self._refusal(message)
        is_credit = message.kind is MessageKind.CREDIT
        if error is None and is_credit:
            counted = self.routes.add(message.object, message.start, message.value)
            error = None if counted else NocFault.NOC_CREDIT
        if error is not None:
            self.faults[error] += packet_count(message, self.config.core, limit)
        if error is not None or is_credit:
            return []
        return [
            Result(message.object, part.start, part.values.astype(np.int8))
            for part in split(message, self.config.core, limit)
        ]

    def _refusal(self, message: Message) -> NocFault | None:
        """Why nothing of a message is taken."""
        kind, number, lines = message.kind, message.object, len(message.values)
        if kind is MessageKind.CREDIT:
            known = self.routes.known(number, message.start)
        else:
            known = kind is MessageKind.VECTOR and self.object(number) is not None
        if not known:
            return NocFault.NOC_OBJECT
        if (kind is MessageKind.CREDIT) != (lines == 0):
            return NocFault.NOC_RANGE
        if kind is MessageKind.VECTOR and message.start + lines > self.config.core.lines:
            return NocFault.NOC_RANGE
        return None

    def object(self, index: int) -> ObjectDescriptor | None:
        """Descriptor of an enabled object; None for any other number."""
        return self.objects[index] if index < len(self.objects) else None
