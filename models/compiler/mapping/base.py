# SPDX-License-Identifier: Apache-2.0
"""What hardware has to do for a network, for which images, and what its answers mean."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import Network
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.noc import destinations
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    Drift,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
)

__all__ = [
    "NONE_SENT", "Images", "Job", "Labels", "Mapping", "Memory", "Sent", "Tables", "check_tables",
    "multicast",
]  # fmt: skip

Images = NDArray[np.uint8]
"""Codes, shape (images, inputs)."""

Labels = NDArray[np.uint8]
"""Classes, shape (images,)."""

Memory = tuple[int, bytes]
"""MEMORY_ADDRESS and whole words that MEMORY_DATA takes from there on."""


class Sent(NamedTuple):
    """Vectors that the host has sent so far: a job's rings begin where the one before left them."""

    images: int = 0
    targets: int = 0

    def after(self, job: "Job") -> "Sent":
        """Likewise when ``job`` is done, too."""
        return Sent(self.images + job.sent.images, self.targets + job.sent.targets)


NONE_SENT = Sent()


@dataclass(frozen=True)
class Tables:
    """Objects and routes of a node of a chip, by number."""

    objects: Sequence[ObjectDescriptor] = ()
    routes: Sequence[RouteDescriptor] = ()


def multicast(chip: ChipConfig, nodes: Sequence[int]) -> dict[str, int]:
    """Fields of a route to nodes that are all those of some columns and rows."""
    x, y = (set(axis) for axis in zip(*map(chip.place, nodes), strict=True))
    return {
        "multicast": 1, "cols": sum(1 << col for col in x), "rows": sum(1 << row for row in y),
        "consumers": len(nodes),
    }  # fmt: skip


def check_tables(chip: ChipConfig, tables: dict[int, Tables]) -> None:
    """Raise ``ValueError`` unless every consumer of every route has credits of its own.

    ``tables`` are those of all nodes in use. A route whose consumers start without credits and
    give none back sends no vectors, but affine tables; nothing is asked of it.
    """
    # Who takes the credits of a route's members, and whose vectors every object takes.
    owners: dict[tuple[int, int, int], str] = {}
    producers: dict[tuple[int, int], tuple[int, int]] = {}
    for node, own in tables.items():
        for index, entry in enumerate(own.objects):
            name = f"object {index} of node {node}"
            if not entry.enable or entry.cursor:
                continue
            for producer in destinations(chip.noc, entry):
                producers[node, index] = (producer, entry.route)
                member = (producer, entry.route, entry.member)
                if member in owners:
                    raise ValueError(
                        f"{name} is member {entry.member} of route {entry.route} of node"
                        f" {producer}, as {owners[member]} is"
                    )
                owners[member] = name
    for node, own in tables.items():
        for number, route in enumerate(own.routes):
            if route.enable and (route.credits or (node, number) in producers.values()):
                _check_consumers(chip, (node, number), route, owners, producers)


def _check_consumers(
    chip: ChipConfig, number: tuple[int, int], route: RouteDescriptor,
    owners: dict[tuple[int, int, int], str], producers: dict[tuple[int, int], tuple[int, int]],
) -> None:  # fmt: skip
    """A route's consumers are its members, and have no other producer."""
    name = f"route {number[1]} of node {number[0]}"
    route.check()
    consumers = destinations(chip.noc, route)
    if len(consumers) != route.consumers:
        raise ValueError(f"{name} goes to {len(consumers)} nodes, not to {route.consumers}")
    for consumer in consumers:
        taken = f"object {route.object} of node {consumer}"
        producer = producers.get((consumer, route.object))
        if producer is None:
            raise ValueError(f"{name} goes to {taken}, which is not there")
        if producer != number:
            raise ValueError(
                f"{taken} has two producers: {name} and route {producer[1]} of node {producer[0]}"
            )
    for (node, index, member), owner in owners.items():
        if (node, index) == number and member >= route.consumers:
            raise ValueError(
                f"{owner} is member {member} of {name}, which has {route.consumers} consumers"
            )


@dataclass(frozen=True)
class Job:
    """What the hardware has to do, from the start of all programs to their ends.

    Attributes
    ----------
    programs : instruction words by node
    packets : what the host sends, in order
    sent : how many of the packets' vectors are images and targets
    tables : descriptors by node that are written before, which restarts their counters
    memory : by node what is written before into slots and affine tables
    """

    programs: dict[int, list[int]]
    packets: list[bytes] = field(default_factory=list)
    sent: Sent = NONE_SENT
    tables: dict[int, Tables] = field(default_factory=dict)
    memory: dict[int, list[Memory]] = field(default_factory=dict)


class Mapping(ABC):
    """A network on hardware.

    :class:`~phasecore.models.training.learner.Learner` trains it in the golden model,
    :class:`~phasecore.verification.cosim.machine.Machine` in RTL and golden model.

    Attributes
    ----------
    recipe : integer parameters of the network on cores of one configuration
    hardware : configuration of a core that stands alone, of a chip, or of what else there is a
        golden model of
    nodes : of all cores in use, ascending or in an order of the mapping's own
    """

    recipe: Recipe
    hardware: Any
    nodes: tuple[int, ...]

    @property
    def network(self) -> Network:
        """What is trained."""
        return self.recipe.network

    @property
    def config(self) -> CoreConfig:
        """Configuration of every core."""
        return self.recipe.config

    @property
    def profile(self) -> DeviceProfile:
        """Devices and converters."""
        return self.recipe.profile

    @abstractmethod
    def setup(self) -> Job:
        """What is done once, before anything else: calibration, constants, descriptors."""

    @abstractmethod
    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        """Learn at least one image in order.

        Parameters
        ----------
        sent : what all jobs before have sent
        refresh : rebuild worn pairs of all layers at the end
        read : send the output vector of every image, of before it is learnt
        """

    @abstractmethod
    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        """Send the output vectors of at least one image."""

    @abstractmethod
    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """Segment descriptors of every node for one learning rate."""

    @abstractmethod
    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
        """Weights of every layer, shape (rows, outputs), bias last.

        ``codes`` are G+ - G- of the crossbars by node, shape (rows, cols).
        """

    @abstractmethod
    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        """Output vector of every image, shape (outputs,), of what a job has sent."""

    def calibration(self, drift: str | None = None) -> Job:
        """Calibrate the converters of all cores.

        ``drift``: "baseline" remembers what each array conducts, "compensate" scales its gains by
        what it has lost since, None takes the scale back.
        """
        if drift not in _DRIFTS:
            raise ValueError(f"drift must be None, baseline or compensate, not {drift!r}")
        program = [encode(Opcode.CALIBRATE, drift=_DRIFTS[drift]), encode(Opcode.HALT)]
        return Job(dict.fromkeys(self.nodes, program))

    def bounds(self, counters: dict[str, float]) -> dict[str, float]:
        """Least cycles per training image of phases that add up, by phase; see the chip's.

        ``counters`` are events per image of all cores.
        """
        return {}


_DRIFTS = {None: Drift.NONE, "baseline": Drift.BASELINE, "compensate": Drift.COMPENSATE}
