# SPDX-License-Identifier: Apache-2.0
"""What the golden model and the oracle must have in common, and what both are given."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL, PCM, PCM_INFERENCE
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    Opcode,
    encode,
)
from phasecore.verification.cosim.counters import COUNTERS
from phasecore.verification.oracle.chip import Chip as OracleChip
from phasecore.verification.oracle.core import Core as OracleCore

__all__ = [
    "FORWARD",
    "HALT",
    "PROFILES",
    "assert_same_chip",
    "assert_same_core",
    "assert_same_results",
    "assert_same_traces",
    "configure",
    "error",
    "held",
]

DEFECTIVE = replace(
    PCM_INFERENCE, name="defective", stuck_low=0.1, stuck_high=0.1, dead_rows=0.05, dead_adcs=0.1
)
PROFILES = pytest.mark.parametrize(
    "profile", [IDEAL, PCM, DEFECTIVE], ids=lambda profile: profile.name
)
ARRAYS = {
    "crossbar": (
        "conductance",
        "pulses_since_reset",
        "events",
        "event_time",
        "resets",
        "time",
        "drifted",
        "weights",
        "gain",
        "offset",
    ),
    "adc": ("offsets", "gains"),
    "post": ("accumulators", "scales", "offsets"),
    "update": ("chi",),
    "programmer": ("dirty", "selection"),
}
HALT = encode(Opcode.HALT)


def held(core):
    """What the latest window has left."""
    if isinstance(core, Core):
        crossbar = core.crossbar
        return crossbar.counts, crossbar.at_limit, core.lsb_log2, core.precision, core.exponent
    window = core._window
    return window.counts, window.at_limit, window.lsb_log2, window.precision, window.exponent


def assert_same_core(one: OracleCore, other: Core, name: str = "core") -> None:
    for block, names in ARRAYS.items():
        for array in names:
            values = [getattr(getattr(core, block), array) for core in (one, other)]
            assert np.array_equal(*values), f"{name}.{block}.{array}"
    assert np.array_equal(one.memory.reshape(other.slots.shape), other.slots), name
    assert np.array_equal(one.exponents, other.exponents), name
    assert one.dropped_packets == other.dropped_packets, name
    for counter, of in COUNTERS.items():
        assert of(one) == of(other), f"{name}: {counter}"
    for number in ("calibration_errors", "drift_baseline", "drift_scale"):
        assert getattr(one.adc, number) == getattr(other.adc, number), f"{name}.adc.{number}"
    for field, found, expected in zip(
        ("counts", "at_limit", "lsb_log2", "precision", "exponent"), held(other), held(one),
        strict=True,
    ):  # fmt: skip
        assert np.array_equal(found, expected), f"{name}: {field} of the latest window"


def assert_same_chip(one: OracleChip, other: Chip) -> None:
    for node, core in one.cores.items():
        assert_same_core(core, other.cores[node], f"core {node}")
        locals_ = [chip.interfaces[node].local for chip in (one, other)]
        for name in ("arrived", "dead", "row", "col", "at", "lines", "refused"):
            assert np.array_equal(*(getattr(local, name) for local in locals_)), (node, name)
        assert np.array_equal(locals_[0].frame_number, locals_[1].frame_number), (node, "frame")
        routes = [chip.interfaces[node].routes.credits for chip in (one, other)]
        assert np.array_equal(*routes), f"core {node}"
        assert one.interfaces[node].faults == other.interfaces[node].faults, f"core {node}"
    assert one.host.faults == other.host.faults
    assert np.array_equal(one.host.routes.credits, other.host.routes.credits)
    assert one.host.malformed == other.host.malformed
    assert one.undeliverable == other.undeliverable


def assert_same_traces(one: OracleCore, other: Core) -> None:
    """Events by kind; of vector elements and pulses the order is that of each element or device."""
    nothing = np.zeros(0, dtype=np.int64)
    lines, trace = one.config.lines, one.trace
    vectors = [
        np.stack([slot * lines + where, values], axis=1) for slot, where, values in trace.vectors
    ]
    found = other.trace.vectors
    found = np.stack([found[:, 0] * lines + found[:, 1], found[:, 2]], axis=1)
    assert np.array_equal(other.trace.codes, np.concatenate([nothing, *trace.codes]))
    expected = np.concatenate([nothing.reshape(0, 2), *vectors])
    assert np.array_equal(in_order(found), in_order(expected))
    expected = np.concatenate([nothing.reshape(0, 3), *trace.devices])
    assert np.array_equal(in_order(other.trace.devices), in_order(expected))


def in_order(events):
    return events[np.argsort(events[:, 0], kind="stable")]


def assert_same_results(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.slot, a.start) == (b.slot, b.start)
        assert a.codes.dtype == b.codes.dtype
        assert np.array_equal(a.codes, b.codes)


def error(function=Function.IDENTITY, **fields):
    """DELTA of the latest window into slot 1, shifted by 3 unless it is said otherwise."""
    values = {
        "segment": 0, "axis": Axis.COLS, "source": 0, "slot": 0, "output": 2,
        "function": function,
        "fixed": 1, "shift": 3, "bias": 0, "destination": 1, "destination_line": 0,
    }  # fmt: skip
    return encode(Opcode.DELTA, **{**values, **fields})


FORWARD = encode(
    Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3
)  # fmt: skip


def configure(chip, objects, routes):
    for node, entries in objects.items():
        for index, entry in enumerate(entries):
            chip.define_object(node, index, entry)
    for node, entries in routes.items():
        for index, entry in enumerate(entries):
            chip.define_route(node, index, entry)
