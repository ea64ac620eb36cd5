# SPDX-License-Identifier: Apache-2.0
"""Golden model of one core: runs programs one instruction after another, bit-exact, timing-free."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from phasecore.models.engine.programs import NO_HALT, Programs
from phasecore.models.engine.scheduler import Engine
from phasecore.models.golden.adc_interface import AdcInterface
from phasecore.models.golden.crossbar import Crossbar
from phasecore.models.golden.device.profiles import DeviceProfile
from phasecore.models.golden.noc import nothing
from phasecore.models.golden.packet_arrays import Packets
from phasecore.models.golden.packets import Result
from phasecore.models.golden.post_processing import PostProcessing
from phasecore.models.golden.programmer import Programmer
from phasecore.models.golden.state import Block, CoreState, Number, View
from phasecore.models.golden.trace import Trace
from phasecore.models.golden.update_unit import UpdateUnit
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.rtl.spec.registers.core import AFFINE_BIT
from phasecore.rtl.spec.registers.table import WORD_BYTES

__all__ = ["Core", "Trace"]


class Core(Block):
    """One core with its crossbar, that stands alone or is one of a chip's.

    Parameters
    ----------
    config : geometry and formats
    profile : device and converter behaviour
    seed : of all device randomness
    initial : conductance codes, shape (rows, cols, 2, devices_per_polarity); None draws them
    traced : :meth:`run` adds to ``trace``, which costs some speed

    Attributes
    ----------
    slots : int64 array (vector_rows, lines), signed bytes; rings are behind the first ``slots``
    exponents : int64 array (slots,)
    segments : segment descriptors, None where undefined
    crossbar, adc, post, update, programmer : views of the blocks' state
    trace : :class:`Trace`, emptied by the caller
    """

    slots, exponents = View("slots"), View("exponents")
    refresh_high, refresh_low = Number("refresh_high"), Number("refresh_low")
    dropped_packets = Number("dropped_packets")
    lsb_log2, precision, exponent = Number("lsb_log2"), Number("precision"), Number("exponent")

    def __init__(
        self, config: CoreConfig, profile: DeviceProfile, seed: int, *,
        initial: ArrayLike | None = None, traced: bool = True,
    ):  # fmt: skip
        self._be(CoreState(config, profile, [seed]), 0, initial)
        self.traced = traced
        self._engine = Engine(self.state)

    def _be(self, state: CoreState, number: int, initial: ArrayLike | None = None) -> None:
        super().__init__(state, number)
        self.crossbar = Crossbar.of(state, number, initial)
        self.adc = AdcInterface(state, number)
        self.post = PostProcessing(state, number)
        self.update = UpdateUnit(state, number)
        self.programmer = Programmer(state, number)
        self.segments: list[Segment | None] = [None] * self.config.segments
        self.refresh_high, self.refresh_low = 100, 20
        self.lsb_log2, self.precision = self.config.lsb_log2_min, self.config.input_bits
        self.trace = Trace()

    @classmethod
    def of(cls, state: CoreState, number: int) -> "Core":
        """Core ``number`` of a state that it shares with others; it cannot run alone."""
        core = cls.__new__(cls)
        core._be(state, number)
        return core

    def run(self, program: Sequence[int], packets: Iterable[bytes] = ()) -> list[Result]:
        """Run a program from instruction 0 to its HALT; return the packets it sent.

        For a core that stands alone. ``packets`` are taken by LOAD in order; malformed ones are
        dropped and counted. Raises ``ValueError`` for an instruction that the hardware would
        refuse, and where no HALT or packet comes, which leaves the held window undefined.
        """
        programs = self._engine.programs([program], [self.segments])
        outcome = self._engine.run(programs, nothing(), Packets.of(packets), traced=self.traced)
        for trace in outcome.traces:
            self.trace = self.trace.extended(trace)
        if outcome.finished:
            return outcome.results
        raise ValueError(_reason(outcome.programs))

    def write_memory(self, address: int, data: bytes) -> None:
        """What a host writes through MEMORY_DATA, beginning with ``address`` in MEMORY_ADDRESS.

        Slots that are written get exponent 0. Raises ``ValueError`` for an address that is none of
        a word, for bytes that are no whole words, and for what the hardware would refuse.
        """
        in_affine, first = divmod(address, 1 << AFFINE_BIT)
        end = first + len(data)
        size = self.config.affine_bytes if in_affine else self.config.vector_bytes
        if first % WORD_BYTES or len(data) % WORD_BYTES:
            raise ValueError(
                f"address and length must be multiples of {WORD_BYTES},"
                f" not 0x{address:x} and {len(data)}"
            )
        if in_affine not in (0, 1) or end > size:
            raise ValueError(f"0x{address:x} and {len(data)} bytes from there are not in a memory")
        values = np.frombuffer(data, dtype=np.int8).astype(np.int64)
        if in_affine:
            self.post.scales.reshape(-1)[first // 2 : end // 2] = values[0::2] & 0xFF
            self.post.offsets.reshape(-1)[first // 2 : end // 2] = values[1::2]
            return
        lines = self.config.lines
        self.slots.reshape(-1)[first:end] = values
        self.exponents[first // lines : -(-end // lines)] = 0
        slots, within = np.divmod(np.arange(first, end), lines)
        self.trace = self.trace.extended(Trace(vectors=np.stack([slots, within, values], axis=1)))


def _reason(programs: Programs) -> str:
    if programs.places["status"][0] == NO_HALT:
        return f"program of {len(programs.code)} instructions has no HALT"
    return "LOAD waits for a packet, but none is left"
