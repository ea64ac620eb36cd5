# SPDX-License-Identifier: Apache-2.0
"""Local control: what has arrived, what may fire, what goes back as credits.

Written from docs/contract/local_control.md; the closed forms are those of ``ObjectDescriptor``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor
from phasecore.rtl.spec.messages import GRANT_MAX

__all__ = ["Grant", "LocalControl", "members"]


@dataclass(frozen=True)
class Grant:
    """``credits`` (1..255) that go back to the producer of ``object`` in one message."""

    object: int
    credits: int


class LocalControl:
    """Counters of all objects of a core.

    Attributes (lists by object)
    ----------------------------
    descriptors : None where undefined
    arrived : vectors of the present frame and of later ones; negative while vectors that no
        iteration of the last frame needed have yet to come
    dead : vectors of the present frame that nobody needs any more
    row, col : iteration
    frame_number : frames before the present one
    at : byte of the ring that takes the next vector
    lines : partial sums that have come since the last merging SEND, counted from line 0

    refused : objects that a RELEASE named and that were not ready or not enabled
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        count = config.objects
        self.descriptors: list[ObjectDescriptor | None] = [None] * count
        self.arrived = [0] * count
        self.dead = [0] * count
        self.row = [0] * count
        self.col = [0] * count
        self.frame_number = [0] * count
        self.at = [0] * count
        self.lines = [0] * count
        self.refused = 0

    def define(self, index: int, descriptor: ObjectDescriptor) -> None:
        """Write a descriptor, which restarts the object.

        ``enable = 0``, or a ring that is not in its memory, undefines it.
        """
        if not 0 <= index < len(self.descriptors):
            raise ValueError(f"object must be in 0..{len(self.descriptors) - 1}, not {index}")
        end = descriptor.base + descriptor.size
        words = self.config.accumulator_words if descriptor.sums else self.config.memory_words
        fits = descriptor.partial or (descriptor.size and end <= words)
        self.descriptors[index] = descriptor if descriptor.enable and fits else None
        self.arrived[index] = descriptor.arrived
        for counter in (self.dead, self.row, self.col, self.frame_number, self.at, self.lines):
            counter[index] = 0

    def descriptor(self, index: int) -> ObjectDescriptor | None:
        """Descriptor of an enabled object; None for any other number."""
        return self.descriptors[index] if index < len(self.descriptors) else None

    def place(self, index: int, lines: Int) -> Int:
        """Bytes of the vector memory that take ``lines`` of an enabled object's next vector."""
        descriptor, lanes = self._enabled(index), self.config.post_lanes
        return descriptor.base * lanes + (self.at[index] + lines) % (descriptor.size * lanes)

    def present(self, index: int) -> int:
        """Vectors that are there and still needed."""
        return self.arrived[index] - self.dead[index]

    def full(self, index: int) -> bool:
        """The ring has no room for another vector."""
        return self.present(index) >= self._enabled(index).depth

    def arrive(self, index: int) -> None:
        """A whole vector has come, for the object and the cursors on its ring."""
        self.arrived[index] += 1
        for other, descriptor in enumerate(self.descriptors):
            if descriptor is not None and descriptor.cursor and descriptor.source == index:
                self.arrived[other] += 1
        descriptor = self._enabled(index)
        if not descriptor.partial:
            ring = descriptor.size * self.config.post_lanes
            self.at[index] = (self.at[index] + 8 * descriptor.pitch) % ring

    def ready(self, index: int) -> bool:
        """The present iteration has what it needs; False if not enabled."""
        descriptor = self.descriptor(index)
        if descriptor is None:
            return False
        return self.arrived[index] >= descriptor.need(self.row[index], self.col[index])

    def all_ready(self, mask: int) -> bool:
        """All objects of a mask are ready."""
        return all(self.ready(index) for index in members(mask))

    def release(self, mask: int) -> list[Grant]:
        """End the iteration of all objects of a mask that are ready; the credits given back.

        Grants come in ascending order of objects, and of one object 255 credits at a time.
        """
        grants = []
        for index in members(mask):
            if not self.ready(index):
                self.refused += 1
                continue
            credits_ = self._advance(index)
            if self._enabled(index).cursor:
                continue
            while credits_ > 0:
                grants.append(Grant(index, min(credits_, GRANT_MAX)))
                credits_ -= GRANT_MAX
        return grants

    def _advance(self, index: int) -> int:
        """Go on to the next iteration; vectors that died."""
        descriptor = self._enabled(index)
        row, col = self.row[index], self.col[index]
        dead = descriptor.dead(row, col)
        died = dead - self.dead[index]
        self.dead[index] = dead
        col += 1
        if col == descriptor.out_width:
            row, col = row + 1, 0
        if row == descriptor.out_height:
            row = 0
            self.frame_number[index] += 1
            self.arrived[index] -= descriptor.height * descriptor.width
            self.dead[index] = 0
        self.row[index], self.col[index] = row, col
        return died

    def _enabled(self, index: int) -> ObjectDescriptor:
        descriptor = self.descriptor(index)
        if descriptor is None:
            raise ValueError(f"object {index} is not enabled")
        return descriptor


def members(mask: int) -> Iterator[int]:
    """Numbers of the bits of a mask that are set, ascending."""
    index = 0
    while mask >> index:
        if mask >> index & 1:
            yield index
        index += 1
