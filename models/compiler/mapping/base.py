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
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    Drift,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
)

__all__ = ["NONE_SENT", "Images", "Job", "Labels", "Mapping", "Sent", "Tables"]

Images = NDArray[np.uint8]
"""Codes, shape (images, inputs)."""

Labels = NDArray[np.uint8]
"""Classes, shape (images,)."""


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


@dataclass(frozen=True)
class Job:
    """What the hardware has to do, from the start of all programs to their ends.

    Attributes
    ----------
    programs : instruction words by node
    packets : what the host sends, in order
    sent : how many of the packets' vectors are images and targets
    tables : descriptors by node that are written before, which restarts their counters
    """

    programs: dict[int, list[int]]
    packets: list[bytes] = field(default_factory=list)
    sent: Sent = NONE_SENT
    tables: dict[int, Tables] = field(default_factory=dict)


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
