# SPDX-License-Identifier: Apache-2.0
"""The formal runner accepts what is right and refuses, by name, what is not."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.sram import Sram
from phasecore.verification.support.formal import Refuted, prove


class Counter(wiring.Component):
    """Counts ``enable`` modulo ``limit`` (the wrong one forgets to wrap)."""

    enable: In(1)
    count: Out(4)

    def __init__(self, *, limit: int, wraps: bool = True, claim: bool = True):
        self.limit, self.wraps, self.claim = limit, wraps, claim
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.count.eq(self.count + 1)
            if self.wraps:
                with m.If(self.count == self.limit - 1):
                    m.d.sync += self.count.eq(0)
        if self.claim:
            m.d.comb += Assert(self.count < self.limit)
        return m


class Reaching(wiring.Component):
    """Cover statement at a count."""

    enable: In(1)

    def __init__(self, *, limit: int, target: int):
        self.limit, self.target = limit, target
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = Counter(limit=self.limit, claim=False)
        m.d.comb += [counter.enable.eq(self.enable), Cover(counter.count == self.target)]
        return m


class ReadBack(wiring.Component):
    """A word that was written and not overwritten is read back; ``wrong`` expects its inverse."""

    address: In(2)
    word: In(4)

    def __init__(self, *, wrong: bool = False):
        self.wrong = wrong
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.sram = sram = Sram(width=4, depth=4)
        last_address, written, reading = Signal(2), Signal(4), Signal()
        m.d.comb += [
            sram.w_en.eq(1), sram.w_mask.eq(1), sram.w_address.eq(self.address),
            sram.w_data.eq(self.word), sram.r_en.eq(1), sram.r_address.eq(last_address),
        ]  # fmt: skip
        last_word, started = Signal(4), Signal()
        m.d.sync += [
            last_address.eq(self.address), last_word.eq(self.word), started.eq(1),
            written.eq(last_word), reading.eq(started),
        ]  # fmt: skip
        with m.If(reading):
            m.d.comb += Assert(sram.r_data == (~written if self.wrong else written))
        return m


class Contradiction(wiring.Component):
    """Proves anything from nothing."""

    i: In(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [Assume(self.i), Assume(~self.i), Assert(0)]
        return m


@pytest.mark.parametrize("solver", ["yices", "z3"])
def test_right_counter_is_proven(tmp_path: Path, solver: str) -> None:
    prove(
        Counter(limit=5), name="counter", tmp_path=tmp_path, depth=3, mode="induction",
        solver=solver,
    )  # fmt: skip


def test_wrong_counter_is_refuted_with_source_line(tmp_path: Path) -> None:
    with pytest.raises(
        Refuted,
        match=r"^counter is refuted\nassertion fails in cycle 5: .*test_formal\.py:\d+",
    ):
        prove(Counter(limit=5, wraps=False), name="counter", tmp_path=tmp_path, depth=8)
    assert (tmp_path / "counter.vcd").exists()


def test_shallow_search_misses_what_comes_later(tmp_path: Path) -> None:
    prove(Counter(limit=5, wraps=False), name="counter", tmp_path=tmp_path, depth=5)


def test_induction_refuses_what_shallow_search_misses(tmp_path: Path) -> None:
    with pytest.raises(
        Refuted, match=r"^counter is not inductive\nassertion fails: .*test_formal\.py:"
    ):
        prove(
            Counter(limit=5, wraps=False), name="counter", tmp_path=tmp_path, depth=4,
            mode="induction",
        )  # fmt: skip


def test_cover_reached(tmp_path: Path) -> None:
    prove(Reaching(limit=5, target=4), name="cover", tmp_path=tmp_path, depth=6, mode="cover")


def test_cover_unreached(tmp_path: Path) -> None:
    with pytest.raises(Refuted, match=r"^cover is refuted\nunreached cover: .*test_formal\.py:\d+"):
        prove(Reaching(limit=5, target=6), name="cover", tmp_path=tmp_path, depth=8, mode="cover")


def test_sram_is_the_behavioural_macro(tmp_path: Path) -> None:
    prove(ReadBack(), name="readback", tmp_path=tmp_path, depth=6)


def test_sram_is_not_a_free_black_box(tmp_path: Path) -> None:
    with pytest.raises(Refuted, match=r"^readback is refuted\nassertion fails in cycle 2"):
        prove(ReadBack(wrong=True), name="readback", tmp_path=tmp_path, depth=6)


def test_nothing_to_prove_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^counter has no assert statement: nothing to prove$"):
        prove(Counter(limit=5, claim=False), name="counter", tmp_path=tmp_path, depth=3)


def test_contradicting_assumptions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the assumptions of nothing contradict each other$"):
        prove(Contradiction(), name="nothing", tmp_path=tmp_path, depth=3)


def test_unknown_mode(tmp_path: Path) -> None:
    message = "mode must be one of bmc, induction, cover, not 'magic'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        prove(None, name="counter", tmp_path=tmp_path, depth=3, mode="magic")
