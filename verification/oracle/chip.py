# SPDX-License-Identifier: Apache-2.0
"""The chip: cores that run programs of their own and pass vectors to each other.

Each object has one producer and each program is sequential (a Kahn process network), so results
do not depend on who goes first. Here every task (a program, a SEND that waits, the host) goes on as
far as it can, and messages arrive at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from phasecore.models.engine.programs import checked
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.noc import Destination, destinations
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    OPCODE_BITS,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Unit,
)
from phasecore.rtl.spec.messages import MessageKind
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.host_bridge import HostBridge
from phasecore.verification.oracle.local_control import LocalControl, members
from phasecore.verification.oracle.network_interface import Message, NetworkInterface, payload_flits

__all__ = ["Chip", "Destination", "Task", "Wait", "deadlock"]


@dataclass(frozen=True)
class Wait:
    """A task goes on when ``until()`` is true; ``what`` it waits for, in words."""

    until: Callable[[], bool]
    what: str


Steps = Iterator[Wait | None]
"""What a task does: None where others may go first, :class:`Wait` where they must."""


@dataclass
class Task:
    """Something sequential: its next step may be taken unless it waits."""

    name: str
    steps: Steps
    wait: Wait | None = None

    @property
    def ready(self) -> bool:
        """It may go on."""
        return self.wait is None or self.wait.until()

    def step(self) -> bool:
        """Take a step; False if there was none left."""
        try:
            self.wait = next(self.steps)
        except StopIteration:
            return False
        return True


class Chip:
    """Cores on a mesh, and the host bridge.

    Parameters
    ----------
    config : the chip
    profile : devices and converters of all cores
    seed : core n has seed + n

    Attributes
    ----------
    cores : by node
    interfaces : network interfaces of the cores, by node
    host : bridge at node ``config.host``
    undeliverable : messages to places outside the mesh, which the NoC drops
    """

    def __init__(self, config: ChipConfig, profile: DeviceProfile, seed: int):
        self.config = config
        self.cores = {node: Core(config.core, profile, seed + node) for node in config.cores}
        self.interfaces = {
            node: NetworkInterface(core, config.noc) for node, core in self.cores.items()
        }
        self.host = HostBridge(config)
        self.undeliverable = 0
        self._sending: dict[int, dict[str, int]] = {}
        self._results: list[Result] = []

    def define_object(self, node: int, index: int, descriptor: ObjectDescriptor) -> None:
        """Write an object's descriptor at a core or at the host, which restarts it.

        ``ValueError`` for a ring or a window that cannot be, see :meth:`ObjectDescriptor.check`.
        """
        if node == self.config.host:
            self.host.define_object(index, descriptor)
        else:
            descriptor.check(self.config.core)
            self.interfaces[node].local.define(index, descriptor)

    def define_route(self, node: int, index: int, descriptor: RouteDescriptor) -> None:
        """Write a route's descriptor at a core or at the host, which restarts its credits."""
        at_host = node == self.config.host
        routes = self.host.routes if at_host else self.interfaces[node].routes
        routes.define(index, descriptor)

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
            for an instruction that the hardware would refuse, and when everybody waits, with
            what for
        """
        for node, program in programs.items():
            self._check_windows(node, program)
        self._results = []
        self._sending = {}
        tasks: list[Task] = []
        for node, program in programs.items():
            tasks.append(Task(f"core {node}", self._program(node, program, tasks)))
        tasks.append(Task("host", self._feed(packets)))
        self.schedule(tasks)
        return self._results

    def schedule(self, tasks: list[Task]) -> None:
        """Take steps of the tasks until none is left; tasks may be added on the way."""
        while tasks:
            moved = False
            for task in list(tasks):
                moved |= _go_on(task, tasks)
            if not moved:
                raise ValueError(deadlock(tasks))

    def start(self, task: Task, tasks: list[Task]) -> None:
        """A new task."""
        tasks.append(task)
        _go_on(task, tasks)

    def post(self, source: int, message: Message, route: Destination) -> None:
        """Bring a message from a node to all its destinations; nobody there: it is dropped."""
        nodes = self.destinations(route)
        self.undeliverable += not nodes
        for node in nodes:
            self.arrive(node, message, payload_flits(self.config.noc, route))

    def destinations(self, route: Destination) -> tuple[int, ...]:
        """Nodes that a message with this route comes to."""
        return destinations(self.config.noc, route)

    def arrive(self, node: int, message: Message, limit: int) -> None:
        """A message, in packets of ``limit`` data flits at most, has come to a node."""
        if node != self.config.host:
            self.interfaces[node].take(message, limit)
            return
        results = self.host.take(message, limit)
        self._results += results
        if results and message.last:
            producer = self.host.object(message.object)
            assert producer is not None
            self._give(node, producer, 1)

    def _give(self, node: int, producer: ObjectDescriptor, credits_: int) -> None:
        """Credits go back to the producer of an object of ``node``."""
        credit = Message(MessageKind.CREDIT, producer.route, producer.member, value=credits_)
        self.post(node, credit, producer)

    def _feed(self, packets: Iterable[bytes]) -> Steps:
        """The host: one packet after another, each when its route has a credit."""
        host = self.host
        for packet in packets:
            found = host.read(packet)
            if found is None:
                continue
            number, message = found
            if not host.sendable(number, message):
                until = partial(host.sendable, number, message)
                yield Wait(until, f"credits of route {number}")
            host.send(number, message)
            route = host.routes.descriptor(number)
            assert route is not None
            self.post(self.config.host, message, route)
            yield None

    def _check_windows(self, node: int, program: Sequence[int]) -> None:
        """Refuse an instruction of an object that has no such window, before anything is done."""
        for word in program:
            if word & (1 << OPCODE_BITS) - 1 not in _WINDOWS:
                continue
            opcode, values = checked(word, self.config.core, self.cores[node].segments)
            index = values["object"]
            found = self.interfaces[node].local.descriptor(index)
            reason = "it is not enabled"
            if found is not None:
                try:
                    found.check_use(self.config.core, opcode, values)
                    continue
                except ValueError as error:
                    reason = str(error)
            raise ValueError(f"{opcode.name} of object {index} of core {node}: {reason}")

    def _program(self, node: int, program: Sequence[int], tasks: list[Task]) -> Steps:
        """A core from its first instruction to HALT; SENDs that wait become tasks."""
        core, interface = self.cores[node], self.interfaces[node]
        for opcode, values in core.instructions(program):
            busy = self._sending.get(node)
            if busy is not None and _conflicts(interface.local, opcode, values, busy):
                yield Wait(partial(self._is_idle, node), "its SEND")
            if opcode is Opcode.AWAIT:
                mask = values["objects"]
                if not interface.local.all_ready(mask):
                    yield Wait(partial(interface.local.all_ready, mask), _objects(mask))
            elif opcode in _WINDOWS:
                ready = partial(interface.local.ready, values["object"])
                if not ready():
                    yield Wait(ready, _objects(1 << values["object"]))
                _WINDOWS[opcode](interface, values)
            elif opcode is Opcode.RELEASE:
                for grant in interface.local.release(values["objects"]):
                    producer = interface.local.descriptor(grant.object)
                    assert producer is not None
                    self._give(node, producer, grant.credits)
            elif opcode is Opcode.SEND:
                self._sending[node] = values
                self.start(Task(f"SEND of core {node}", self._send(node, values)), tasks)
            else:
                core.execute(opcode, values)
            yield None
        if not self._is_idle(node):
            yield Wait(partial(self._is_idle, node), "its SEND")

    def _send(self, node: int, values: dict[str, int]) -> Steps:
        """A SEND, from its issue until it is through."""
        interface, number = self.interfaces[node], values["route"]
        sendable = partial(interface.routes.sendable, number)
        if not sendable():
            yield Wait(sendable, f"credits of route {number}")
        if not interface.merged(values):
            text = f"partial sums of object {values['object']}"
            yield Wait(partial(interface.merged, values), text)
        message, route = interface.send(values), interface.routes.descriptor(number)
        if message is not None and route is not None:
            self.post(node, message, route)
        del self._sending[node]

    def _is_idle(self, node: int) -> bool:
        """No SEND of a core is under way."""
        return node not in self._sending


def _conflicts(
    local: LocalControl, opcode: Opcode, values: Mapping[str, int], send: Mapping[str, int]
) -> bool:
    """An instruction must wait until a SEND (fields ``send``) is through."""
    if opcode in (Opcode.ACTIVATE, Opcode.DELTA, Opcode.NORMALISE):
        return bool(send["partial"]) or values["destination"] == send["slot"]
    if opcode is Opcode.GATHER:
        return not send["partial"] and values["destination"] == send["slot"]
    if opcode is Opcode.WAIT:
        return bool(values["units"] >> Unit.READ & 1)
    if opcode is Opcode.RELEASE:
        found = [local.descriptor(index) for index in members(values["objects"])]
        return any(
            entry is not None
            and (entry.partial or (entry.base < local.config.slot_words and not entry.sums))
            for entry in found
        )
    return opcode in _ALONE


_WINDOWS = {
    Opcode.GATHER: NetworkInterface.gather,
    Opcode.SCATTER: NetworkInterface.scatter,
    Opcode.NORMALISE: NetworkInterface.normalise,
}
"""Instructions of an object's window."""

_ALONE = (Opcode.SEND, Opcode.REFRESH, Opcode.PROGRAM, Opcode.CALIBRATE)
"""Instructions that need the sender idle."""


def _objects(mask: int) -> str:
    return f"objects {', '.join(map(str, members(mask)))}"


def _go_on(task: Task, tasks: list[Task]) -> bool:
    """Let a task go on as far as it can, and take it off the list at its end; False if it waits."""
    if not task.ready:
        return False
    while task.step():
        if not task.ready:
            return True
    tasks.remove(task)
    return True


def deadlock(tasks: Iterable[Task]) -> str:
    """What everybody waits for."""
    waits = [f"{task.name} waits for {task.wait.what}" for task in tasks if task.wait is not None]
    return f"deadlock: {'; '.join(waits)}"
