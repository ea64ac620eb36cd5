# SPDX-License-Identifier: Apache-2.0
"""Device profiles against the published equations: drift, noise, errors, defects, endurance."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.golden.core import Core
from phasecore.models.golden.crossbar import Crossbar
from phasecore.models.golden.device import (
    IDEAL,
    N_MAX,
    PCM,
    PCM_DRIFT,
    PCM_INFERENCE,
    PROFILES,
    PROJECTED_PCM,
    STUCK,
    DeviceProfile,
    physics,
)
from phasecore.models.golden.device.physics import (
    DriftTables,
    initial_state,
    line_errors,
    noise_at,
)
from phasecore.models.golden.device.tables import NU_FRACTION
from phasecore.models.golden.hash import Draw, deviates
from phasecore.models.golden.state import (
    DEVICE_CONDUCTANCE,
    DEVICE_DRIFTED,
    DEVICE_EVENT_TIME,
    DEVICE_EVENTS,
    DEVICE_PULSES,
)
from phasecore.models.training.learner import Learner
from phasecore.rtl.spec.core import DEFAULT, TINY
from phasecore.rtl.spec.instructions import Opcode, encode
from phasecore.scripts.cli import main
from phasecore.scripts.commands import device_curves
from phasecore.scripts.commands.options import add_profile

ONE = DEFAULT.replace(devices_per_polarity=1)
NAMED = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
YEAR = device_curves.YEAR


def drifted(tables, seed, time, g_max, g, n, e, t):
    """Conductance codes of devices in a row at ``time``."""
    devices = np.zeros((6, (len(g) + 1) // 2, 1, 2, 1), dtype=np.int64)
    rows = devices.reshape(6, -1)
    for plane, values in (
        (DEVICE_CONDUCTANCE, g),
        (DEVICE_PULSES, n),
        (DEVICE_EVENTS, e),
        (DEVICE_EVENT_TIME, t),
    ):
        rows[plane, : len(g)] = values
    physics.drift(devices, DriftTables.of(tables), seed, time, g_max)
    return rows[DEVICE_DRIFTED, : len(g)]


@NAMED
def test_pulses_follow_the_equations(profile):
    figures = device_curves.programming(profile, 7)
    assert figures["mean_error"] < 0.01
    assert figures["deviation_error"] < 0.03


@NAMED
def test_drift_follows_the_equations(profile):
    figures = device_curves.drift(profile, 7)
    assert figures["mean_error"] < 0.005
    assert figures["deviation_error"] < 0.003


def test_drift_worked_by_hand():
    figures = device_curves.drift(PCM_INFERENCE, 7)
    # Full scale: nu 0.049, 1,576,801 time constants in a year; deviation 0.008 is above its bound.
    ratio = 1576801.0**-0.049
    assert figures["mean"][-1][-1] == pytest.approx(ratio, rel=0.01)
    assert figures["deviation"][-1][-1] == pytest.approx(ratio * 0.008 * np.log(1576801), rel=0.05)
    # An eighth of it: -0.0155 ln(1/8) + 0.0244 = 0.0566; -0.0125 ln(1/8) - 0.0059 = 0.0201
    assert figures["mean"][-1][0] == pytest.approx(1576801.0**-0.0566, rel=0.05)
    left = device_curves.drift(PCM_DRIFT, 7)["mean"]
    assert left[2][-1] == pytest.approx((3638.6 / 38.6) ** -0.04, abs=0.001)
    assert left[-1][-1] == pytest.approx((YEAR / 38.6) ** -0.04, abs=0.001)
    projected = device_curves.drift(PROJECTED_PCM, 7)["mean"][-1][-1]
    assert np.log(projected) == pytest.approx(np.log(left[-1][-1]) / 10, rel=0.02)


@NAMED
def test_read_noise_follows_the_equations(profile):
    assert device_curves.read_noise(profile, 7)["error"] < 0.02


def test_read_noise_grows_as_published():
    found = device_curves.read_noise(PCM_INFERENCE, 7)["deviation"]
    # 6 uS of 25: 0.0088 / 0.24**0.65 = 0.02225; sqrt(ln(t / 500 ns)) is 3.809 and 5.643
    assert found[0] == pytest.approx(6 * 0.02225 * 3.809, rel=0.02)
    assert found[-1] == pytest.approx(6 * 0.02225 * 5.643, rel=0.02)


@NAMED
@pytest.mark.parametrize("time", [0, 1, 2, 3, 1000, YEAR, 2**32 - 1])
def test_noise_table(profile, time):
    tables, level = profile.tables(ONE), profile.read_noise_conductance
    exact = float(profile.read_deviation(level, time)) * np.sqrt(2) * ONE.g_max
    assert noise_at(tables, time) == pytest.approx(exact / profile.g_full_scale, abs=1)


def test_iterative_programming_leaves_the_published_error():
    figures = device_curves.write_verify(PCM_INFERENCE, 7)
    assert figures["error"] < 0.02
    # An eighth and a half of full scale: 0.26348 + 1.9650 g - 1.1731 g**2
    assert figures["deviation"][0] == pytest.approx(0.4908, rel=0.02)
    assert figures["deviation"][3] == pytest.approx(0.9527, rel=0.02)
    assert np.abs(figures["mean"][:-1]).max() < 0.03


@NAMED
def test_program_instruction_overshoots_by_less_than_two_pulses(profile):
    figures = device_curves.program_instruction(profile, 7)
    assert max(figures["deviation"]) < 2
    assert figures["unverified"] < 0.06


def test_weights_written_without_error():
    config = TINY.replace(devices_per_polarity=4)
    model = Crossbar(config, IDEAL, seed=3)
    wanted = np.random.default_rng(1).integers(-4 * 4095, 4 * 4095 + 1, (16, 16))
    wanted[0, :3] = 7, -7, 0
    model.set_time(50)
    model.write_verified(wanted)
    assert (model.weights == wanted).all()
    assert model.conductance[0, 0].tolist() == [[2, 2, 2, 1], [0, 0, 0, 0]]
    assert model.conductance[0, 1].tolist() == [[0, 0, 0, 0], [2, 2, 2, 1]]
    assert (model.pulses_since_reset == N_MAX).all()
    assert (model.events == 1).all()
    assert (model.event_time == 50).all()
    with pytest.raises(ValueError, match=r"^weights must be \(16, 16\) codes of at most 16380,"):
        model.write_verified(np.full((16, 16), 16381))
    with pytest.raises(ValueError, match=r"not \(16, 15\) up to 0$"):
        model.write_verified(np.zeros((16, 15)))


def test_conductances_stay_within_their_codes():
    every, full = np.ogrid[:16, :16, :2], TINY.g_max
    for mean, bound in ((0.0, 0), (12.0, full)):
        model = Crossbar(TINY, replace(IDEAL, reset_mean=mean, reset_sd=5.0, program_sd=5.0))
        model.program(*every, reset=True)
        assert 0.3 < np.mean(model.conductance == bound) < 0.7
        assert 0 <= model.conductance.min() <= model.conductance.max() <= full
        model.write_verified(np.full((16, 16), bound))
        assert 0.3 < np.mean(model.conductance[:, :, 0] == bound) < 0.7
        assert 0 <= model.conductance.min() <= model.conductance.max() <= full
    # A deviation below 0 is none.
    model = Crossbar(TINY, replace(IDEAL, set_sd=0.1, set_sd_slope=-1.0), g=2000)
    model.program(*every)
    assert (model.conductance == 2263).all()


STATES = st.lists(
    st.tuples(
        st.integers(0, 4095), st.integers(0, 50), st.integers(0, 2**32 - 1),
        st.sampled_from([0, 5, STUCK]),
    ),
    min_size=1, max_size=20,
)  # fmt: skip


@settings(max_examples=50)
@given(STATES, st.integers(0, 2**32 - 1))
def test_drift_in_floating_point(states, time):
    """Every device by itself, with its own draw, within the stated three quarters of a code."""
    g, e, t, n = np.array(states, dtype=np.int64).T
    for profile in (PCM_INFERENCE, PCM_DRIFT):
        found = drifted(profile.tables(ONE), 9, time, 4095, g, n, e, t)
        level = np.log(np.maximum(g, 1) / 4095)
        z = deviates(9, Draw.DRIFT, e) / 256
        nu = np.maximum(
            np.clip(profile.drift_exponent + profile.drift_exponent_slope * level,
                    profile.drift_exponent_low, profile.drift_exponent_high)
            + z * np.clip(profile.drift_spread + profile.drift_spread_slope * level,
                          profile.drift_spread_low, profile.drift_spread_high), 0,
        )  # fmt: skip
        ratio = (np.maximum(time - t, 0) / profile.drift_time + 1) ** -nu
        expected = np.where((n == STUCK) | (time <= t), g, g * ratio)
        assert np.abs(found - expected).max() <= 0.75


def test_drift_by_more_than_four_octaves():
    """By hand: exponent 1 takes six octaves in 63 time constants; what goes on beyond 16 is 0."""
    profile = replace(IDEAL, drift_exponent=1.0, drift_exponent_low=1.0, drift_exponent_high=1.0)
    steep = replace(profile, drift_spread=1.0, drift_spread_low=1.0, drift_spread_high=1.0)
    g = np.full(1000, 4095)
    state = np.zeros_like(g)
    for time, expected in ((0, 4095), (20, 2048), (300, 256), (1260, 64), (163820, 0)):
        found = drifted(profile.tables(ONE), 1, time, 4095, g, state, state, state)
        assert set(found.tolist()) == {expected}
    # Exponents of 2 and more, over 27 octaves.
    found = drifted(steep.tables(ONE), 1, 2**32 - 1, 4095, g, state, state, state)
    assert (found == 0).mean() > 0.6
    # No exponent is below 0, and no device gains.
    assert (found == 4095).mean() > 0.1
    assert (found.min(), found.max()) == (0, 4095)


def log2(tables, values):
    return np.array([physics.log2(tables.log2_table, int(value)) for value in values])


def test_drift_exponents_are_close():
    tables, levels = PCM_INFERENCE.tables(ONE), np.arange(1, 4096)
    octaves = log2(tables, levels) - log2(tables, np.array([4095]))
    for line, start, slope, low, high in (
        (tables.nu, 0.0244, -0.0155, 0.049, 0.1),
        (tables.nu_spread, -0.0059, -0.0125, 0.008, 0.045),
    ):
        exact = np.clip(slope * np.log(levels / 4095) + start, low, high)
        found = np.array([physics._clamped(int(level), line) for level in octaves]) / 2**NU_FRACTION
        assert np.abs(found - exact).max() < 2e-5


@given(st.integers(1, 2**40))
def test_log2(value):
    assert physics.log2(PCM.tables(TINY).log2_table, value) / 65536 == pytest.approx(
        np.log2(value), abs=1e-4
    )


def test_devices_drift_from_their_own_pulses():
    model = Crossbar(TINY, PCM_DRIFT, seed=2, g=3000)
    model.set_time(1000)
    old = model.weights
    model.program(3, 4, 0)
    assert model.drifted[3, 4, 0, 0] == model.conductance[3, 4, 0, 0] > 3000
    model.set_time(2000)
    assert model.drifted[3, 4, 0, 0] / model.conductance[3, 4, 0, 0] == pytest.approx(
        (1038.6 / 38.6) ** -0.04, abs=0.001
    )
    # A SET starts from the conductance that the device had before it drifted.
    again = Crossbar(TINY, PCM_DRIFT, seed=2, g=3000)
    again.program(3, 4, 0)
    assert again.conductance[3, 4, 0, 0] == model.conductance[3, 4, 0, 0]
    # Before its pulse a device has not drifted; the others have as they had.
    model.set_time(1000)
    others = np.arange(16) != 4
    assert (model.weights[:, others] == old[:, others]).all()
    assert model.drifted[3, 4, 0, 0] == model.conductance[3, 4, 0, 0]


def test_profiles_without_drift_do_not_mind_the_time():
    for profile in (IDEAL, PCM):
        model = Crossbar(TINY, profile, seed=2)
        noise, before = model.g_noise, model.weights
        model.set_time(YEAR)
        assert (model.weights == before).all()
        assert model.g_noise == noise == model.tables.g_noise
    with pytest.raises(ValueError, match=r"^time must be in 0..4294967295, not -1$"):
        model.set_time(-1)


def test_row_reads_and_single_polarities_see_what_has_drifted():
    drifting = {name: getattr(PCM_DRIFT, name) for name in vars(PCM_DRIFT) if "drift" in name}
    model = Crossbar(TINY, replace(IDEAL, **drifting), g=4000)
    model.set_time(YEAR)
    drive = np.zeros(16)
    drive[2] = 31
    left = int(model.drifted[2, 0, 0, 0])
    assert left == pytest.approx(4000 * (YEAR / 38.6) ** -0.04, abs=2)
    for polarities, sign in ((1, 1), (2, -1)):
        counts = model.window(drive, lsb_log2=10, precision=6, polarities=polarities)
        assert counts[0] == sign * 31 * left >> 10
    assert (model.window(drive, lsb_log2=10, precision=6) == 0).all()


def test_stuck_devices():
    profile = replace(PCM, stuck_low=0.1, stuck_high=0.05)
    g, n = initial_state(ONE, profile, 1)
    stuck = n == STUCK
    assert np.mean(stuck & (g == 0)) == pytest.approx(0.1, abs=0.003)
    assert np.mean(stuck & (g == ONE.g_max)) == pytest.approx(0.05, abs=0.002)
    assert stuck.sum() == (stuck & ((g == 0) | (g == ONE.g_max))).sum()
    assert (initial_state(TINY, replace(PCM, stuck_low=1.0), 1)[1] == STUCK).all()
    plain, ones = initial_state(ONE, PCM, 1)
    assert (g[~stuck] == plain[~stuck]).all()
    assert (ones == 1).all()
    model = Crossbar(ONE, profile, seed=1, g=77)
    row, col, polarity, _ = np.argwhere(stuck & (g == ONE.g_max))[0]
    model.set_time(9)
    model.program(row, col, polarity, reset=True)
    model.program(row, col, polarity)
    place = row, col, polarity, 0
    names = ("conductance", "pulses_since_reset", "events", "event_time", "resets")
    assert [getattr(model, name)[place] for name in names] == [ONE.g_max, STUCK, 2, 9, 1]
    model.write_verified(np.zeros((256, 256)))
    assert (model.conductance == np.where(stuck, g, 0)).all()


def test_dead_lines():
    profile = replace(IDEAL, dead_rows=0.1, dead_cols=0.2, dead_adcs=0.3, stuck_high=0.01)
    g, n = initial_state(ONE, profile, 3)
    dead = (n == STUCK) & (g == 0)
    rows, cols = dead.all(axis=(1, 2, 3)), dead.all(axis=(0, 2, 3))
    assert 10 < rows.sum() < 45
    assert 30 < cols.sum() < 75
    assert (dead == (rows[:, None] | cols)[:, :, None, None]).all()
    gain, offset = line_errors(ONE, replace(profile, adc_offset_sd=2.0), 3)
    assert 50 < (gain == 0).sum() < 105
    assert (offset[gain == 0] == 0).all()
    assert (offset[gain != 0] != 0).any()


def test_dead_converter_cannot_be_calibrated():
    core = Core(TINY, replace(IDEAL, dead_adcs=0.3), 5)
    dead = int((core.crossbar.gain == 0).sum())
    assert dead > 0
    core.run([encode(Opcode.CALIBRATE, drift=0), encode(Opcode.HALT)])
    assert core.adc.calibration_errors == dead


def test_endurance():
    model = Crossbar(TINY, PCM, seed=1)
    for _ in range(3):
        model.program(1, 2, 0, reset=True)
        model.program([1, 2], [2, 2], 0)
    assert model.endurance() == {
        "pulses_max": 6, "pulses_mean": 9 / 512, "resets_max": 3, "resets_mean": 3 / 512,
    }  # fmt: skip
    assert (model.events - model.resets).sum() == model.set_pulses


def test_time_and_endurance_are_part_of_a_learner():
    network = NETWORKS["mlp-8-6-10"]
    mapping = map_network(network, network.config, PCM_DRIFT)
    learner, other = (Learner(mapping, 5) for _ in range(2))
    images = np.random.default_rng(1).integers(0, 128, (40, 8)).astype(np.uint8)
    learner.cores[0].crossbar.set_time(10**6)
    learner.learn(images, np.arange(40, dtype=np.uint8) % 10)
    other.restore({name: np.array(value) for name, value in learner.state().items()})
    one, same = learner.cores[0].crossbar, other.cores[0].crossbar
    assert same.time == 10**6
    assert one.endurance() == same.endurance()
    assert (one.drifted == same.drifted).all()
    assert (one.event_time == 10**6).any()
    assert np.array_equal(learner.infer(images), other.infer(images))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dead_rows": 1.5}, r"^dead_rows must be in 0.0..1.0, not 1.5$"),
        ({"stuck_low": 0.6, "stuck_high": 0.5}, r"^stuck_low \+ stuck_high must be at most 1, "),
        ({"drift_time": 0.0}, r"^drift_time must be in 0.0625..1000000.0, not 0.0$"),
        (
            {"drift_exponent_low": 0.1},
            r"^drift_exponent_low must be at most drift_exponent_high \(0.0\), not 0.1$",
        ),
        ({"read_noise_conductance": 0.0}, r"^read_noise_conductance must be in 0.001..100.0, not"),
    ],
)
def test_wrong_profiles_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        DeviceProfile(**values)


def test_command(tmp_path, capsys):
    mine = {"name": "mine", "drift_exponent_high": 0.03, "drift_exponent": 0.03}
    (tmp_path / "mine.json").write_text(json.dumps(mine), encoding="utf-8")
    arguments = ["device-curves", "--profile", "pcm_inference", str(tmp_path / "mine.json")]
    assert main([*arguments, "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in result["profiles"]] == ["pcm_inference", "mine"]
    assert (tmp_path / "devices.png").exists()
    stored = json.loads((tmp_path / "devices.json").read_text(encoding="utf-8"))
    assert stored["profiles"] == result["profiles"]
    assert "left after a year" in device_curves.report(result)
    assert main(["device-curves", "--profile", "nothing"]) == 2
    assert "device profile 'nothing' is neither one of ideal, pcm, " in capsys.readouterr().err


def test_profile_option():
    parser = argparse.ArgumentParser()
    add_profile(parser)
    assert parser.parse_args([]).profile is PCM
    assert parser.parse_args(["--profile", "projected_pcm"]).profile is PROJECTED_PCM
