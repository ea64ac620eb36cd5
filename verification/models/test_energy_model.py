# SPDX-License-Identifier: Apache-2.0
"""``phasecore energy``: parts worked out by hand, bounds in order, what is missing is named."""

import json
from dataclasses import asdict

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.studies import energy
from phasecore.models.studies.energy import CASES, CONSTANTS, PARTS, Activity, Block, Range
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import DEFAULT
from phasecore.scripts.cli import main
from phasecore.scripts.commands.energy import RUN, document
from phasecore.scripts.commands.synth import estimate
from phasecore.scripts.report.results import RESULTS

BLOCKS = dict.fromkeys(
    ("adc", "driver", "post", "update", "programmer", "load_unit", "read_unit", *energy.CONTROL),
    Block(nand2=2248, flip_flops=100, sram_bits=1000),
)
"""Twelve blocks as large as a multiplier with its sum: 0.03 pJ per cycle."""

COUNTS = {
    "cycles": 100, "window": 128, "mvms": 1, "post_busy": 50, "chi_words_updated": 2,
    "programmer_busy": 10, "load_busy": 20, "read_busy": 0, "set_pulses": 3, "reset_pulses": 1,
}  # fmt: skip
DONE = Activity(cores=1, cycles=200, counts=COUNTS)


def parts(done=DONE, core=DEFAULT, chip=None, blocks=BLOCKS):
    return energy.estimate(done, core, chip, blocks)


def test_parts_by_hand():
    bit = 0.0156
    expected = {
        # 131,072 operations at 9.76 TOPS/W.
        "crossbar and converters": 13_429.5,
        # 4 passes: gates, 64 lanes of 24 bits twice and 8 bits twice; a vector of 256 bytes.
        "post-processing": 4 * (0.03 + 4096 * bit) + 2048 * bit,
        # 2 words of 128 lanes of 16 bits, read and written.
        "chi memory and update": 2 * (0.03 + 4096 * bit),
        "programming": 3 * 9 + 50 + 10 * 0.03,
        "network": 20 * 0.03,
        # Control works for 100 cycles; idle cycles of all, a tenth of them at 1 fJ per flip-flop;
        # leakage of 26,976 gates at 2 nW and 12,000 bits at 10 pW for 200 ns.
        "control, idle clocks, leakage": 5 * 100 * 0.03
        + 0.1 * 100 * (2 * 72 + 196 + 198 + 190 + 180 + 200 + 5 * 100) * 1e-3
        + (26_976 * 2 + 12_000 * 0.01) * 200 * 1e-6,
    }
    found = parts()
    assert tuple(found) == PARTS == tuple(expected)
    for name, picojoules in expected.items():
        assert found[name].nominal * 1e3 == pytest.approx(picojoules, rel=1e-4), name


def test_passes_are_at_most_the_busy_cycles():
    few = Activity(1, 200, {**COUNTS, "post_busy": 3})
    assert parts(few)["post-processing"].nominal < parts()["post-processing"].nominal
    more = Activity(1, 200, {**COUNTS, "post_busy": 500})
    assert parts(more)["post-processing"] == parts()["post-processing"]


def test_refresh_windows_cost_by_length():
    short = Activity(1, 200, {**COUNTS, "window": 32})
    name = "crossbar and converters"
    assert parts(short)[name].nominal == pytest.approx(parts()[name].nominal / 4)


def test_flits_on_a_mesh():
    """3 x 2 nodes: 50 links' lengths over 30 ordered pairs, one router more than links."""
    done = Activity(5, 200, {**COUNTS, "load_busy": 0, "flits_received": 10})
    chip = CHIPS["default"]
    network = parts(done, chip.core, chip)["network"]
    assert network.low * 1e3 == pytest.approx(10 * 8 * 2 * 0.15)
    assert network.nominal * 1e3 == pytest.approx(10 * 8 * (1 + 50 / 30) * 0.19)
    assert network.high * 1e3 == pytest.approx(10 * 8 * 4 * 1.0)


def test_cores_of_a_chip_have_a_network_interface():
    """It works while vectors are loaded and read; local control is idle."""
    names = [name for name in BLOCKS if name not in ("load_unit", "read_unit", "axil")]
    block = BLOCKS["adc"]
    found = parts(blocks=dict.fromkeys([*names, "network", "local"], block))
    assert found["network"] == parts()["network"]
    control = "control, idle clocks, leakage"
    # Of five blocks that control there are four, each with 100 cycles of work and 100 without.
    less = 100 * 0.03 + 0.1 * 100 * 100 * 1e-3
    # Twelve blocks are eleven; two streams idle for 180 and 200 cycles, an interface for 180.
    leaks = (2248 * 2 + 1000 * 0.01) * 200 * 1e-6
    less += leaks + 0.1 * 100 * (380 - 180 - 200) * 1e-3
    assert (parts()[control].nominal - found[control].nominal) * 1e3 == pytest.approx(less)


def test_digital_by_hand():
    network = NETWORKS["mlp-8-6-10"].layers
    weights, behind = 9 * 6 + 7 * 10, 6 * 10
    work = energy.digital(network)
    assert work["arithmetic"].nominal == pytest.approx((2 * weights + behind) * 0.03e-3)
    bits = 8 * (weights + behind) + 32 * weights
    assert work["weight memory"].nominal == pytest.approx(bits * 15.6e-6)
    half = energy.digital(network, share=0.5)
    assert half["arithmetic"].nominal == pytest.approx((weights + behind) * 0.03e-3)


def test_share_of_the_chi_words():
    """A layer of 6 and one of 10 columns are one word per row: 9 + 7 rows."""
    network = NETWORKS["mlp-8-6-10"].layers
    assert energy.active_share(DONE, DEFAULT, network) == 2 / 16
    many = Activity(1, 200, {**COUNTS, "chi_words_updated": 99})
    assert energy.active_share(many, DEFAULT, network) == 1


def test_constants_are_complete():
    for name, constant in CONSTANTS.items():
        assert constant.kind in ("published", "derived", "assumed"), name
        assert all(
            getattr(constant, field)
            for field in ("meaning", "unit", "node", "voltage", "source", "reason")
        ), name
        # Only an assumption may go without a source.
        assert constant.kind == "assumed" or not constant.source.startswith("none"), name


@pytest.mark.parametrize("values", [(2, 1, 3), (1, 3, 2), (-1, 0, 1)])
def test_a_range_out_of_order_is_refused(values):
    with pytest.raises(ValueError, match="low <= nominal <= high"):
        Range(*values)


class Mac(wiring.Component):
    """What ``mac_gates`` counts."""

    a: In(signed(8))
    b: In(signed(8))
    total: Out(signed(32))

    def elaborate(self, platform):
        m = Module()
        a, b = Signal(signed(8)), Signal(signed(8))
        m.d.sync += [a.eq(self.a), b.eq(self.b), self.total.eq(self.total + a * b)]
        return m


class Around(wiring.Component):
    a: In(signed(8))
    b: In(signed(8))
    total: Out(signed(32))

    def elaborate(self, platform):
        m = Module()
        m.submodules.mac = mac = Mac()
        m.d.comb += [mac.a.eq(self.a), mac.b.eq(self.b), self.total.eq(mac.total)]
        return m


def test_gates_of_a_product():
    text = rtlil.convert(Around(), name="around", emit_src=False)
    areas = estimate(text, top="around", names=["mac"])
    assert areas["mac"].nand2 == CONSTANTS["mac_gates"].value.nominal


@pytest.fixture
def recorded(tmp_path):
    """A run of one core, and the areas of its blocks, as files."""
    run = {
        "commit": "abc", "network": "mlp-8-6-10", "profile": "pcm", "images": 10, "cores": 1,
        "config": asdict(DEFAULT), "cycles_per_image": {"total": 200},
        "counters": {name: 10 * count for name, count in COUNTS.items()},
    }  # fmt: skip
    area = {"commit": "def", "blocks": {name: asdict(block) for name, block in BLOCKS.items()}}
    area["blocks"]["core"] = {"nand2": 10**9, "flip_flops": 10**9, "sram_bits": 10**9}
    files = {"run": tmp_path / "run.json", "area": tmp_path / "area.json"}
    files["area"].write_text(json.dumps(area), encoding="utf-8")
    files["run"].write_text(json.dumps(run), encoding="utf-8")
    return run, files


def command(files, tmp_path):
    return [
        "energy", str(files["run"]), "--area", str(files["area"]), "--out", str(tmp_path), "--json"
    ]  # fmt: skip


def test_command(recorded, tmp_path, capsys):
    _, files = recorded
    assert main(command(files, tmp_path)) == 0
    result = json.loads(capsys.readouterr().out)
    expected = {name: value.rounded() for name, value in parts().items()}
    assert result["nanojoules"] == expected
    assert (tmp_path / "energy.png").stat().st_size > 1000
    kept = json.loads((tmp_path / "energy.json").read_text(encoding="utf-8"))
    assert kept["run"]["commit"] == "abc"
    assert main(command(files, tmp_path)[:-1]) == 0
    printed = capsys.readouterr().out
    assert "Modelled, not measured" in printed
    assert "14,350.0" not in printed  # of another network


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("counters", "chi_words_updated"), "counters.chi_words_updated"),
        (("counters",), "counters"),
        (("cycles_per_image",), "cycles_per_image"),
        (("config",), "config"),
        (("network",), "network"),
    ],
)
def test_what_is_missing_is_named(path, named, recorded, tmp_path, capsys):
    run, files = recorded
    part = run
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    files["run"].write_text(json.dumps(run), encoding="utf-8")
    assert main(command(files, tmp_path)) == 1
    assert f"the result has no field '{named}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run", None, "cannot read result "),
        ("run", "[]", "must be a JSON object, not list"),
        ("run", "{", "is not JSON"),
        ("area", "{}", "has no field 'blocks'"),
        ("area", '{"blocks": {}}', "no block 'adc'"),
    ],
)
def test_bad_files(file, text, message, recorded, tmp_path, capsys):
    _, files = recorded
    files[file].unlink()
    if text is not None:
        files[file].write_text(text, encoding="utf-8")
    assert main(command(files, tmp_path)) == 1
    assert message in capsys.readouterr().err


def test_area_of_a_core_that_was_never_synthesized(recorded, tmp_path, capsys):
    run, files = recorded
    run["config"] = asdict(DEFAULT.replace(rows=128))
    files["run"].write_text(json.dumps(run), encoding="utf-8")
    assert main(["energy", str(files["run"]), "--out", str(tmp_path)]) == 1
    assert "name it with --area" in capsys.readouterr().err


@pytest.mark.parametrize("run", [RUN, RESULTS / "simulate-mlp-196-50-10.json"])
def test_recorded_runs(run, tmp_path, capsys):
    """A chip and a core: every part in order, the total their sum, a page of it all."""
    assert main(["energy", str(run), "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for energies in (*result["nanojoules"].values(), result["nanojoules_total"]):
        assert 0 <= energies["low"] <= energies["nominal"] <= energies["high"]
    for case in CASES:
        total = sum(of[case] for of in result["nanojoules"].values())
        assert total == pytest.approx(result["nanojoules_total"][case], abs=1e-3)
    assert bool(result["published"]) == (run == RUN)
    page = document(result)
    assert all(f"**{name}**" in page for name in CONSTANTS)


def test_recorded_energy_is_that_of_the_recorded_run(tmp_path, capsys):
    kept = json.loads((RESULTS / "energy.json").read_text(encoding="utf-8"))
    run, area = (RESULTS / kept[name]["file"] for name in ("run", "area"))
    arguments = ["energy", str(run), "--area", str(area), "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    if (result["run"], result["area"]) != (kept["run"], kept["area"]):
        pytest.skip("the run or the areas were recorded anew since")
    assert result["nanojoules"] == kept["nanojoules"], "run phasecore energy --out docs/results"
