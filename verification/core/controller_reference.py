# SPDX-License-Identifier: Apache-2.0
"""What a controller must do with a program: a second opinion of a page, and random programs."""

import random

from phasecore.rtl.spec.instructions import (
    Axis,
    DeltaSource,
    Drift,
    Function,
    Opcode,
    Segment,
    Unit,
    encode,
)
from phasecore.verification.core.controller_units import CONFIG, NETWORKED, PIXELS

__all__ = [
    "FOREIGN",
    "HALT",
    "OPCODES",
    "compare",
    "interpret",
    "random_fields",
    "random_segments",
    "words",
]

_SUMMED = (Opcode.SCATTER, Opcode.NORMALISE)
FOREIGN = (
    *(
        (Opcode.LOAD, Opcode.READ)
        if NETWORKED
        else (Opcode.SEND, Opcode.AWAIT, Opcode.RELEASE, Opcode.GATHER)
    ),
    *(() if CONFIG.sum_words else _SUMMED),
)
"""Opcodes of the other kind of core: illegal here."""


def random_segments():
    segments = []
    for _ in range(CONFIG.segments):
        area = {}
        for axis, size in (("row", CONFIG.rows), ("col", CONFIG.cols)):
            first = random.randrange(size)
            area[f"{axis}_start"] = first
            room = size - first
            area[f"{axis}_count"] = random.choice([1, room, random.randint(1, room)])
        segment = Segment(
            **area, threshold=random.choice([1, 2 ** (CONFIG.chi_bits - 1) - 1]),
            chi_shift=random.randint(-128, 127),
            forward_lsb_log2=random.choice([CONFIG.lsb_log2_min, CONFIG.lsb_log2_max]),
            backward_lsb_log2=random.randint(CONFIG.lsb_log2_min, CONFIG.lsb_log2_max),
        )  # fmt: skip
        segment.check(CONFIG)
        segments.append(segment)
    return segments


OPCODES = [code for code in Opcode if code not in (Opcode.HALT, Opcode.LOOP, *FOREIGN)]


def random_fields(opcode, segments):
    """Legal fields of an instruction; few slots, so that hazards are frequent."""
    index = random.randrange(CONFIG.segments)
    segment = segments[index]

    def slot():
        return random.choice([0, 1, 2, CONFIG.slots - 1])

    post = {
        "segment": index, "axis": random.randrange(2), "slot": slot(), "destination": slot(),
        "destination_line": random.randrange(CONFIG.lines),
    }  # fmt: skip
    mvm = {
        "segment": index, "slot": slot(), "precision": random.randint(5, CONFIG.input_bits),
        "input_signs": random.randrange(4), "polarities": random.randrange(4),
    }  # fmt: skip
    first = 8 * random.randrange(CONFIG.lines // 8)
    affine = random.randrange(2)
    return {
        Opcode.LOAD: lambda: {
            "affine": affine,
            "slot": random.randrange(CONFIG.affine_tables) if affine else slot(),
        },
        Opcode.READ: lambda: {
            "slot": slot(), "first_line": first,
            "length": random.choice([1, CONFIG.lines - first]),
        },
        Opcode.FORWARD: lambda: mvm,
        Opcode.BACKWARD: lambda: mvm,
        Opcode.ACTIVATE: lambda: post | {
            "from_slot": random.randrange(2), "accumulate": random.randrange(2),
            "function": random.choice(list(Function)), "shift": random.randrange(16),
            "affine": random.randrange(2), "table": random.randrange(CONFIG.affine_tables),
        },
        Opcode.DELTA: lambda: post | {
            "source": random.randrange(3), "output": slot(),
            "function": random.choice(list(Function)[1:]), "fixed": random.randrange(2),
            "shift": random.randrange(32), "bias": random.randint(-64, 63),
        },
        Opcode.OUTER: lambda: {
            "segment": index, "slot": slot(), "delta": slot(), "transfer": random.randrange(2),
        },
        Opcode.TRANSFER: lambda: {"segment": index},
        Opcode.REFRESH: lambda: {"segment": index, "all_rows": random.randrange(2)},
        Opcode.PROGRAM: lambda: {
            "segment": index, "slot": slot(),
            "row": random.randrange(segment.row_start, segment.row_start + segment.row_count),
        },
        Opcode.CALIBRATE: lambda: {"drift": random.choice(list(Drift))},
        Opcode.WAIT: lambda: {"units": random.randrange(1 << len(Unit))},
        Opcode.SEND: lambda: {
            "route": random.randrange(CONFIG.routes), "partial": random.randrange(2),
            "slot": slot(), "first_line": first, "length": random.choice([1, CONFIG.lines - first]),
            "merge": random.randrange(2), "object": random.randrange(CONFIG.objects),
        },
        Opcode.AWAIT: lambda: {"objects": random.randrange(1 << CONFIG.objects)},
        Opcode.RELEASE: lambda: {"objects": random.randrange(1 << CONFIG.objects)},
        Opcode.SCATTER: lambda: {
            "object": random.randrange(CONFIG.objects), "slot": slot(),
            "block": random.randrange(CONFIG.blocks), "block_row": random.randrange(8),
            "block_col": random.randrange(8),
        },
        Opcode.NORMALISE: lambda: {
            "object": random.randrange(CONFIG.objects), "destination": slot(),
            "destination_line": random.randrange(CONFIG.lines),
        },
        Opcode.GATHER: lambda: {
            "object": random.randrange(CONFIG.objects), "destination": slot(),
            "block": random.randrange(CONFIG.blocks), "block_row": random.randrange(8),
            "block_col": random.randrange(8), "largest": random.randrange(2),
        },
    }[opcode]()  # fmt: skip


def expected_command(opcode, values, segments, windows_issued):
    """Route and the payload fields that matter, or None."""
    segment = segments[values["segment"]] if "segment" in values else None
    area = ("row_start", "row_count", "col_start", "col_count")
    if opcode in (Opcode.FORWARD, Opcode.BACKWARD):
        back = opcode is Opcode.BACKWARD
        return "mvm", {
            **{key: values[key] for key in ("slot", "precision", "input_signs", "polarities")},
            "source": 0, "backward": int(back),
            "first_line": segment.col_start if back else segment.row_start,
            "count": segment.col_count if back else segment.row_count,
            "lsb_log2": segment.backward_lsb_log2 if back else segment.forward_lsb_log2,
        }  # fmt: skip
    if opcode in (Opcode.ACTIVATE, Opcode.DELTA):
        kept = {
            key: value for key, value in values.items() if key not in ("segment", "axis", "source")
        }
        if opcode is Opcode.DELTA:
            kept["from_slot"] = int(values["source"] != DeltaSource.CODES)
            kept["mantissas"] = int(values["source"] == DeltaSource.MANTISSAS)
        rows = values["axis"] == Axis.ROWS
        return "post", {
            **kept, "delta": int(opcode is Opcode.DELTA), "tag": windows_issued % 4,
            "first_line": segment.row_start if rows else segment.col_start,
            "count": segment.row_count if rows else segment.col_count,
        }  # fmt: skip
    if opcode is Opcode.OUTER or opcode is Opcode.TRANSFER:
        fields = {key: getattr(segment, key) for key in (*area, "threshold", "chi_shift")}
        if opcode is Opcode.TRANSFER:
            return "update", {**fields, "outer": 0, "transfer": 1}
        return "update", {
            **fields, "outer": 1, "transfer": values["transfer"], "x_slot": values["slot"],
            "d_slot": values["delta"],
        }  # fmt: skip
    if opcode in (Opcode.REFRESH, Opcode.PROGRAM):
        fields = {key: getattr(segment, key) for key in area}
        if opcode is Opcode.REFRESH:
            return "rows", {**fields, "program": 0, "all_rows": values["all_rows"]}
        return "rows", {**fields, "program": 1, "row": values["row"], "slot": values["slot"]}
    if opcode is Opcode.LOAD:
        return "load", values
    if opcode is Opcode.READ:
        return "read", values
    if opcode is Opcode.SEND:
        return "send", values
    if opcode is Opcode.GATHER:
        return "gather", values | {"sums": 0}
    if opcode is Opcode.SCATTER:
        values = {"destination" if key == "slot" else key: values[key] for key in values}
        return "gather", values | {"sums": 1, "largest": 0}
    if opcode is Opcode.NORMALISE:
        pixel = PIXELS[values["object"]]
        kept = {key: values[key] for key in ("destination", "destination_line")}
        nothing = dict.fromkeys(("delta", "from_slot", "bias", "accumulate", "affine"), 0)
        return "post", kept | pixel | nothing | {"normalise": 1, "function": Function.IDENTITY}
    if opcode is Opcode.RELEASE:
        return "release", values["objects"]
    return ("calibrate", values) if opcode is Opcode.CALIBRATE else None


def interpret(program, segments):
    """Commands of a program ((opcode, values) pairs, or None for an illegal one), in order.

    Each with the mask of the objects that were awaited and not released since.
    """
    loops, pc, windows_issued, count, awaited = [0] * 4, 0, 0, 0, 0
    commands = []
    while True:
        item = program[pc]
        pc += 1
        if item is None:
            continue
        opcode, values = item
        count += 1
        if opcode is Opcode.HALT:
            return commands, count
        if opcode is Opcode.LOOP:
            loop = values["counter"]
            loops[loop] += 1
            if loops[loop] == values["count"]:
                loops[loop] = 0
            else:
                pc = values["target"]
            continue
        if opcode is Opcode.AWAIT:
            awaited |= values["objects"]
        elif opcode in (Opcode.GATHER, *_SUMMED):
            awaited |= 1 << values["object"]
        command = expected_command(opcode, values, segments, windows_issued)
        if command:
            windows_issued += command[0] == "mvm"
            commands.append((*command, awaited))
        if opcode is Opcode.RELEASE:
            awaited &= ~values["objects"]


def compare(units, commands):
    for index, ((name, payload), ready, (wanted_name, wanted, awaited)) in enumerate(
        zip(units.issued, units.ready, commands, strict=False)
    ):
        assert name == wanted_name, f"command {index}: {name} {payload}, expected {wanted_name}"
        assert not awaited & ~ready, f"command {index}: {name} before {awaited & ~ready:#x} came"
        if name == "release":
            assert payload == wanted, f"command {index}: released {payload:#x}, not {wanted:#x}"
            continue
        for key, value in wanted.items():
            assert payload[key] == value, f"{name} {index}: {key} {payload[key]}, expected {value}"
    assert len(units.issued) == len(commands)


def words(program):
    return [
        random.choice([31, *FOREIGN]) if item is None else encode(item[0], **item[1])
        for item in program
    ]


HALT = (Opcode.HALT, {})
