# SPDX-License-Identifier: Apache-2.0
"""What a mapped graph sends over which links, and what its cores hold."""

from collections import Counter
from collections.abc import Iterator, Mapping

from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.placement import links
from phasecore.models.compiler.schedule import Timing
from phasecore.models.golden.noc import destinations
from phasecore.models.noc.cycle_model import LOCAL, STEP, path
from phasecore.rtl.spec.instructions import INSTRUCTION_BITS, RouteDescriptor
from phasecore.rtl.spec.registers.table import OBJECT_WORDS, ROUTE_WORDS, SEGMENT_WORDS

__all__ = ["Link", "bytes_passed", "descriptor_bytes", "hops", "link_flits", "ring_bytes"]

Link = tuple[int, int]
"""From a node to one beside it."""

WORD = 4
"""Bytes of a register."""


def _routes(mapping: InferenceMapping) -> Iterator[tuple[int, int, RouteDescriptor]]:
    for node, tables in mapping.tables.items():
        for number, route in enumerate(tables.routes):
            yield node, number, route


def hops(mapping: InferenceMapping) -> list[int]:
    """Links between every producer and each of its consumers."""
    chip = mapping.hardware
    return [
        links(chip, node, to)
        for node, _, route in _routes(mapping) for to in destinations(chip.noc, route)
    ]  # fmt: skip


def link_flits(mapping: InferenceMapping, timing: Timing) -> Mapping[Link, float]:
    """Flits of vectors and partial sums per image, by link; a multicast takes a link once.

    Credits, a flit for each message that comes the other way, are left out.
    """
    found: Counter[Link] = Counter()
    for node, number, route in _routes(mapping):
        nodes = destinations(mapping.hardware.noc, route)
        for link in {link for to in nodes for link in _way(mapping, node, to, route.vc)}:
            found[link] += timing.sent[node, number]
    return {link: flits / len(timing.image_ends) for link, flits in found.items()}


def bytes_passed(mapping: InferenceMapping, timing: Timing) -> float:
    """Bytes of an image times the routers that they pass, those at both ends among them."""
    flits = sum(link_flits(mapping, timing).values())
    # The last router of a way has no link behind it.
    flits += sum(
        timing.sent[node, number] * len(destinations(mapping.hardware.noc, route))
        for node, number, route in _routes(mapping)
    ) / len(timing.image_ends)  # fmt: skip
    return flits * mapping.hardware.noc.flit_bits / 8


def _way(mapping: InferenceMapping, node: int, to: int, vc: int) -> Iterator[Link]:
    """Links from one node to another one."""
    noc, place = mapping.hardware.noc, mapping.hardware.place
    if noc.direct:
        yield node, to
        return
    for port in path(place(node), place(to), noc.order(vc)):
        if port != LOCAL:
            step = STEP[port]
            following = node + step[0] + step[1] * noc.width
            yield node, following
            node = following


def descriptor_bytes(mapping: InferenceMapping) -> dict[int, int]:
    """Program, objects, routes and segments of every core."""
    found, programs = {}, mapping.programs(2)
    for stage in mapping.stages:
        tables = mapping.tables[stage.node]
        segments = len(stage.segments())
        found[stage.node] = (
            len(programs[stage.node]) * INSTRUCTION_BITS // 8
            + WORD * OBJECT_WORDS * sum(entry.enable for entry in tables.objects)
            + WORD * (ROUTE_WORDS * len(tables.routes) + SEGMENT_WORDS * segments)
        )
    return found


def ring_bytes(mapping: InferenceMapping) -> dict[int, int]:
    """Vector memory behind the slots that every core's rings take."""
    found = {}
    for stage in mapping.stages:
        first = mapping.config.slot_words
        ends = [
            entry.base + entry.size for entry in mapping.tables[stage.node].objects
            if entry.enable and not entry.partial
        ]  # fmt: skip
        found[stage.node] = (max(ends) - first) * mapping.config.post_lanes
    return found
