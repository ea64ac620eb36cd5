# SPDX-License-Identifier: Apache-2.0
"""Arbiter of an output: round robin, or the oldest packet first."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Arbiter"]


class Arbiter(wiring.Component):
    """Gives one of ``n`` requesters the output.

    Round robin: who was served last has the lowest priority. By age: the largest ``age`` wins, but
    every eighth grant is round robin, so that no one waits for ever when times of injection wrap.

    Members
    -------
    request : one bit per requester
    age : ages, only with ``age_bits``
    grant : at most one bit, combinational
    used : the grant was used; it counts
    """

    GUARD = 8

    def __init__(self, n: int, age_bits: int = 0):
        self.n, self.age_bits = n, age_bits
        self.later = Signal(n)
        age = {"age": In(data.ArrayLayout(age_bits, n))} if age_bits else {}
        super().__init__({"request": In(n), "grant": Out(n), "used": In(1), **age})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        later = self.later
        preferred, turn = Signal(self.n), Signal(self.n)
        m.d.comb += [
            preferred.eq(self.request & later),
            turn.eq(Mux(preferred.any(), preferred & -preferred, self.request & -self.request)),
            self.grant.eq(turn),
        ]
        with m.If(self.used):
            m.d.sync += later.eq(~(self.grant | (self.grant - 1)))
        if self.age_bits:
            grants = Signal(range(self.GUARD))
            m.submodules.oldest = oldest = Oldest(self.n, self.age_bits)
            m.d.comb += [oldest.request.eq(self.request), oldest.age.eq(self.age)]
            with m.If(grants != 0):
                m.d.comb += self.grant.eq(oldest.oldest)
            with m.If(self.used):
                m.d.sync += grants.eq(grants + 1)
        return m


class Oldest(wiring.Component):
    """The requester of the largest age, as a tree of comparators.

    Members
    -------
    request : one bit per requester
    age : ages
    oldest : at most one bit, combinational; of equal ages the first
    """

    def __init__(self, n: int, age_bits: int):
        self.n, self.age_bits = n, age_bits
        ages = data.ArrayLayout(age_bits, n)
        super().__init__({"request": In(n), "age": In(ages), "oldest": Out(n)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        best = [
            (self.request[index], self.age[index], Const(1 << index, self.n))
            for index in range(self.n)
        ]
        while len(best) > 1:
            odd = best[-1:] if len(best) % 2 else []
            older = []
            for a, b in zip(best[0::2], best[1::2], strict=False):
                (valid_a, age_a, who_a), (valid_b, age_b, who_b) = a, b
                second = Signal()
                valid, age, who = Signal(), Signal(self.age_bits), Signal(self.n)
                m.d.comb += [
                    second.eq(valid_b & (~valid_a | (age_b > age_a))),
                    valid.eq(valid_a | valid_b),
                    age.eq(Mux(second, age_b, age_a)),
                    who.eq(Mux(second, who_b, who_a)),
                ]
                older.append((valid, age, who))
            best = older + odd
        valid, _, who = best[0]
        m.d.comb += self.oldest.eq(Mux(valid, who, 0))
        return m
