# SPDX-License-Identifier: Apache-2.0
"""Single kernels have the bits of the oracle or of plain Python."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phasecore.models.golden import hash as hashing
from phasecore.models.golden import post_processing, update_unit
from phasecore.models.golden.adc_interface import calibrate, read_out
from phasecore.models.golden.core import Core
from phasecore.models.golden.crossbar import Crossbar
from phasecore.models.golden.device import IDEAL, N_MAX, PCM
from phasecore.models.golden.fixed_point import round_shift
from phasecore.models.golden.state import CoreState
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import (
    Function,
    Segment,
)
from phasecore.verification.models.same import PROFILES
from phasecore.verification.oracle import activation, device
from phasecore.verification.oracle import crossbar as oracle_crossbar
from phasecore.verification.oracle import fixed_point as arithmetic
from phasecore.verification.oracle.adc_interface import AdcInterface
from phasecore.verification.oracle.update_unit import UpdateUnit

WORDS = st.integers(0, 2**32 - 1)


@given(value=st.integers(-(2**60), 2**60), shift=st.integers(0, 40))
def test_round_shift(value, shift):
    assert round_shift(value, shift) == arithmetic.round_shift(value, shift)


@given(seed=WORDS, index=WORDS, event=WORDS)
def test_hash(seed, index, event):
    key = device.key(seed, device.SET, index, event)
    assert hashing.event_key(seed, hashing.Draw.SET, index, event) == key
    assert hashing.gauss(np.uint32(key)) == device.gauss(key)


@pytest.mark.parametrize("mean", [0.0, 12.0])
def test_pulses_within_bounds(mean):
    """Conductances, deviations, programming memory and event counters at their limits."""
    profile = replace(
        PCM, reset_mean=mean, reset_sd=5.0, set_sd_slope=-1.0, set_mean=0.3, set_mean_slope=0.1
    )
    one, other = (kind(TINY, profile, 1) for kind in (oracle_crossbar.Crossbar, Crossbar))
    for crossbar in (one, other):
        crossbar.events[:] = 2**32 - 5
    rng = random.Random(7)
    for number in range(600):
        # Few devices, so that each gets many pulses in a row.
        place = rng.randrange(4), rng.randrange(2), rng.randrange(2), 0
        reset = number < 100 or rng.random() < 0.01
        for crossbar in (one, other):
            crossbar.program(*place, reset=reset)
        # After each pulse: a later one may hide what an earlier one has left.
        for name in ("conductance", "pulses_since_reset", "events", "resets"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.weights, other.weights)
    assert one.pulses_since_reset.max() == N_MAX
    assert one.conductance.min() >= 0
    assert one.events.min() < 100


@PROFILES
@given(time=st.integers(0, 2**32 - 1), seed=WORDS)
@settings(max_examples=20)
def test_drift_and_noise(profile, time, seed):
    """What devices of every kind conduct at any time, and their noise."""
    drifting = replace(profile, drift_exponent=0.05, drift_exponent_high=0.5, drift_spread=0.02)
    one, other = (kind(TINY, drifting, seed) for kind in (oracle_crossbar.Crossbar, Crossbar))
    rng = np.random.default_rng(seed)
    past = rng.integers(0, 2**32, one.event_time.shape) >> rng.integers(0, 32, one.event_time.shape)
    for crossbar in (one, other):
        crossbar.conductance[...] = past % (TINY.g_max + 1)
        crossbar.event_time[...] = past
        crossbar.set_time(time)
        crossbar.refresh_weights()
    assert np.array_equal(one.drifted, other.drifted)
    assert np.array_equal(one.weights, other.weights)
    assert one.g_noise == other.cores.scalars["crossbar_g_noise"][0]


@given(
    x=st.integers(-128, 127), d=st.lists(st.integers(-128, 127), min_size=16, max_size=16),
    shift=st.integers(-256, 254), bits=st.sampled_from([8, 16, 24]), data=st.data(),
)  # fmt: skip
def test_chi_increments(x, d, shift, bits, data):
    config = TINY.replace(chi_bits=bits)
    limit = 1 << (bits - 1)
    chi = np.array(data.draw(st.lists(
        st.sampled_from([-limit, 1 - limit, -1, 0, 1, 77, limit - 1]), min_size=16, max_size=16
    )), dtype=np.int32)  # fmt: skip
    unit = UpdateUnit(config)
    unit.chi[3] = chi
    segment = Segment(row_start=3, row_count=1, col_start=0, col_count=16)
    vector = np.full(16, x)
    unit.outer(segment, vector, d, shift, False)
    increments = np.zeros(16, dtype=np.float32)
    update_unit.scaled(increments, np.array(d), shift, bits)
    saturated, largest = update_unit.add_increments(chi, x, increments, bits)
    assert np.array_equal(chi, unit.chi[3])
    if x:
        assert saturated == unit.chi_saturations
        assert largest == np.abs(chi).max()


@given(data=st.data(), lsb_log2=st.integers(10, 21), precision=st.integers(5, 8))
def test_read_out(data, lsb_log2, precision):
    def drawn(low, high):
        values = st.one_of(st.integers(low, high), st.sampled_from([low, high]))
        return np.array(data.draw(st.lists(values, min_size=16, max_size=16)))

    config = TINY.replace(adc_bits=data.draw(st.integers(4, 8)))
    unit = AdcInterface(config)
    counts, unit.offsets, unit.gains = drawn(-(2**20), 2**20), drawn(-8192, 8191), drawn(0, 1023)
    state = CoreState(config, IDEAL, [1])
    state.cores.adc_offsets[0], state.cores.adc_gains[0] = unit.offsets, unit.gains
    state.cores.counts[0] = counts
    state.cores.at_limit[0] = at_limit = counts % 3 == 0
    state.cores.scalars[0]["lsb_log2"], state.cores.scalars[0]["precision"] = lsb_log2, precision
    codes = np.zeros(16, dtype=np.int64)
    clipped, overranges = read_out(state.cores, state.geometry, 0, 0, 16, codes)
    assert np.array_equal(codes, unit.read_out(counts, lsb_log2, precision, at_limit=at_limit))
    assert (clipped, overranges) == (unit.clipped, unit.overranges)


@given(scale=st.integers(0, 4095), data=st.data())
def test_calibrate(scale, data):
    """Offsets beyond their register, lines without a reference, gains with a scale."""
    sums = st.integers(-(2**15), 2**15) | st.sampled_from([-8193, -8192, 8191, 8192])
    zero, reference = (
        np.array(data.draw(st.lists(sums, min_size=16, max_size=16))) for _ in range(2)
    )
    core = Core(TINY, IDEAL, 1)
    core.adc.drift_scale = scale
    state = core.state
    calibrate(state.cores, state.geometry, 0, zero, reference)
    unit = AdcInterface(TINY)
    unit.drift_scale = scale
    unit.calibrate(zero, reference)
    assert np.array_equal(state.cores.adc_offsets[0], unit.offsets)
    assert np.array_equal(state.cores.adc_gains[0], unit.gains)
    assert state.cores.scalars[0]["adc_calibration_errors"] == unit.calibration_errors


@given(u=st.integers(-(2**31), 2**31 - 1), function=st.sampled_from(list(Function)[1:]))
def test_activation(u, function):
    y, saturated = activation.activation(np.array([u]), function)
    assert post_processing.activation(u, int(function)) == y[0]
    assert post_processing.overflows(u, int(function)) == saturated


@given(y=st.integers(-128, 127), function=st.sampled_from(list(Function)[1:]))
@example(y=-128, function=Function.TANH)
@example(y=-128, function=Function.SIGMOID)
def test_derivative(y, function):
    expected = activation.derivative(np.array([y]), function)[0]
    assert post_processing.derivative(y, int(function)) == expected
