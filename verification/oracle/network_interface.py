# SPDX-License-Identifier: Apache-2.0
"""A core's network interface: messages, their flits, credits of routes.

Written from docs/contract/network_interface.md. A :class:`Message` is a packet, or a whole vector
as the chip passes it on (:func:`split` makes packets of it); taking a vector at once leaves the
same as taking its packets one by one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any

import numpy as np

from phasecore.models.golden.noc import NocFault, payload_flits
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT, CoreConfig
from phasecore.rtl.spec.instructions import (
    CREDITS_MAX,
    MEMBERS,
    ObjectDescriptor,
    RouteDescriptor,
)
from phasecore.rtl.spec.messages import (
    LINES_PER_FLIT,
    PAYLOAD_FLITS,
    MessageKind,
    message_fields,
    message_head,
)
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.fixed_point import Int, round_shift, saturate
from phasecore.verification.oracle.local_control import Grant, LocalControl
from phasecore.verification.oracle.window import gather, scatter

__all__ = [
    "Message",
    "NetworkInterface",
    "NocFault",
    "Routes",
    "affine_packets",
    "credit_packets",
    "flits",
    "packet_count",
    "partial_packets",
    "partial_sums",
    "payload_flits",
    "read_packet",
    "split",
    "vector_packets",
]  # fmt: skip

FLIT_BYTES = 8
_NOTHING: Int = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Message:
    """A packet, or a vector of several.

    ``object``: object; CREDIT: route, AFFINE: table. ``start``: first line; CREDIT: which
    consumer of the route. ``values``: one per line, VECTOR signed bytes, PARTIAL signed sums of 16
    bits, AFFINE ``scale | offset << 8`` (signed 16 bits), CREDIT none. ``value``: VECTOR: exponent,
    CREDIT: credits.
    """

    kind: MessageKind
    object: int
    start: int = 0
    values: Int = field(default_factory=lambda: _NOTHING)
    value: int = 0
    last: bool = True


# Flits


def split(message: Message, config: CoreConfig, limit: int) -> Iterator[Message]:
    """Packets of a vector, in order of lines; ``limit`` is the most data flits of one.

    No packet crosses a boundary of ``post_lanes`` lines; the last one has ``last``.
    """
    stop = message.start + len(message.values)
    most = limit * LINES_PER_FLIT.get(message.kind, 1)
    at = message.start
    while at < stop:
        end = min(at + most, (at // config.post_lanes + 1) * config.post_lanes, stop)
        values = message.values[at - message.start : end - message.start]
        yield changed(message, start=at, values=values, last=message.last and end == stop)
        at = end


def packet_count(message: Message, config: CoreConfig, limit: int) -> int:
    """Packets of a message; a credit is one."""
    return max(1, sum(1 for _ in split(message, config, limit)))


def flits(message: Message, route: Mapping[str, int]) -> list[int]:
    """Flits of one packet, head first; ``route`` has the routers' fields but ``length``."""
    fields = {"kind": message.kind, "object": message.object, "value": message.value}
    if message.kind is MessageKind.CREDIT:
        return [message_head(HEADER.pack(**route, length=1), **fields, start=message.start)]
    lines = LINES_PER_FLIT[message.kind]
    start, rest = divmod(message.start, lines)
    if rest:
        raise ValueError(f"start must be a multiple of {lines}, not {message.start}")
    trim = -len(message.values) % lines
    padded = np.pad(message.values, (0, trim))
    payload = padded.astype(f"<i{FLIT_BYTES // lines}").tobytes()
    data = [int(word) for word in np.frombuffer(payload, dtype="<u8")]
    head = message_head(
        HEADER.pack(**route, length=1 + len(data)), **fields, last=int(message.last), trim=trim,
        start=start,
    )  # fmt: skip
    return [head, *data]


def read_packet(packet: Sequence[int]) -> Message:
    """Message of a packet's flits, of which the last ones are missing if it was cancelled.

    A head alone gives no ``values``; the lines of the last flit that ``trim`` names are left out.
    """
    head, *data = packet
    fields = message_fields(head)
    kind, value = MessageKind(fields["kind"]), fields["value"]
    if kind is MessageKind.CREDIT:
        words = np.array(data, dtype=np.uint64).astype(np.int64)
        return Message(kind, fields["object"], fields["start"], words, value)
    lines = LINES_PER_FLIT[kind]
    payload = np.array(data, dtype="<u8").tobytes()
    values = np.frombuffer(payload, dtype=f"<i{FLIT_BYTES // lines}").astype(np.int64)
    whole = HEADER["length"].of(head) - 1
    values = values[: whole * lines - min(fields["trim"], lines)]
    exponent = value - (value >> 7 << 8) if kind is MessageKind.VECTOR else value
    return Message(
        kind, fields["object"], fields["start"] * lines, values, exponent, bool(fields["last"])
    )


def _route_destination(descriptor: RouteDescriptor, noc: NocConfig) -> dict[str, int]:
    to = ("cols", "rows") if descriptor.multicast else ("x", "y")
    return {
        "multicast": descriptor.multicast, "order": noc.order(descriptor.vc),
        **{name: getattr(descriptor, name) for name in to},
    }  # fmt: skip


def _packets(
    message: Message, descriptor: RouteDescriptor, config: CoreConfig, noc: NocConfig
) -> list[list[int]]:
    limit = payload_flits(noc, descriptor)
    route = _route_destination(descriptor, noc)
    return [flits(part, route) for part in split(message, config, limit)]


def vector_packets(
    vector: Int, exponent: int, descriptor: RouteDescriptor, config: CoreConfig,
    noc: NocConfig, *, start: int, length: int,
) -> list[list[int]]:  # fmt: skip
    """Packets (flits, head first) of a SEND of lines start..start+length-1 of a slot.

    ``vector`` is the slot, shape (lines,), ``exponent`` its shared exponent.
    """
    values = vector[start : start + length]
    message = Message(MessageKind.VECTOR, descriptor.object, start, values, exponent)
    return _packets(message, descriptor, config, noc)


def partial_packets(
    accumulators: Int, descriptor: RouteDescriptor, config: CoreConfig, noc: NocConfig,
    *, start: int, length: int,
) -> list[list[int]]:  # fmt: skip
    """Packets of a SEND of lines start..start+length-1 of the accumulators, shape (lines,)."""
    values = partial_sums(accumulators[start : start + length])
    message = Message(MessageKind.PARTIAL, descriptor.object, start, values)
    return _packets(message, descriptor, config, noc)


def affine_packets(
    scale: Int, offset: Int, descriptor: RouteDescriptor, config: CoreConfig,
    noc: NocConfig, *, start: int,
) -> list[list[int]]:  # fmt: skip
    """Packets of an affine table's lines from ``start`` on; ``object`` is the table."""
    message = Message(MessageKind.AFFINE, descriptor.object, start, scale | offset << 8)
    return _packets(message, descriptor, config, noc)


def credit_packets(
    grants: Sequence[Grant], descriptors: Sequence[ObjectDescriptor | None], noc: NocConfig
) -> list[list[int]]:
    """Packets of credits, one each, to the producers of the objects."""
    packets = []
    for grant in grants:
        descriptor = descriptors[grant.object]
        assert descriptor is not None
        message = Message(
            MessageKind.CREDIT, descriptor.route, descriptor.member, value=grant.credits
        )
        route = {"order": noc.order(descriptor.vc), "x": descriptor.x, "y": descriptor.y}
        packets.append(flits(message, {"multicast": 0, **route}))
    return packets


def partial_sums(accumulators: Int) -> Int:
    """What of accumulators goes over the NoC.

    >>> partial_sums(np.array([192, 96, -32, 1 << 23])).tolist()
    [3, 2, 0, 32767]
    """
    return saturate(round_shift(accumulators, PARTIAL_SHIFT), PARTIAL_BITS)


# State


class Routes:
    """Destination descriptors (None where undefined) and the credits of their consumers.

    ``credits``: by route and consumer, ``MEMBERS`` of them, 0 behind the last one.
    """

    def __init__(self, count: int, noc: NocConfig):
        self.noc = noc
        self.descriptors: list[RouteDescriptor | None] = [None] * count
        self.credits = [[0] * MEMBERS for _ in range(count)]

    def define(self, index: int, descriptor: RouteDescriptor) -> None:
        """Write a descriptor, which restarts its credits.

        ``enable = 0``, a channel that does not exist, or not 1..16 consumers undefine the route.
        """
        if not 0 <= index < len(self.credits):
            raise ValueError(f"route must be in 0..{len(self.credits) - 1}, not {index}")
        exists = descriptor.vc < self.noc.virtual_channels
        exists = exists and 1 <= descriptor.consumers <= MEMBERS
        self.descriptors[index] = descriptor if descriptor.enable and exists else None
        members = range(MEMBERS)
        self.credits[index] = [descriptor.credits * (n < descriptor.consumers) for n in members]

    def descriptor(self, index: int) -> RouteDescriptor | None:
        """Descriptor of an enabled route; None for any other number."""
        return self.descriptors[index] if index < len(self.descriptors) else None

    def sendable(self, index: int) -> bool:
        """Every consumer has room for a vector; or the route is undefined, and none is sent."""
        descriptor = self.descriptor(index)
        return descriptor is None or min(self.credits[index][: descriptor.consumers]) > 0

    def pay(self, index: int) -> None:
        """A vector goes to every consumer of an enabled route."""
        descriptor = self.descriptor(index)
        assert descriptor is not None
        for member in range(descriptor.consumers):
            self.credits[index][member] -= 1

    def known(self, index: int, member: int) -> bool:
        """There is such a consumer of an enabled route."""
        descriptor = self.descriptor(index)
        return descriptor is not None and member < descriptor.consumers

    def add(self, index: int, member: int, credits_: int) -> bool:
        """Credits of a consumer come back; False if they are more than its counter can hold."""
        total = self.credits[index][member] + credits_
        self.credits[index][member] = min(total, CREDITS_MAX)
        return total <= CREDITS_MAX


class NetworkInterface:
    """Objects and routes of a core, and what messages do to the core.

    Attributes
    ----------
    local : :class:`~phasecore.verification.oracle.local_control.LocalControl`
    routes : :class:`Routes`
    faults : packets dropped, by :class:`NocFault`
    """

    def __init__(self, core: Core, noc: NocConfig):
        self.core, self.config, self.noc = core, core.config, noc
        self.local = LocalControl(core.config)
        self.routes = Routes(core.config.routes, noc)
        self.faults = dict.fromkeys(NocFault, 0)
        self._open: dict[int, list[Message]] = {}

    def send(self, values: Mapping[str, int]) -> Message | None:
        """The vector of a SEND (fields ``values``), whose credits are taken.

        None, and an error, if the route is undefined.
        """
        number, core = values["route"], self.core
        descriptor = self.routes.descriptor(number)
        if descriptor is None:
            self.faults[NocFault.NOC_OBJECT] += 1
            return None
        self.routes.pay(number)
        start, stop = values["first_line"], values["first_line"] + values["length"]
        lines = np.arange(start, stop)
        if values["partial"]:
            sums = partial_sums(core.post.accumulators[start:stop])
            core.trace.sums_sent.append((number, lines, sums))
            if values["merge"]:
                self.local.lines[values["object"]] = 0
            return Message(MessageKind.PARTIAL, descriptor.object, start, sums)
        codes, exponent = core.slots[values["slot"], start:stop].copy(), core.exponents
        return Message(
            MessageKind.VECTOR, descriptor.object, start, codes, int(exponent[values["slot"]])
        )

    def merged(self, values: Mapping[str, int]) -> bool:
        """All partial sums that a SEND waits for have come."""
        if not (values["partial"] and values["merge"]):
            return True
        if self.routes.descriptor(values["route"]) is None:
            return True
        return self.local.lines[values["object"]] >= values["first_line"] + values["length"]

    def gather(self, values: Mapping[str, int]) -> None:
        """GATHER of an object whose iteration is ready."""
        lanes = self.config.post_lanes
        entry, window = self._window(values)
        start, count = window["start"], window["count"]
        slot = self.core.slots[values["destination"]]
        gather(
            self.core.memory[entry.base * lanes : (entry.base + entry.size) * lanes], slot,
            largest=bool(values["largest"]), **window,
        )  # fmt: skip
        lines = np.arange(start, start + count)
        self.core.trace.vectors.append((values["destination"], lines, slot[lines].copy()))

    def scatter(self, values: Mapping[str, int]) -> None:
        """SCATTER to an object whose iteration is ready."""
        lanes, core = self.config.post_lanes, self.core
        entry, window = self._window(values)
        ring = core.post.accumulators[entry.base * lanes : (entry.base + entry.size) * lanes]
        core.post.accumulator_saturations += scatter(
            ring, core.slots[values["slot"]], bits=self.config.acc_bits,
            shift=int(core.exponents[values["slot"]]) - entry.unit, **window,
        )  # fmt: skip

    def normalise(self, values: dict[str, int]) -> None:
        """NORMALISE of an object whose iteration is ready."""
        entry, window = self._window(values)
        row, col = window["pixel"]
        at = window["origin"] + row * entry.row_pitch + col * entry.pixel_pitch
        at = at % (entry.size * self.config.post_lanes) + entry.skip
        at += entry.base * self.config.post_lanes
        sums = self.core.post.accumulators[at : at + entry.count]
        self.core.write(values, *self.core.post.normalise(sums, entry.unit))

    def _window(self, values: Mapping[str, int]) -> tuple[ObjectDescriptor, dict[str, Any]]:
        """Descriptor of an object, and the place of the window of its iteration."""
        local, index = self.local, values["object"]
        entry, down, right = (
            local.descriptor(index), values.get("block_row", 0), values.get("block_col", 0)
        )  # fmt: skip
        assert entry is not None
        row, col, frame = local.row[index], local.col[index], local.frame_number[index]
        pixel = (
            row * entry.stride_row - entry.padding_row + down,
            col * entry.stride_col - entry.padding_col + right,
        )
        # Address of the pixel that is read first in the window of block position (0, 0), less
        # what lies between it and the object's pixel (0, 0).
        origin = (
            entry.origin + frame * entry.frame_step + row * entry.row_step + col * entry.col_step
        )
        origin -= (pixel[0] - down) * entry.row_pitch
        origin -= (pixel[1] - right + entry.first_col) * entry.pixel_pitch
        start = values.get("block", 0) * self.config.post_lanes
        return entry, {
            "origin": origin, "frame": (entry.height, 1 << 20 if entry.packed else entry.width),
            "pixel": pixel, "pitches": (entry.row_pitch, entry.pixel_pitch),
            "kernel": (entry.rows, entry.cols), "segment": entry.segment,
            "first": (0, entry.first_col), "skip": entry.skip, "start": start,
            "count": min(entry.count, self.config.lines - start),
        }  # fmt: skip

    def receive(self, packet: Sequence[int], *, cancelled: bool = False) -> NocFault | None:
        """Take a packet, head first; of a cancelled one, the flits that came before its end.

        Returns the error that was counted, if any; a packet has one at most, its head's before
        that of its cancellation.
        """
        message = read_packet(packet)
        # What the head promises, not what came, must fit.
        promised = HEADER["length"].of(packet[0]) - 1
        lines = promised * LINES_PER_FLIT.get(message.kind, 1)
        error = self._take(message, lines, cancelled=cancelled)
        if error is not None:
            self.faults[error] += 1
        return error

    def take(self, message: Message, limit: int = PAYLOAD_FLITS) -> None:
        """Take a whole message; errors are those of its packets of ``limit`` data flits at most."""
        error = self._take(message, len(message.values))
        if error is not None:
            self.faults[error] += packet_count(message, self.config, limit)

    def _take(self, message: Message, lines: int, *, cancelled: bool = False) -> NocFault | None:
        """Take a message whose packets have room for ``lines`` lines; its error."""
        error = self._refusal(message, lines)
        if error is None:
            if message.kind is not MessageKind.CREDIT:
                self._write(message)
            if cancelled:
                error = NocFault.NOC_CANCELLED
            elif message.kind is MessageKind.CREDIT:
                if not self.routes.add(message.object, message.start, message.value):
                    error = NocFault.NOC_CREDIT
            elif message.last and message.kind is not MessageKind.AFFINE:
                self._arrive(message)
        return error

    def _refusal(self, message: Message, lines: int) -> NocFault | None:
        """Why nothing of a message with so many lines is taken."""
        kind, number = message.kind, message.object
        if kind is MessageKind.CREDIT:
            if not self.routes.known(number, message.start):
                return NocFault.NOC_OBJECT
            return NocFault.NOC_RANGE if lines else None
        descriptor = self.local.descriptor(number)
        if kind is MessageKind.AFFINE:
            known = number < self.config.affine_tables
        else:
            wanted = int(kind is MessageKind.PARTIAL)
            known = (
                descriptor is not None and descriptor.partial == wanted and not descriptor.cursor
            )
        if not known:
            return NocFault.NOC_OBJECT
        most = self.config.lines
        if kind is MessageKind.VECTOR and descriptor is not None:
            most = min(most, 8 * descriptor.pitch)
        if not lines or message.start + lines > most:
            return NocFault.NOC_RANGE
        if kind is not MessageKind.AFFINE and self.local.full(number):
            return NocFault.NOC_CREDIT
        return None

    def _write(self, message: Message) -> None:
        """Take the lines of a message that is not refused."""
        core, values = self.core, message.values
        lines = slice(message.start, message.start + len(values))
        if message.kind is MessageKind.AFFINE:
            core.post.scales[message.object, lines] = values & 0xFF
            core.post.offsets[message.object, lines] = values >> 8
            return
        if message.kind is MessageKind.VECTOR:
            places = self.local.place(message.object, np.arange(lines.start, lines.stop))
            core.memory[places] = values
            core.trace.vectors.append(
                (places // self.config.lines, places % self.config.lines, values)
            )
        else:
            descriptor = self.local.descriptor(message.object)
            assert descriptor is not None
            sums = values << PARTIAL_SHIFT
            if not descriptor.replace:
                sums = saturate(core.post.accumulators[lines] + sums, self.config.acc_bits)
            core.post.accumulators[lines] = sums
            self.local.lines[message.object] = lines.stop
        self._open.setdefault(message.object, []).append(message)

    def _arrive(self, message: Message) -> None:
        """A vector is complete."""
        parts = self._open.pop(message.object)
        lines = np.concatenate([part.start + np.arange(len(part.values)) for part in parts])
        values = np.concatenate([part.values for part in parts])
        trace = self.core.trace
        if message.kind is MessageKind.VECTOR:
            begins = int(self.local.place(message.object, np.array([0]))[0])
            slot = begins // self.config.lines
            if slot < self.config.slots:
                self.core.exponents[slot] = message.value
            trace.received.append((message.object, slot, lines, values, message.value))
        else:
            trace.sums_received.append((message.object, lines, values))
        self.local.arrive(message.object)
