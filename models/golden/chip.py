# SPDX-License-Identifier: Apache-2.0
"""Golden model of the chip: cores that run programs of their own and pass vectors to each other.

Each object has one producer and each program is sequential (a Kahn process network), so results
do not depend on who goes first. Here every program goes on as far as it can, and messages arrive
at once.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from phasecore.models.engine.programs import HALTED, NO_HALT, Programs
from phasecore.models.engine.scheduler import Engine, RunResult, waits_for_send
from phasecore.models.golden.core import Core
from phasecore.models.golden.device.profiles import DeviceProfile
from phasecore.models.golden.network_interface import sendable
from phasecore.models.golden.noc import Noc, NocState
from phasecore.models.golden.packet_arrays import Packets
from phasecore.models.golden.packets import Result
from phasecore.models.golden.state import CoreState, Geometry
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTIONS,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
)

__all__ = ["Chip"]

_WINDOWS = (Opcode.GATHER, Opcode.SCATTER, Opcode.NORMALISE)
"""Instructions of an object's window."""


class Chip:
    """Cores on a mesh, and the host bridge.

    Parameters
    ----------
    config : the chip
    profile : devices and converters of all cores
    seed : core n has seed + n
    traced : :meth:`run` adds to the traces of the cores, which costs some speed

    Attributes
    ----------
    cores : by node
    interfaces : network interfaces of the cores, by node
    host : bridge at node ``config.host``
    """

    def __init__(
        self, config: ChipConfig, profile: DeviceProfile, seed: int, *, traced: bool = True
    ):
        self.config, self.traced = config, traced
        state = CoreState(config.core, profile, [seed + node for node in config.cores])
        self.cores = {node: Core.of(state, at) for at, node in enumerate(config.cores)}
        self._engine, self._noc = Engine(state), NocState(config)
        self._geometry = state.geometry
        self.interfaces = {node: self._noc.node(node) for node in config.cores}
        self.host = self._noc.node(config.host)

    @property
    def undeliverable(self) -> int:
        """Messages to places outside the mesh, which the NoC drops."""
        return self._noc.undeliverable

    def define_object(self, node: int, index: int, descriptor: ObjectDescriptor) -> None:
        """Write an object's descriptor at a core or at the host, which restarts it."""
        self._noc.define_object(node, index, descriptor)

    def define_route(self, node: int, index: int, descriptor: RouteDescriptor) -> None:
        """Write a route's descriptor at a core or at the host, which restarts its credits."""
        self._noc.define_route(node, index, descriptor)

    def run(
        self, programs: Mapping[int, Sequence[int]], packets: Sequence[bytes] = ()
    ) -> list[Result]:
        """Run a program on every core named, from instruction 0 to HALT, and send host packets.

        Cores, objects and routes go on where the last run has left them.

        Returns
        -------
        results in order of arrival at the host; those of one object are in order of sending,
        those of different producers in any

        Raises
        ------
        ValueError
            for an instruction that the hardware would refuse, before anything is done, and when
            everybody waits, with what for; held windows are undefined then
        """
        words = [programs.get(node) for node in self.cores]
        ready = self._engine.programs(words, [core.segments for core in self.cores.values()])
        self._check_windows(ready)
        noc = self._noc.noc()
        outcome = self._engine.run(ready, noc, Packets.of(packets), traced=self.traced)
        if self.traced:
            for core, trace in zip(self.cores.values(), outcome.traces, strict=True):
                core.trace = core.trace.extended(trace)
        if not outcome.finished:
            raise ValueError(self._reason(list(programs), outcome, noc, packets))
        return outcome.results

    def _check_windows(self, programs: Programs) -> None:
        """Refuse an instruction of an object that has no such window."""
        for at in np.flatnonzero(np.isin(programs.code["opcode"], _WINDOWS)):
            k = int(np.searchsorted(programs.ends, at, side="right")) - 1
            opcode = Opcode(int(programs.code["opcode"][at]))
            fields = {f.name: int(programs.code[f.name][at]) for f in INSTRUCTIONS[opcode]}
            index = fields["object"]
            descriptor = self._noc.descriptor(k, index)
            try:
                if descriptor is None:
                    raise ValueError("it is not enabled")
                descriptor.check_use(self.config.core, opcode, fields)
            except ValueError as error:
                text = f"{opcode.name} of object {index} of core {self.config.cores[k]}: {error}"
                raise ValueError(text) from error

    def _reason(
        self, nodes: Sequence[int], outcome: RunResult, noc: Noc, packets: Sequence[bytes]
    ) -> str:
        """Why the programs of ``nodes`` have not come to their ends."""
        numbers = {node: core.number for node, core in self.cores.items()}
        programs = outcome.programs
        for number in numbers.values():
            if programs.places["status"][number] == NO_HALT:
                return f"program of {len(programs.part(number))} instructions has no HALT"
        waits = [
            f"core {node} waits for {wait}"
            for node in nodes
            for wait in _core_waits(programs, noc, self._geometry, numbers[node])
        ]
        if outcome.packets < len(packets):
            waits.append(f"host waits for credits of route {packets[outcome.packets][1]}")
        waits += [
            f"SEND of core {node} waits for {wait}"
            for node in nodes
            for wait in _send_waits(programs, noc, numbers[node])
        ]
        return f"deadlock: {'; '.join(waits)}"


def _core_waits(programs: Programs, noc: Noc, geometry: Geometry, k: int) -> Iterator[str]:
    """What a core waits for, if it does."""
    place, part = programs.places[k], programs.part(k)
    if place["status"] == HALTED:
        return
    i, sending = part[int(place["pc"])], int(place["sending"])
    if sending >= 0 and waits_for_send(noc, geometry, k, i, part[sending]):
        yield "its SEND"
        return
    mask = 1 << int(i["object"]) if i["opcode"] in _WINDOWS else int(i["objects"])
    numbers = [str(index) for index in range(mask.bit_length()) if mask >> index & 1]
    yield f"objects {', '.join(numbers)}"


def _send_waits(programs: Programs, noc: Noc, k: int) -> Iterator[str]:
    """What a SEND waits for, if it does."""
    sending = int(programs.places["sending"][k])
    if sending < 0:
        return
    i = programs.part(k)[sending]
    if not sendable(noc, k, int(i["route"])):
        yield f"credits of route {i['route']}"
    else:
        yield f"partial sums of object {i['object']}"
