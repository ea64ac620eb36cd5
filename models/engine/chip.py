# SPDX-License-Identifier: Apache-2.0
"""A chip whose programs run compiled: the bits of ``models/golden/chip.py``, traced if asked to."""

from collections.abc import Iterator, Mapping, Sequence

from phasecore.models.engine.network import Fabric, FabricState
from phasecore.models.engine.packets import Packets
from phasecore.models.engine.program import HALTED, NO_HALT, Programs
from phasecore.models.engine.scheduler import Engine, Outcome
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.instructions import Opcode

__all__ = ["CompiledChip"]


class CompiledChip(Chip):
    """Cores and host bridge; ``Chip.run`` works on the same state.

    Programs that end in a deadlock leave the held windows undefined.
    """

    traced = False
    """Write the traces of the cores; it costs some speed."""

    _engine: Engine | None = None

    def run(
        self, programs: Mapping[int, Sequence[int]], packets: Sequence[bytes] = ()
    ) -> list[Result]:
        nodes = list(self.cores)
        engine = self._engine = self._engine or Engine(list(self.cores.values()))
        state = FabricState(self, nodes)
        fabric = state.load()
        words = [programs.get(node) for node in nodes]
        outcome = engine.run(words, fabric, Packets.of(packets), traced=self.traced)
        state.store(fabric)
        if not outcome.through:
            raise ValueError(self._reason(list(programs), outcome, fabric, packets))
        return outcome.results

    def _reason(
        self, nodes: Sequence[int], outcome: Outcome, fabric: Fabric, packets: Sequence[bytes]
    ) -> str:
        """Why the programs of ``nodes`` have not come to their ends."""
        numbers = {node: number for number, node in enumerate(self.cores)}
        programs = outcome.programs
        for number in numbers.values():
            if programs.places["status"][number] == NO_HALT:
                return f"program of {len(programs.part(number))} instructions has no HALT"
        waits = [
            f"core {node} waits for {wait}"
            for node in nodes
            for wait in _core_waits(programs, numbers[node])
        ]
        if outcome.packets < len(packets):
            waits.append(f"host waits for credits of stream {packets[outcome.packets][1]}")
        waits += [
            f"SEND of core {node} waits for {wait}"
            for node in nodes
            for wait in _send_waits(programs, fabric, numbers[node])
        ]
        return f"deadlock: {'; '.join(waits)}"


def _core_waits(programs: Programs, k: int) -> Iterator[str]:
    """What a core waits for, if it does."""
    place = programs.places[k]
    if place["status"] == HALTED:
        return
    i = programs.part(k)[int(place["pc"])]
    if i["opcode"] == Opcode.AWAIT:
        mask = int(i["objects"])
        numbers = [str(index) for index in range(mask.bit_length()) if mask >> index & 1]
        yield f"objects {', '.join(numbers)}"
    else:
        yield "its SEND"


def _send_waits(programs: Programs, fabric: Fabric, k: int) -> Iterator[str]:
    """What a SEND waits for, if it does."""
    sending = int(programs.places["sending"][k])
    if sending < 0:
        return
    i = programs.part(k)[sending]
    stream = fabric.streams[k, int(i["stream"])]
    if stream["credits"] < stream["needed"]:
        yield f"credits of stream {i['stream']}"
    else:
        yield f"partial sums of object {i['object']}"
