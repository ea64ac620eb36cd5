# SPDX-License-Identifier: Apache-2.0
"""Sending, taking and awaiting vectors: network interface, local control and host bridge.

Written from docs/contract. A vector is taken at once, which leaves the same
as taking its packets one by one.
"""

from typing import Any

import numpy as np

from phasecore.models.engine.jit import compiled
from phasecore.models.golden import post_processing
from phasecore.models.golden import window as window_unit
from phasecore.models.golden.fixed_point import clip, copy, round_shift, wrapped
from phasecore.models.golden.noc import NUMBERS, Noc, NocFault
from phasecore.models.golden.packet_arrays import (
    Packets,
    Progress,
    Results,
    append_result,
    is_full,
    read_header,
)
from phasecore.models.golden.packets import HEADER_BYTES
from phasecore.models.golden.state import Cores, Geometry
from phasecore.models.golden.trace import log_vector
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT
from phasecore.rtl.spec.instructions import CREDITS_MAX, PacketKind
from phasecore.rtl.spec.messages import GRANT_MAX, LINES_PER_FLIT, MessageKind

__all__ = [
    "all_ready", "feed", "gather", "normalise", "partial_sum", "read_by_all", "release", "scatter",
    "send", "sendable",
]  # fmt: skip

_OBJECT, _RANGE, _CREDIT, _ = range(len(NocFault))
_NONE = -1
_VECTOR, _PARTIAL, _AFFINE = MessageKind.VECTOR, MessageKind.PARTIAL, MessageKind.AFFINE
_KIND_VECTOR, _KIND_PARTIAL, _KIND_AFFINE = int(_VECTOR), int(_PARTIAL), int(_AFFINE)
_VECTOR_LINES, _OTHER_LINES = LINES_PER_FLIT[_VECTOR], LINES_PER_FLIT[_PARTIAL]
_PACKET_VECTOR = int(PacketKind.VECTOR)
_PARTIAL_MAX = (1 << (PARTIAL_BITS - 1)) - 1


@compiled
def all_ready(noc: Noc, k: int, mask: int) -> bool:
    """All objects of a mask have what their iterations need."""
    for index in range(NUMBERS):
        if mask >> index & 1 and not _ready(noc, noc.objects[k, index]):
            return False
    return True


@compiled
def release(noc: Noc, k: int, mask: int) -> None:
    """End the iterations of all objects of a mask that are ready; give credits back."""
    for index in range(NUMBERS):
        if not mask >> index & 1:
            continue
        entry = noc.objects[k, index]
        if not _ready(noc, entry):
            noc.refused[k] += 1
            continue
        dead = noc.dead[_iteration(entry)]
        died = dead - entry.dead
        entry.dead = dead
        entry.col += 1
        if entry.col == entry.width:
            entry.row, entry.col = entry.row + 1, 0
        if entry.row == entry.height:
            entry.row = entry.dead = 0
            entry.frame_number += 1
            entry.arrived -= entry.frame
        while died > 0 and not entry.cursor:
            _give(noc, entry, min(died, GRANT_MAX))
            died -= GRANT_MAX


@compiled
def read_by_all(noc: Noc, geometry: Geometry, k: int, mask: int) -> bool:
    """Any unit may read one of a mask's objects: partial sums, or a ring that begins in a slot.

    Others are read by the window unit alone.
    """
    for index in range(NUMBERS):
        entry = noc.objects[k, index]
        in_slots = entry.ring_base < geometry.slots * geometry.lines
        if mask >> index & 1 and entry.enable and (entry.partial or (in_slots and not entry.sums)):
            return True
    return False


@compiled
def gather(cores: Cores, geometry: Geometry, noc: Noc, k: int, i: Any) -> bool:
    """GATHER with the fields ``i``; False if it must wait."""
    entry, w = noc.objects[k, i.object], noc.window[0]
    if not _ready(noc, entry):
        return False
    window_unit.place(w, entry, i, i.destination, geometry.lines, geometry.post_lanes)
    window_unit.gather(cores.memory[k], geometry.lines, w)
    if len(cores.log):
        for line in range(w.start, w.start + w.count):
            log_vector(cores, k, w.slot, line, cores.slots[k, w.slot, line])
    return True


@compiled
def scatter(cores: Cores, geometry: Geometry, noc: Noc, k: int, i: Any) -> bool:
    """SCATTER with the fields ``i``; False if it must wait."""
    entry, w = noc.objects[k, i.object], noc.window[0]
    if not _ready(noc, entry):
        return False
    window_unit.place(w, entry, i, i.slot, geometry.lines, geometry.post_lanes)
    shift = cores.exponents[k, i.slot] - entry.unit
    cores.scalars[k].post_accumulator_saturations += window_unit.scatter(
        cores.memory[k], cores.accumulators[k], geometry.lines, shift,
        geometry.acc_bits, w,
    )  # fmt: skip
    return True


@compiled
def normalise(cores: Cores, geometry: Geometry, noc: Noc, k: int, i: Any) -> bool:
    """NORMALISE with the fields ``i``; False if it must wait."""
    entry = noc.objects[k, i.object]
    if not _ready(noc, entry):
        return False
    first = entry.ring_base + window_unit.pointer(entry) + entry.skip
    sums = cores.accumulators[k, first : first + entry.count]
    post_processing.normalise(cores, geometry, k, i, sums, entry.unit)
    return True


@compiled
def sendable(noc: Noc, k: int, number: int) -> bool:
    """Every consumer of an enabled route has a credit for a vector."""
    for member in range(noc.routes[k, number].consumers):
        if noc.credits[k, number, member] == 0:
            return False
    return True


@compiled
def _pay(noc: Noc, k: int, number: int) -> None:
    """A vector takes a credit of every consumer."""
    for member in range(noc.routes[k, number].consumers):
        noc.credits[k, number, member] -= 1


@compiled
def send(
    cores: Cores, geometry: Geometry, noc: Noc, k: int, i: Any, results: Results,
    progress: Progress,
) -> bool:  # fmt: skip
    """SEND with the fields ``i``; False if it must wait."""
    route, merge_object = noc.routes[k, i.route], noc.objects[k, i.object]
    if not route.enable:
        noc.faults[k, _OBJECT] += 1
        return True
    merging = i.partial and i.merge
    if is_full(cores, geometry, results, progress):
        return False
    if not sendable(noc, k, i.route):
        return False
    if merging and merge_object.lines < i.first_line + i.length:
        return False
    _pay(noc, k, i.route)
    if merging:
        merge_object.lines = 0
    values, kind = noc.values, _KIND_VECTOR
    noc.exponent[0] = cores.exponents[k, i.slot]
    if i.partial:
        kind = _KIND_PARTIAL
        for at in range(i.length):
            values[at] = partial_sum(cores.accumulators[k, i.first_line + at])
    else:
        copy(values, cores.slots[k, i.slot, i.first_line : i.first_line + i.length])
    _post(cores, geometry, noc, route, kind, i.first_line, i.length, results, progress)
    return True


@compiled
def partial_sum(accumulator: int) -> int:
    """What of an accumulator travels as a partial sum."""
    return clip(round_shift(accumulator, PARTIAL_SHIFT), -_PARTIAL_MAX - 1, _PARTIAL_MAX)


@compiled
def feed(
    cores: Cores, geometry: Geometry, noc: Noc, packets: Packets, results: Results,
    progress: Progress,
) -> bool:  # fmt: skip
    """Packets of the host, as far as there are credits; True if any was taken."""
    moved = False
    while progress.packet[0] + 1 < len(packets.ends):
        number = progress.packet[0]
        packet, slot, start, length = read_header(packets, number, geometry.lines)
        slot = min(slot, NUMBERS)
        route = noc.routes[noc.host, slot]
        if not packet:
            noc.malformed[0] += 1
        elif not route.enable:
            noc.faults[noc.host, _OBJECT] += 1
        else:
            waits = packet == _PACKET_VECTOR and not sendable(noc, noc.host, slot)
            if waits or is_full(cores, geometry, results, progress):
                return moved
            kind = _unpack(noc, packets, number, packet, length)
            if kind == _KIND_VECTOR:
                _pay(noc, noc.host, slot)
            noc.exponent[0] = 0
            _post(cores, geometry, noc, route, kind, start, length, results, progress)
        progress.packet[0] += 1
        moved = True
    return moved


@compiled
def _unpack(noc: Noc, packets: Packets, number: int, packet: int, length: int) -> int:
    """Lines of a host's packet, of a table scale and offset together; its kind as a message."""
    payload = packets.data[packets.ends[number] + HEADER_BYTES :]
    for at in range(length):
        if packet != _PACKET_VECTOR:
            noc.values[at] = payload[2 * at] | np.int64(np.int8(payload[2 * at + 1])) << 8
        else:
            noc.values[at] = np.int8(payload[at])
    return _KIND_VECTOR if packet == _PACKET_VECTOR else _KIND_AFFINE


@compiled
def _post(
    cores: Cores, geometry: Geometry, noc: Noc, route: Any, kind: int, start: int,
    length: int, results: Results, progress: Progress,
) -> None:  # fmt: skip
    """Bring ``noc.values`` to all consumers of a route."""
    if not route.count:
        noc.undeliverable[0] += 1
    for at in range(route.first, route.first + route.count):
        node = noc.nodes[at]
        error = _refusal(geometry, noc, node, kind, route.object, start, length)
        lines = route.flits * (_VECTOR_LINES if kind == _KIND_VECTOR else _OTHER_LINES)
        if error != _NONE:
            noc.faults[node, error] += _packets(geometry, start, length, lines)
        elif node == noc.host:
            _result(geometry, noc, route.object, start, length, lines, results, progress)
        else:
            _take(cores, geometry, noc, node, kind, route.object, start, length)


@compiled
def _refusal(
    geometry: Geometry, noc: Noc, node: int, kind: int, number: int, start: int, length: int
) -> int:
    """Why a node takes nothing of a message; -1 if it takes it."""
    entry, at_host = noc.objects[node, number], node == noc.host
    if kind == _KIND_AFFINE:
        known = not at_host and number < geometry.affine_tables
    elif at_host:
        known = kind == _KIND_VECTOR and entry.enable == 1
    else:
        known = entry.enable == 1 and entry.cursor == 0
        known &= entry.partial == (kind == _KIND_PARTIAL)
    if not known:
        return _OBJECT
    if start + length > geometry.lines:
        return _RANGE
    if kind == _KIND_VECTOR and not at_host and start + length > entry.pitch:
        return _RANGE
    if kind != _KIND_AFFINE and not at_host and entry.arrived - entry.dead >= entry.depth:
        return _CREDIT
    return _NONE


@compiled
def _take(
    cores: Cores, geometry: Geometry, noc: Noc, k: int, kind: int, number: int, start: int,
    length: int,
) -> None:  # fmt: skip
    """A core takes ``noc.values``."""
    values = noc.values[:length]
    if kind == _KIND_AFFINE:
        for at in range(length):
            cores.scales[k, number, start + at] = values[at] & 0xFF
            cores.offsets[k, number, start + at] = values[at] >> 8
        return
    entry = noc.objects[k, number]
    if kind == _KIND_VECTOR:
        _store(cores, geometry, noc, k, entry, start, length)
    else:
        _add_sums(cores.accumulators[k, start:], noc.values, length, entry.replace, geometry)
        entry.lines = start + length
    entry.arrived += 1
    if entry.cursors:
        for index in range(NUMBERS):
            other = noc.objects[k, index]
            other.arrived += other.cursor == 1 and other.source == number


@compiled
def _store(
    cores: Cores, geometry: Geometry, noc: Noc, k: int, entry: Any, start: int, length: int
) -> None:
    """Write ``noc.values`` into the ring of an object, and go on in it."""
    memory, values = cores.memory[k], noc.values
    first, size = entry.at + start, entry.ring_size
    for line in range(length):
        byte = entry.ring_base + wrapped(first + line, size)
        memory[byte] = values[line]
        if len(cores.log):
            log_vector(cores, k, byte // geometry.lines, byte % geometry.lines, values[line])
    slot = (entry.ring_base + entry.at) // geometry.lines
    if slot < geometry.slots:
        cores.exponents[k, slot] = noc.exponent[0]
    entry.at = (entry.at + entry.pitch) % entry.ring_size


@compiled
def _add_sums(accumulators: Any, sums: Any, length: int, replace: int, geometry: Geometry) -> None:
    limit = 1 << (geometry.acc_bits - 1)
    for at in range(length):
        value = sums[at] << PARTIAL_SHIFT
        if not replace:
            value = clip(accumulators[at] + value, -limit, limit - 1)
        accumulators[at] = value


@compiled
def _result(
    geometry: Geometry, noc: Noc, number: int, start: int, length: int, lines: int,
    results: Results, progress: Progress,
) -> None:  # fmt: skip
    """The host gets ``noc.values``, a result per packet of at most ``lines`` lines."""
    at = 0
    while at < length:
        end = min(_packet_end(geometry, start + at, lines) - start, length)
        append_result(results, progress, number, start + at, noc.values[at:end])
        at = end
    _give(noc, noc.objects[noc.host, number], 1)


@compiled
def _packets(geometry: Geometry, start: int, length: int, lines: int) -> int:
    """Packets of at most ``lines`` lines."""
    count, at = 0, start
    while at < start + length:
        at = _packet_end(geometry, at, lines)
        count += 1
    return count


@compiled
def _packet_end(geometry: Geometry, at: int, lines: int) -> int:
    """Line behind the longest packet that begins at line ``at``."""
    word = (at // geometry.post_lanes + 1) * geometry.post_lanes
    return min(at + lines, word)


@compiled
def _give(noc: Noc, entry: Any, credits_: int) -> None:
    """Credits for the producer of an object."""
    node = entry.producer
    if node < 0:
        noc.undeliverable[0] += 1
        return
    route = noc.routes[node, entry.route]
    if not route.enable or entry.member >= route.consumers:
        noc.faults[node, _OBJECT] += 1
        return
    total = noc.credits[node, entry.route, entry.member] + credits_
    noc.faults[node, _CREDIT] += total > CREDITS_MAX
    noc.credits[node, entry.route, entry.member] = min(total, CREDITS_MAX)


@compiled
def _ready(noc: Noc, entry: Any) -> bool:
    """The present iteration of an object has what it needs."""
    return entry.enable == 1 and entry.arrived >= noc.need[_iteration(entry)]


@compiled
def _iteration(entry: Any) -> int:
    """Where the present iteration of an object is in ``Noc.need`` and ``Noc.dead``."""
    return entry.table + entry.row * entry.width + entry.col
