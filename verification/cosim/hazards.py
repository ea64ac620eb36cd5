# SPDX-License-Identifier: Apache-2.0
"""Windows that are read too early or too late, found in the trace of a core.

A window must see of every byte the vector that its position in the frame says: not the one before
it in the ring (read before write), not the one behind it (write before read). Nothing of the design
is asked for that: how often every group of 8 bytes has been written is counted, and compared when
the window unit begins and when it has ended.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, ObjectDescriptor

__all__ = ["Hazards", "RingReads"]


class RingReads:
    """What the windows of a program read of a ring, frame after frame.

    Parameters
    ----------
    ring : an object on the ring
    frame : by window, in order, the groups of 8 bytes that it reads, counted from the frame's first
    written : whether each group of a frame's vectors, which follow one another around the ring, is
        written; those behind a vector's end are not
    """

    def __init__(
        self, ring: ObjectDescriptor, frame: Sequence[Int], written: NDArray[np.bool_]
    ):  # fmt: skip
        self.ring, self.frame, self.written = ring, frame, written

    def groups(self, number: int) -> Int:
        """Groups of window ``number``, counted from those of the first frame."""
        frame, window = divmod(number, len(self.frame))
        return self.frame[window] + frame * len(self.written)

    def times(self, groups: Int, ring: int) -> Int:
        """How often places of a ring of ``ring`` groups are written when they hold ``groups``."""
        frames = int(groups.max(initial=0)) // len(self.written) + 1
        written = np.tile(self.written, frames)
        written = np.pad(written, (0, -len(written) % ring)).reshape(-1, ring)
        found: Int = written.cumsum(axis=0)[groups // ring, groups % ring]
        return found


class Hazards:
    """Follows the traces of a core on which windows of one ring are all that the window unit does.

    Attributes
    ----------
    windows : seen so far
    """

    def __init__(self, config: CoreConfig, reads: RingReads):
        of_word = config.post_lanes // GROUP
        self._reads, self._first = reads, reads.ring.base * of_word
        self._written = np.zeros(reads.ring.size * of_word, dtype=np.int64)
        self.windows = 0

    def follow(self, trace: Path) -> Iterator[str]:
        """Hazards of the next batch, in words."""
        for line in trace.read_bytes().splitlines():
            kind, _, rest = line.partition(b" ")
            if kind == b"V":
                group = int(rest.split()[0], 16) - self._first
                if 0 <= group < len(self._written):
                    self._written[group] += 1
            elif kind == b"W":
                begins = rest == b"1"
                yield from self._seen(begins)
                self.windows += not begins

    def _seen(self, begins: bool) -> Iterator[str]:
        groups, ring = self._reads.groups(self.windows), len(self._written)
        place, times = groups % ring, self._reads.times(groups, ring)
        wrong = np.flatnonzero(self._written[place] != times)
        if len(wrong):
            at, when = wrong[0], "begins" if begins else "ends"
            yield (
                f"window {self.windows} {when}: group {place[at]} of the ring written"
                f" {self._written[place[at]]} times, not {times[at]}"
            )
