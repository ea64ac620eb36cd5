# SPDX-License-Identifier: Apache-2.0
"""Configuration: ranges, derived widths, JSON, and errors that name parameter and value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, PRESETS, SMALL, TINY, CoreConfig


def bounds():
    """Every field with its least and largest value."""
    fields = CoreConfig.schema()["properties"].items()
    allowed = {name: field.get("enum") or (field["minimum"], field["maximum"])
               for name, field in fields}  # fmt: skip
    return [(name, values[0], values[-1]) for name, values in allowed.items()]


LEGAL = {"lsb_log2_max": 28, "rows": 1024, "cols": 1024}


@pytest.mark.parametrize(("name", "low", "high"), bounds())
def test_every_field_names_its_range_and_value(name, low, high):
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"^{name} must be in {low}\.\.{high}, not {value}$"):
            CoreConfig(**{**LEGAL, name: value})


@pytest.mark.parametrize("name", ["rows", "post_lanes", "slots", "segments"])
def test_sizes_that_address_must_be_powers_of_two(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a power of two, not 12$"):
        CoreConfig(**{**LEGAL, name: 12})


@pytest.mark.parametrize("value", [8.0, "8", True, None])
def test_only_integers_are_taken(value):
    with pytest.raises(TypeError, match=rf"^chi_bits must be an integer, not {value!r}$"):
        CoreConfig(chi_bits=value)


def test_fields_that_depend_on_each_other():
    with pytest.raises(ValueError, match=r"^post_lanes must be at most rows and cols \(16\), not"):
        CoreConfig(rows=16, update_lanes=16)
    with pytest.raises(ValueError, match=r"^post_lanes must be at least 16 for 256 lines, not 8$"):
        CoreConfig(post_lanes=8)
    with pytest.raises(ValueError, match=r"^update_lanes must be at most cols \(64\), not 128$"):
        CoreConfig(cols=64)
    with pytest.raises(
        ValueError, match=r"^lsb_log2_max must be at least lsb_log2_min \(12\), not 11$"
    ):
        CoreConfig(lsb_log2_min=12, lsb_log2_max=11)


def test_row_reads_need_their_range():
    with pytest.raises(
        ValueError, match=r"^lsb_log2_max must be at least 13 for row reads, not 12$"
    ):
        CoreConfig(lsb_log2_max=12, devices_per_polarity=8)


def test_drift_reads_need_their_range():
    """Coarse enough for a full array of the default, and at least as coarse as 32 bits ask for."""
    assert (DEFAULT.drift_lsb_log2, DEFAULT.drift_bits) == (19, 23)
    assert (TINY.drift_lsb_log2, TINY.drift_bits) == (14, 19)
    coarse = DEFAULT.replace(rows=64, lsb_log2_max=13)
    assert (coarse.drift_lsb_log2, coarse.drift_bits) == (13, 24)
    wide = coarse.replace(increment_bits=16)
    assert (wide.drift_lsb_log2, wide.drift_bits) == (13, 27)
    fine = DEFAULT.replace(rows=64, lsb_log2_min=16)
    assert (fine.drift_lsb_log2, fine.drift_bits) == (17, 23)
    with pytest.raises(
        ValueError, match=r"^lsb_log2_max must be at least 8 for drift reads, not 6$"
    ):
        CoreConfig(g_bits=10, lsb_log2_min=4, lsb_log2_max=6, increment_bits=16)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        DEFAULT.rows = 128


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_json_round_trip(config, tmp_path):
    path = tmp_path / "core.json"
    path.write_text(config.to_json(), encoding="utf-8")
    assert CoreConfig.load(path) == config


def test_missing_keys_keep_their_defaults():
    assert CoreConfig.from_json('{"chi_bits": 20}') == DEFAULT.replace(chi_bits=20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"colums": 8}', r"^unknown configuration key 'colums'; known: acc_bits, "),
        ("[1]", r"^configuration must be a JSON object, not list$"),
        ("{", r"^configuration is not JSON: "),
        (json.dumps({"rows": 300}), r"^rows must be a power of two, not 300$"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        CoreConfig.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"host": 1.0}', r"^host must be an integer, not 1\.0$"),
        ('{"host": "1"}', r"^host must be an integer, not '1'$"),
        ('{"host_routes": true}', r"^host_routes must be an integer, not True$"),
        ('{"host": 6}', r"^host must be in 0\.\.5, not 6$"),
        ('{"core": 5}', r"^core must be an object of its fields, not 5$"),
        ('{"noc": [3, 2]}', r"^noc must be an object of its fields, not \[3, 2\]$"),
        ('{"core": {"colums": 8}}', r"^unknown core key 'colums'; known: acc_bits, "),
        ('{"noc": {"depth": 4.0}}', r"^depth must be an integer, not 4\.0$"),
        ('{"cores": 5}', r"^unknown chip key 'cores'; known: bridge_flits, core, "),
        ("[" * 100_000, r"^chip configuration is not JSON: "),
        ("null", r"^chip configuration must be a JSON object, not NoneType$"),
    ],
)
def test_bad_chips_are_refused(text, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ChipConfig.from_json(text)


def test_a_chip_is_made_of_configurations(tmp_path):
    with pytest.raises(TypeError, match=r"^core must be a CoreConfig, not 5$"):
        ChipConfig(core=5)
    with pytest.raises(TypeError, match=r"^noc must be a NocConfig, not \{\}$"):
        ChipConfig(noc={})
    path = tmp_path / "chip.json"
    path.write_text(CHIPS["tiny"].to_json(), encoding="utf-8")
    assert ChipConfig.load(path) == CHIPS["tiny"]
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"^cannot read chip configuration .*: not UTF-8 text$"):
        ChipConfig.load(str(path))
    with pytest.raises(ValueError, match=r"^cannot read chip configuration .*: Is a directory$"):
        ChipConfig.load(str(tmp_path))


def test_unknown_preset_and_unreadable_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"^configuration 'huge' is neither one of tiny, small, default "
    ):
        CoreConfig.load("huge")
    with pytest.raises(
        ValueError, match=r"^configuration '.*none.json' is neither .* nor a JSON file$"
    ):
        CoreConfig.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"^cannot read .*binary.json: not UTF-8 text$"):
        CoreConfig.load(tmp_path / "binary.json")


def test_presets_have_their_sizes():
    assert [(c.rows, c.cols) for c in (TINY, SMALL, DEFAULT)] == [(16, 16), (64, 64), (256, 256)]
    assert (DEFAULT.post_lanes, DEFAULT.update_lanes, DEFAULT.chi_bits) == (64, 128, 16)


def test_default_widths_by_hand():
    """5-bit increments reach +-15, 128 of them +-1920: 12 bits."""
    assert DEFAULT.increment_max == 15
    assert DEFAULT.count_bits == 12
    assert DEFAULT.chi_depth == 512
    assert DEFAULT.vector_address_bits == 6


@given(input_bits=st.integers(5, 8), increment_bits=st.integers(5, 16))
def test_counts_never_overflow_and_the_reference_is_within_the_limit(input_bits, increment_bits):
    config = TINY.replace(input_bits=input_bits, increment_bits=increment_bits)
    largest = config.increment_max * config.window_cycles
    assert largest < 1 << (config.count_bits - 1)
    per_cycle = config.reference_current / 2**config.lsb_log2_min
    assert per_cycle * config.window_cycles == 1 << config.reference_count_log2
    # Gains of up to 1.5 and an offset, or two counts of noise.
    assert 1.5 * per_cycle + 2 < config.increment_max
