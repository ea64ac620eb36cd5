# SPDX-License-Identifier: Apache-2.0
"""The emitted programs of a graph without their data: do they come to an end, and when.

Vectors and credits are tokens with the cycle in which they are there. Every program is sequential,
every object has one producer, and nothing but tokens is waited for, so that cores may be
interpreted in any order: what stops here stops with every timing (a Kahn process network; Kahn,
Information Processing 74, 471 (1974)), and times are those of the dependencies (max-plus).

The instructions have the timing of the contract; units whose latency varies by a cycle or two have
a typical one. Links are free: packets that meet are not modelled.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.mapping.stage import Stage
from phasecore.models.compiler.placement import links
from phasecore.models.golden.noc import destinations
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    Function,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    decode,
)
from phasecore.rtl.spec.messages import MessageKind

__all__ = ["Deadlock", "Timing", "schedule"]

ISSUE = 3
"""Cycles from an instruction to the next one (controller)."""

LOAD = 3
"""From FORWARD to its first word in the input driver."""

READ_OUT = 2
"""From the end of a window to its codes."""

POST = 6
"""From the first word that post-processing reads to the first one written."""

GATHERED = 4
"""Of a GATHER beside its chunks."""

RELEASED = 4
"""From RELEASE of an object to its next iteration and its credits."""

SENT = 3
"""From SEND to the head of its first packet on the link."""

HOST = 2
"""From a packet of the host to its next one."""


class Deadlock(ValueError):
    """Programs wait for one another for ever; the text names the circle of cores."""


@dataclass(frozen=True)
class Timing:
    """What a run of images has come to.

    Attributes
    ----------
    image_ends : cycle in which the host has the last vector of each image
    cycles : in which the last program has come to its end
    windows : cycles in which those of the crossbar begin, by node; of cores that only pool, those
        in which they are gathered
    pools : nodes of such cores
    window_cycles : of a window
    used : most vectors that were in each ring at once, by node and object
    sent : flits by node and route
    """

    image_ends: list[int]
    cycles: int
    windows: dict[int, list[int]]
    pools: frozenset[int]
    window_cycles: int
    used: dict[tuple[int, int], int]
    sent: dict[tuple[int, int], int]

    @cached_property
    def cycles_per_image(self) -> float:
        """Of images that follow one another without a gap, in the slowest core.

        From the first window of the second image on: the first one finds empty rings.
        """
        count = len(self.image_ends)
        if count < 3:
            return self.cycles / count
        firsts = [np.array(starts).reshape(count, -1)[:, 0] for starts in self.windows.values()]
        return float(max((first[-1] - first[1]) / (count - 2) for first in firsts))

    @cached_property
    def products(self) -> dict[int, int]:
        """Windows of an image by node, of cores whose crossbar integrates them."""
        count = len(self.image_ends)
        return {
            node: len(starts) // count
            for node, starts in self.windows.items() if node not in self.pools
        }  # fmt: skip

    def busy(self, node: int) -> float:
        """Part of the cycles in which a core's crossbar integrates, images without a gap."""
        return self.products.get(node, 0) * self.window_cycles / self.cycles_per_image


@dataclass
class _Ring:
    """An object of a node, with the cycles of what has come and gone."""

    descriptor: ObjectDescriptor
    maker: int
    """Node of its producer."""
    hops: int
    """Routers from its producer, and back."""
    slots: range
    """That it covers."""
    arrivals: list[int]
    needs: list[int]
    frees: list[int]
    """Vectors that an iteration of a frame needs, and that nobody needs behind it."""
    iteration: int = 0
    released: list[tuple[int, int]] = field(default_factory=list)
    """Cycle and vectors, counted on from the first frame, of every RELEASE."""

    @classmethod
    def of(cls, descriptor: ObjectDescriptor, maker: int, hops: int, config: CoreConfig) -> "_Ring":
        places = [*np.ndindex(descriptor.out_height, descriptor.out_width)]
        first, last = descriptor.base, descriptor.base + descriptor.size - 1
        slots = range(first // config.blocks, min(last // config.blocks + 1, config.slots))
        return cls(
            descriptor, maker, hops, slots, [0] * descriptor.arrived,
            [max(0, descriptor.need(*place)) for place in places],
            [descriptor.dead(*place) for place in places],
        )  # fmt: skip

    def ready(self, after: int) -> int | None:
        """Cycle in which the present iteration has what it needs; None: it has not come yet."""
        frame, at = divmod(self.iteration, len(self.needs))
        need = self.needs[at]
        if not need:
            return after
        need += frame * self.frees[-1]
        return max(after, self.arrivals[need - 1]) if need <= len(self.arrivals) else None

    def release(self, at: int) -> int:
        """End the iteration; the vectors that become free."""
        frame, place = divmod(self.iteration, len(self.frees))
        before = self.released[-1][1] if self.released else 0
        free = frame * self.frees[-1] + self.frees[place]
        self.iteration += 1
        self.released.append((at, free))
        return free - before

    def most(self) -> int:
        """Most vectors that were here at once."""
        if not self.released:
            return len(self.arrivals)
        times, freed = np.array(self.released).T
        gone = np.searchsorted(times, np.array(self.arrivals), side="right") - 1
        there = np.arange(1, len(self.arrivals) + 1) - np.where(gone < 0, 0, freed[gone])
        return int(there.max(initial=0))


@dataclass
class _Route:
    """A route of a node: its consumers, and the cycles in which each gave credits."""

    consumers: list[tuple[int, int]]
    hops: list[int]
    credits: list[list[int]]
    sent: int = 0
    flits: int = 0

    def credit(self) -> int | None:
        """Cycle in which the next message has a credit of every consumer."""
        if any(len(given) <= self.sent for given in self.credits):
            return None
        return max(given[self.sent] for given in self.credits)


@dataclass
class _Core:
    """A program, and when what it uses is free."""

    node: int
    code: list[tuple[Opcode, dict[str, int]]]
    words: list[int]
    """Words of the vector memory that a segment's columns take."""
    writes: list[int]
    reads: list[int]
    """Cycle in which a slot is no longer written, or read."""
    pc: int = 0
    time: int = 0
    loops: list[int] = field(default_factory=lambda: [0] * 4)
    driver: int = 0
    window: int = 0
    """End of the last window."""
    post: int = 0
    unit: int = 0
    """The window unit."""
    sender: int = 0
    sums: int = 0
    """A partial SEND is through."""
    pending: tuple[int, int, int] | None = None
    """Program counter, cycle and flits of a SEND that waits for credits."""
    windows: list[int] = field(default_factory=list)
    only_pools: bool = False
    halted: bool = False


class _Chip:
    """All cores of a mapping, and the host."""

    def __init__(self, mapping: InferenceMapping, images: int):
        self._mapping, self._config = mapping, mapping.config
        chip, tables = mapping.hardware, mapping.tables
        self._rings: dict[tuple[int, int], _Ring] = {}
        self._routes: dict[tuple[int, int], _Route] = {}
        for node, table in tables.items():
            for number, entry in enumerate(table.objects):
                if entry.enable:
                    (maker,) = destinations(chip.noc, entry)
                    hops = links(chip, maker, node) + 1
                    self._rings[node, number] = _Ring.of(entry, maker, hops, self._config)
        for node, table in tables.items():
            for number, route in enumerate(table.routes):
                self._add_route(node, number, route)
        programs = mapping.programs(images)
        self._cores = {
            stage.node: self._core(stage, programs[stage.node]) for stage in mapping.stages
        }
        self._host = chip.host
        self._packets = self._host_packets(images)
        self._packet = next(self._packets, None)
        self._host_time = 0
        # Nodes that have got something since they were last looked at.
        self._awake = deque([self._host, *self._cores])
        self._waiting = set(self._awake)
        self._masks: dict[tuple[int, int], list[_Ring]] = {}
        # Cycles in which the host has vectors, by its object.
        self._results: dict[int, list[int]] = {}

    def _add_route(self, node: int, number: int, route: RouteDescriptor) -> None:
        consumers = [
            (to, route.object) for to in destinations(self._mapping.hardware.noc, route)
        ]  # fmt: skip
        # Counters of credits are by the number of the consumer.
        consumers.sort(key=lambda key: self._rings[key].descriptor.member)
        rings = [self._rings[key] for key in consumers]
        self._routes[node, number] = _Route(
            consumers, [ring.hops for ring in rings], [[0] * route.credits for _ in rings]
        )

    def _core(self, stage: Stage, program: list[int]) -> _Core:
        lanes, slots = self._config.post_lanes, self._config.slots
        words = [-(-one.col_count // lanes) for one in stage.segments()]
        code = [decode(word) for word in program]
        return _Core(
            stage.node, code, words, [0] * slots, [0] * slots, only_pools=stage.layer.only_pools
        )  # fmt: skip

    def _host_packets(self, images: int) -> Iterator[tuple[int, int]]:
        """Route and flits of every packet in the order in which the host sends them."""
        mapping = self._mapping
        first = mapping.network.layers[0].reads
        vectors = first.height * first.row_vectors(self._config)
        flits = message_flits(8 * first.pitch(self._config), self._config)
        routes = range(len(mapping.tables[mapping.hardware.host].routes))
        return ((route, flits) for _ in range(images * vectors) for route in routes)

    def run(self) -> None:
        """Let all go on until none can."""
        while self._awake:
            node = self._awake.popleft()
            self._waiting.discard(node)
            if node == self._host:
                self._send_packets()
            else:
                self._advance(self._cores[node])
        if not all(core.halted for core in self._cores.values()):
            raise Deadlock(self._circle())

    def _wake(self, node: int) -> None:
        if node not in self._waiting:
            self._waiting.add(node)
            self._awake.append(node)

    def _send_packets(self) -> None:
        """Send what the host has, until it must wait for credits."""
        while self._packet is not None:
            route, flits = self._packet
            credit = self._routes[self._host, route].credit()
            if credit is None:
                return
            begin = max(self._host_time, credit)
            self._deliver(self._host, route, begin, flits)
            self._host_time = begin + flits + HOST
            self._packet = next(self._packets, None)

    def timing(self, images: int) -> Timing:
        """Of a run that has come to its end."""
        ends = [
            max(times[(at + 1) * len(times) // images - 1] for times in self._results.values())
            for at in range(images)
        ]  # fmt: skip
        return Timing(
            image_ends=ends,
            cycles=max(core.time for core in self._cores.values()),
            windows={node: core.windows for node, core in self._cores.items()},
            pools=frozenset(node for node, core in self._cores.items() if core.only_pools),
            window_cycles=self._config.window_cycles,
            used={key: ring.most() for key, ring in self._rings.items() if key[0] != self._host},
            sent={key: route.flits for key, route in self._routes.items()},
        )  # fmt: skip

    def _deliver(self, node: int, number: int, begin: int, flits: int) -> None:
        """Send a message that has its credits: from ``begin`` on the sender is at work."""
        route = self._routes[node, number]
        route.sent += 1
        route.flits += flits
        for (to, entry), hops in zip(route.consumers, route.hops, strict=True):
            at = begin + SENT + hops + flits
            self._rings[to, entry].arrivals.append(at)
            if to != self._host:
                self._wake(to)
            else:
                self._results.setdefault(entry, []).append(at)
                self._grant(self._rings[to, entry], at, 1)

    def _grant(self, ring: _Ring, at: int, count: int) -> None:
        """Credits of a ring to its producer."""
        entry = ring.descriptor
        route = self._routes.get((ring.maker, entry.route))
        if route is not None and count:
            route.credits[entry.member] += [at + ring.hops + SENT] * count
            self._wake(ring.maker)

    def _advance(self, core: _Core) -> None:
        """Let a program go on until it must wait for a token."""
        while not core.halted:
            waits = core.pending is not None and not self._send_pending(core)
            if waits and self._needs_sender(core):
                return
            opcode, given = core.code[core.pc]
            if not self._issue(core, opcode, given):
                return

    def _send_pending(self, core: _Core) -> bool:
        """Send what waits for credits, if it has them now."""
        assert core.pending is not None
        pc, at, flits = core.pending
        given = core.code[pc][1]
        credit = self._routes[core.node, given["route"]].credit()
        if credit is None:
            return False
        begin = max(at, credit)
        self._deliver(core.node, given["route"], begin, flits)
        core.sender = begin + SENT + flits
        if given["partial"]:
            core.sums = core.sender
        else:
            core.reads[given["slot"]] = max(core.reads[given["slot"]], core.sender)
        core.pending = None
        return True

    def _needs_sender(self, core: _Core) -> bool:
        """The next instruction waits for a SEND that has no credits yet."""
        assert core.pending is not None
        sent = core.code[core.pending[0]][1]
        opcode, given = core.code[core.pc]
        if opcode in (Opcode.SEND, Opcode.HALT):
            return True
        if opcode is Opcode.ACTIVATE:
            return bool(sent["partial"]) or given["destination"] == sent["slot"]
        if opcode is Opcode.GATHER:
            return not sent["partial"] and given["destination"] == sent["slot"]
        return opcode is Opcode.RELEASE and self._is_partial(core, given["objects"])

    def _is_partial(self, core: _Core, mask: int) -> bool:
        return any(ring.descriptor.partial for ring in self._masked(core, mask))

    def _masked(self, core: _Core, mask: int) -> list[_Ring]:
        found = self._masks.get((core.node, mask))
        if found is None:
            numbers = [number for number in range(mask.bit_length()) if mask >> number & 1]
            found = [self._rings[core.node, number] for number in numbers]
            self._masks[core.node, mask] = found
        return found

    def _issue(self, core: _Core, opcode: Opcode, given: dict[str, int]) -> bool:
        """Issue an instruction; False if it has to wait for a token."""
        at: int | None = core.time
        following = core.pc + 1
        if opcode is Opcode.FORWARD:
            at = self._forward(core, given)
        elif opcode is Opcode.GATHER:
            at = self._gather(core, given)
        elif opcode is Opcode.ACTIVATE:
            at = self._activate(core, given)
        elif opcode is Opcode.AWAIT:
            at = self._await(core, given["objects"])
        elif opcode is Opcode.RELEASE:
            at = self._release(core, given["objects"])
        elif opcode is Opcode.SEND:
            at = self._send(core, given)
        elif opcode is Opcode.LOOP:
            core.loops[given["counter"]] += 1
            if core.loops[given["counter"]] < given["count"]:
                following = given["target"]
            else:
                core.loops[given["counter"]] = 0
        elif opcode is Opcode.HALT:
            at = max(core.time, core.post, core.window, core.sender)
            core.halted = True
        else:
            raise ValueError(f"{opcode.name} has no timing in a program that infers")
        if at is None:
            return False
        core.time = at + ISSUE
        core.pc = following
        return True

    def _forward(self, core: _Core, given: dict[str, int]) -> int:
        at = max(core.time, core.driver, core.writes[given["slot"]])
        loaded = at + LOAD + self._config.blocks
        start = max(loaded, core.window)
        core.reads[given["slot"]] = max(core.reads[given["slot"]], loaded)
        core.driver, core.window = start, start + self._config.window_cycles
        core.windows.append(start)
        return at

    def _gather(self, core: _Core, given: dict[str, int]) -> int | None:
        ring = self._rings[core.node, given["object"]]
        slot, entry, slots = given["destination"], ring.descriptor, ring.slots
        at = ring.ready(max(core.time, core.unit, core.writes[slot], core.reads[slot]))
        if at is None:
            return None
        at = max([at, *(core.writes[one] for one in slots)])
        if core.only_pools:
            core.windows.append(at)
        core.unit = at + _gather_cycles(entry, given, self._config)
        core.writes[slot] = core.unit
        for one in slots:
            core.reads[one] = max(core.reads[one], core.unit)
        return at

    def _activate(self, core: _Core, given: dict[str, int]) -> int:
        slot, words = given["destination"], core.words[given["segment"]]
        is_stored = given["function"] != Function.NONE
        at = max(core.time, core.post, core.sums)
        if is_stored:
            at = max(at, core.writes[slot], core.reads[slot])
        if given["from_slot"]:
            at = max(at, core.writes[given["slot"]])
            core.post = at + POST + 2 * words
            core.reads[given["slot"]] = max(core.reads[given["slot"]], core.post)
        else:
            core.post = max(at, core.window + READ_OUT) + POST + words
        if is_stored:
            core.writes[slot] = core.post
        return at

    def _await(self, core: _Core, mask: int) -> int | None:
        times = [ring.ready(core.time) for ring in self._masked(core, mask)]
        return None if None in times else max(time for time in times if time is not None)

    def _release(self, core: _Core, mask: int) -> int:
        at = max(core.time, core.unit)
        if self._is_partial(core, mask):
            at = max(at, core.post, core.sums, *core.reads)
        for number, ring in enumerate(self._masked(core, mask)):
            done = at + RELEASED * (number + 1)
            self._grant(ring, done, ring.release(done))
        return at

    def _send(self, core: _Core, given: dict[str, int]) -> int:
        at = max(core.time, core.sender)
        at = max(at, core.post if given["partial"] else core.writes[given["slot"]])
        kind = MessageKind.PARTIAL if given["partial"] else MessageKind.VECTOR
        core.pending = core.pc, at, message_flits(given["length"], self._config, kind)
        self._send_pending(core)
        return at

    # What is wrong

    def _circle(self) -> str:
        """Who waits for whom, in a circle if there is one."""
        waits = {
            node: self._waits(core) for node, core in self._cores.items() if not core.halted
        }  # fmt: skip
        seen: list[int] = []
        node = next(iter(waits))
        while node in waits and node not in seen:
            seen.append(node)
            node = waits[node][0]
        if node in seen:
            seen = seen[seen.index(node) :]
        names = {stage.node: stage.name for stage in self._mapping.stages}
        names[self._host] = "the host"
        return "the programs stop: " + ", ".join(
            f"{names[one]} waits for {waits[one][1]} {names[waits[one][0]]}" for one in seen
        )

    def _waits(self, core: _Core) -> tuple[int, str]:
        """Node that a core waits for, and for what."""
        if core.pending is not None and self._needs_sender(core):
            route = self._routes[core.node, core.code[core.pending[0]][1]["route"]]
            for (to, _), credits_ in zip(route.consumers, route.credits, strict=True):
                if len(credits_) <= route.sent:
                    return to, "credits of"
        opcode, given = core.code[core.pc]
        mask = 1 << given["object"] if opcode is Opcode.GATHER else given["objects"]
        for ring in self._masked(core, mask):
            if ring.ready(0) is None:
                kind = "partial sums" if ring.descriptor.partial else "vectors"
                return ring.maker, f"{kind} of"
        raise AssertionError(f"node {core.node} waits for nothing")


def _gather_cycles(entry: ObjectDescriptor, given: dict[str, int], config: CoreConfig) -> int:
    """Typical cycles of a GATHER: a chunk for what a word of the memory has of a pixel."""
    lanes = config.post_lanes
    if entry.packed:
        chunks = entry.rows * (1 + (entry.segment + lanes // 2) // lanes)
    elif given["largest"]:
        chunks = entry.rows * entry.cols * -(-entry.count // lanes)
    else:
        pixels = -(-(entry.skip + entry.count) // entry.segment)
        chunks = pixels * -(-entry.segment // lanes)
    return chunks + GATHERED


def schedule(mapping: InferenceMapping, images: int = 5) -> Timing:
    """Run the programs of a mapped graph for some images that follow one another.

    Raises
    ------
    Deadlock
        naming the circle of cores that wait for one another
    """
    chip = _Chip(mapping, images)
    chip.run()
    return chip.timing(images)
