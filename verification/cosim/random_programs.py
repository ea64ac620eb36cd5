# SPDX-License-Identifier: Apache-2.0
"""Random legal programs."""

import random

import numpy as np

from phasecore.models.golden.packets import affine_packet, header
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Drift, Function, Opcode, PacketKind, Segment, encode

__all__ = ["RandomProgram"]


class RandomProgram:
    """A legal program over random segments, with the packets it loads."""

    def __init__(self, config: CoreConfig, rng: random.Random, length: int):
        self.config, self.rng = config, rng
        self.segments = [self._segment() for _ in range(config.segments)]
        self.packets: list[bytes] = []
        self._baseline = False
        self.words = [self._load() for _ in range(config.slots)]
        self.words.append(self._mvm())
        for _ in range(length):
            weights = {
                self._mvm: 5, self._activate: 5, self._delta: 5, self._outer: 6, self._load: 2,
                self._load_affine: 1, self._read: 2, self._transfer: 1, self._wait: 1,
                self._refresh: 1, self._program: 0.5, self._calibrate: 0.3,
            }  # fmt: skip
            self.words.append(rng.choices(list(weights), list(weights.values()))[0]())
        self.words.append(encode(Opcode.LOOP, counter=0, target=len(self.words) - 8, count=2))
        self._repeat_packets(len(self.words) - 9)
        self.words.append(encode(Opcode.HALT))

    def _repeat_packets(self, first: int) -> None:
        """Packets of the loads inside the loop once more."""
        loads = sum(word & 31 == Opcode.LOAD for word in self.words[first:])
        if loads:
            self.packets += self.packets[-loads:]

    def _span(self, size: int) -> tuple[int, int]:
        start = self.rng.randrange(size)
        return start, self.rng.randint(1, size - start)

    def _segment(self) -> Segment:
        config, rng = self.config, self.rng
        (row, rows), (col, cols) = self._span(config.rows), self._span(config.cols)
        largest = (1 << config.chi_bits - 1) - 1
        ranges = config.lsb_log2_min, min(config.lsb_log2_min + 6, config.lsb_log2_max)
        return Segment(
            row_start=row, row_count=rows, col_start=col, col_count=cols,
            threshold=min(rng.choice([1, 50, 700, 3000, largest]), largest),
            chi_shift=rng.randint(-12, 2), forward_lsb_log2=rng.randint(*ranges),
            backward_lsb_log2=rng.randint(*ranges),
        )  # fmt: skip

    def _slot(self) -> int:
        return self.rng.randrange(self.config.slots)

    def _any_segment(self) -> int:
        return self.rng.randrange(len(self.segments))

    def _function(self, low: int) -> int:
        return self.rng.randint(low, max(Function))

    def _lines(self) -> tuple[int, int]:
        start = 8 * self.rng.randrange(self.config.lines // 8)
        return start, self.rng.randint(1, self.config.lines - start)

    def _codes(self, count: int) -> np.ndarray:
        sparse = self.rng.random() < 0.4
        return np.array([
            0 if sparse and self.rng.random() < 0.6
            else self.rng.choice([-128, *(self.rng.randint(-128, 127) for _ in range(15))])
            for _ in range(count)
        ])  # fmt: skip

    def _load(self) -> int:
        start, count = self._lines()
        # Not `vector_packet`, which refuses -128: hardware takes any byte.
        head = header(PacketKind.VECTOR, start=start, length=count)
        self.packets.append(head + self._codes(count).astype("i1").tobytes())
        return encode(Opcode.LOAD, affine=0, slot=self._slot())

    def _load_affine(self) -> int:
        start, count = self._lines()
        scale = np.array([self.rng.randrange(256) for _ in range(count)])
        packet = affine_packet(scale, self._codes(count), config=self.config, start=start)
        self.packets.append(packet)
        return encode(Opcode.LOAD, affine=1, slot=self.rng.randrange(self.config.affine_tables))

    def _read(self) -> int:
        start, length = self._lines()
        return encode(Opcode.READ, slot=self._slot(), first_line=start, length=length)

    def _mvm(self) -> int:
        return encode(
            self.rng.choice([Opcode.FORWARD, Opcode.BACKWARD]), segment=self._any_segment(),
            slot=self._slot(), precision=self.rng.randint(5, self.config.input_bits),
            input_signs=self.rng.choice([3, 3, 1, 2]), polarities=self.rng.choice([3, 3, 1, 2]),
        )  # fmt: skip

    def _destination(self) -> dict[str, int]:
        return {
            "destination": self._slot(),
            "destination_line": self.rng.randrange(self.config.lines),
        }

    def _activate(self) -> int:
        return encode(
            Opcode.ACTIVATE, segment=self._any_segment(), axis=self.rng.randrange(2),
            from_slot=self.rng.randrange(2), slot=self._slot(),
            accumulate=self.rng.randrange(2), function=self._function(0),
            shift=self.rng.choice([0, 4, 5, 7, 7, 12]), affine=self.rng.randrange(2),
            table=self.rng.randrange(self.config.affine_tables), **self._destination(),
        )  # fmt: skip

    def _delta(self) -> int:
        return encode(
            Opcode.DELTA, segment=self._any_segment(), axis=self.rng.randrange(2),
            source=self.rng.randrange(3), slot=self._slot(), output=self._slot(),
            function=self._function(1), fixed=self.rng.random() < 0.3,
            shift=self.rng.randrange(18), bias=self.rng.randint(-12, 4), **self._destination(),
        )  # fmt: skip

    def _outer(self) -> int:
        return encode(
            Opcode.OUTER, segment=self._any_segment(), slot=self._slot(), delta=self._slot(),
            transfer=self.rng.randrange(2),
        )  # fmt: skip

    def _transfer(self) -> int:
        return encode(Opcode.TRANSFER, segment=self._any_segment())

    def _wait(self) -> int:
        return encode(Opcode.WAIT, units=self.rng.randrange(64))

    def _refresh(self) -> int:
        return encode(Opcode.REFRESH, segment=self._any_segment(), all_rows=self.rng.random() < 0.2)

    def _program(self) -> int:
        index = self._any_segment()
        segment = self.segments[index]
        row = segment.row_start + self.rng.randrange(segment.row_count)
        return encode(Opcode.PROGRAM, segment=index, row=row, slot=self._slot())

    def _calibrate(self) -> int:
        """COMPENSATE only when there is a baseline, so that nothing is counted as an error."""
        drift = self.rng.choice(list(Drift)[: 3 if self._baseline else 2])
        self._baseline |= drift is Drift.BASELINE
        return encode(Opcode.CALIBRATE, drift=drift)
