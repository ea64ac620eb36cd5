# SPDX-License-Identifier: Apache-2.0
"""The stream rules as assertions, for any component with ready/valid ports.

Use::

    prove(StreamContract(Unit(config)), name="unit", tmp_path=tmp_path, depth=12)
    prove(StreamContract(Unit(config)), name="unit", tmp_path=tmp_path, depth=12, mode="cover")

The first shows that every output stream keeps ``valid`` and payload until ``ready``; the second
that every output stream offers something although its ``ready`` has never been high (``valid``
does not wait for ``ready``).
"""

from collections.abc import Callable, Iterator
from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamContract", "StreamRules", "handshakes"]


class StreamRules(wiring.Component):
    """Observer of one handshake: once offered, a payload stays as it is until it is taken.

    Parameters
    ----------
    width : bits of the payload
    assume : assume the rules (of an input) instead of asserting them (of an output)

    Members
    -------
    valid, ready, payload : In
        The handshake observed.
    """

    def __init__(self, *, width: int, assume: bool = False):
        self.assume = assume
        super().__init__({"valid": In(1), "ready": In(1), "payload": In(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pending = Signal()
        held = Signal.like(self.payload)
        was_ready = Signal()
        m.d.sync += [
            pending.eq(self.valid & ~self.ready),
            held.eq(self.payload),
            was_ready.eq(was_ready | self.ready),
        ]
        rule = Assume if self.assume else Assert
        with m.If(pending):
            m.d.comb += [rule(self.valid), rule(self.payload == held)]
        if not self.assume:
            m.d.comb += Cover(self.valid & ~self.ready & ~was_ready)
        return m


class StreamContract(wiring.Component):
    """A component with the same ports whose handshakes are watched.

    Inputs of the component stay free except that its input handshakes keep the stream rules.

    Parameters
    ----------
    component : the component under proof
    requests : names of ports that are no ``stream.Signature`` but have ``valid`` and ``ready``;
        all their other members of ``valid``'s direction must be held, too
    environment : called with the module and the component; adds further ``Assume`` statements
    """

    def __init__(
        self,
        component: wiring.Component,
        *,
        requests: tuple[str, ...] = (),
        environment: Callable[[Module, Any], None] | None = None,
    ):
        self._component = component
        self._requests = requests
        self._environment = environment
        super().__init__(component.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = self._component
        wiring.connect(m, wiring.flipped(self), self._component)
        for name, flow, (valid, ready, payload) in handshakes(self._component, self._requests):
            rules = StreamRules(width=len(Value.cast(payload)), assume=flow is In)
            m.submodules[f"rules_{name}"] = rules
            m.d.comb += [rules.valid.eq(valid), rules.ready.eq(ready), rules.payload.eq(payload)]
        if self._environment is not None:
            self._environment(m, self._component)
        return m


def handshakes(
    component: Any, requests: tuple[str, ...] = ()
) -> Iterator[tuple[str, wiring.Flow, tuple[ValueLike, ValueLike, ValueLike]]]:
    """Name, direction (seen by the component), ``(valid, ready, payload)`` of every handshake."""
    for name in requests:
        if name not in component.signature.members:
            known = ", ".join(component.signature.members)
            raise ValueError(f"no port {name!r}; ports: {known}")

    def walk(name: str, port: Any, signature: wiring.Signature, flow: wiring.Flow) -> Any:
        if isinstance(signature, stream.Signature):
            yield name, flow, (port.valid, port.ready, Value.cast(port.payload))
            return
        if name in requests:
            direction = signature.members["valid"].flow
            payload = [
                Value.cast(getattr(port, key))
                for key, member in signature.members.items()
                if member.flow is direction and key != "valid"
            ]
            yield name, direction if flow is Out else direction.flip(), (
                port.valid, port.ready, Cat(*payload),
            )  # fmt: skip
            return
        for key, member in signature.members.items():
            if member.is_signature:
                inner = flow if member.flow is Out else flow.flip()
                path = f"{name}__{key}" if name else key
                yield from elements(path, getattr(port, key), member, inner)

    def elements(name: str, port: Any, member: wiring.Member, flow: wiring.Flow) -> Any:
        if isinstance(port, list | tuple):
            for index, item in enumerate(port):
                yield from elements(f"{name}__{index}", item, member, flow)
        else:
            yield from walk(name, port, member.signature, flow)

    yield from walk("", component, component.signature, Out)
