# SPDX-License-Identifier: Apache-2.0
"""A core whose programs run compiled: the bits of ``models/golden/core.py``, traced if asked to."""

from collections.abc import Iterable, Sequence

from phasecore.models.engine.network import nothing
from phasecore.models.engine.packets import Packets
from phasecore.models.engine.program import NO_HALT
from phasecore.models.engine.scheduler import Engine
from phasecore.models.golden.core import Core
from phasecore.models.golden.packets import Result

__all__ = ["CompiledCore"]


class CompiledCore(Core):
    """A core that stands alone; ``Core.run`` works on the same state.

    A program that ends with an error leaves the held window undefined.
    """

    traced = False
    """Write the trace; it costs some speed."""

    _engine: Engine | None = None

    def run(self, program: Sequence[int], packets: Iterable[bytes] = ()) -> list[Result]:
        engine = self._engine = self._engine or Engine([self])
        outcome = engine.run([program], nothing(), Packets.of(packets), traced=self.traced)
        if outcome.through:
            return outcome.results
        if outcome.programs.places["status"][0] == NO_HALT:
            raise ValueError(f"program of {len(program)} instructions has no HALT")
        raise ValueError("LOAD waits for a packet, but none is left")
