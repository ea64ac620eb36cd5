# SPDX-License-Identifier: Apache-2.0
"""``phasecore ablate``: a sound table of cases, runs that go on, and what chi is for."""

import json
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.networks import CHIP_NETWORKS, NETWORKS
from phasecore.models.golden.device import PCM
from phasecore.models.studies.ablation import GROUPS, Case, Setup, chosen_cases, whole_pulses
from phasecore.models.training.datasets import load
from phasecore.rtl.spec.instructions import Opcode, Segment, decode
from phasecore.scripts.cli import main
from phasecore.scripts.commands import ablate

NETWORK = "mlp-64-50-10"
ARGUMENTS = ["ablate", "--network", NETWORK, "--json"]


def base_setup(name=NETWORK):
    network = {**NETWORKS, **CHIP_NETWORKS}[name]
    return Setup(network=network, config=network.config, profile=PCM)


@pytest.mark.parametrize("name", [NETWORK, "mlp-784-250-10"])
def test_cases_fit_the_networks(name):
    """Each changes something, at most one of a group is the recipe, and the hardware takes it."""
    base = base_setup(name)
    setups = {}
    for group in GROUPS:
        assert group.title
        assert group.how
        members = [case.setup(base) for case in group.cases]
        assert len(set(members)) == len(members) > 1
        assert sum(setup == base for setup in members) <= 1
        setups |= {case.name: setup for case, setup in zip(group.cases, members, strict=True)}
    assert len(setups) == sum(len(group.cases) for group in GROUPS)
    for setup in setups.values():
        setup.check()


def test_changes_are_of_existing_fields():
    for case in ablate.ALL_CASES:
        assert set(case.changes) <= {
            "config", "profile", "scaled", "training", "threshold", "keeps_chi",
            "is_calibrated", "rounding", "after", "is_compensated",
        }  # fmt: skip
        json.dumps(case.changes)
    with pytest.raises(TypeError, match="chi_width"):
        Case(group="chi", value="8", config={"chi_width": 8}).setup(base_setup())


def test_what_the_hardware_would_refuse():
    case = Case(group="converter-bits", value="4", config={"adc_bits": 4, "lsb_log2_max": 19})
    with pytest.raises(ValueError, match=r"forward_lsb_log2 must be in 10\.\.19, not 20"):
        case.setup(base_setup()).check()


def test_coarse_converters_keep_weights_and_errors():
    """Fewer levels, the same units: weights of a run stay what they were."""
    base = base_setup()
    fine = base.mapping().recipe
    coarse = Case(group="", value="", config={"adc_bits": 5}).setup(base).mapping().recipe
    assert coarse.weight_units == fine.weight_units
    assert coarse.shifts == [shift - 3 for shift in fine.shifts]
    assert coarse.delta_units == pytest.approx(fine.delta_units)
    assert coarse.biases[0] == fine.biases[0] + 3


def test_a_threshold_of_one_leaves_nothing_in_chi():
    segment = Segment(
        row_start=0, row_count=4, col_start=0, col_count=4, threshold=5000, chi_shift=6
    )
    direct = whole_pulses(segment)
    assert (direct.threshold, direct.chi_shift) == (1, 6 - 12)

    base, data = base_setup(), load("digits")
    setup = replace(base, keeps_chi=False)
    left = []
    for chosen in (base, setup):
        learner = chosen.learner(1)
        chosen.train(learner, data, 1, epochs=1, images=40)
        core = learner.cores[0]
        assert core.programmer.set_pulses > 0
        assert core.update.transfer_saturations == 0
        left.append(np.count_nonzero(core.update.chi))
    assert left[0] > 1000
    assert left[1] == 0


def test_errors_of_a_fixed_scale():
    base = base_setup()
    case = Case(group="", value="", training={"delta_shift": 11})
    images, labels = np.zeros((1, 64), dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    job = case.setup(base).mapping().training(images, labels)
    fields = [decode(word) for word in job.programs[0]]
    errors = [values for opcode, values in fields if opcode is Opcode.DELTA]
    assert [(values["fixed"], values["shift"]) for values in errors] == [(1, 11)] * 2


def test_without_calibration_converters_are_as_they_were_made():
    learner = replace(base_setup(), is_calibrated=False).learner(1)
    adc = learner.cores[0].adc
    assert not adc.offsets.any()
    assert (adc.gains == 256).all()
    assert base_setup().learner(1).cores[0].adc.offsets.any()


@pytest.mark.parametrize("name", [NETWORK, "mlp-64-14-10"], ids=["core", "chip"])
def test_retention(name):
    """Weights shrink with time, and CALIBRATE COMPENSATE gives the products their size back."""
    base, data = base_setup(name), load("digits")
    cases = {one.name: one for one in ablate.ALL_CASES if one.group == "retention"}
    gains = {}
    for case in ("1s", "1y", "compensated-1y", "projected-1y"):
        setup = cases[f"retention={case}"].setup(base)
        learner = setup.learner(1)
        setup.train(learner, data, 1, epochs=1, images=100)
        before = np.abs(learner.weights()[0]).mean()
        setup.age(learner)
        lost = np.abs(learner.weights()[0]).mean() / before
        gains[case] = lost, learner.cores[0].adc.gains.mean() / 256
    assert gains["1s"][0] > 0.99
    assert gains["1y"][0] < 0.65 < 0.9 < gains["projected-1y"][0]
    assert gains["compensated-1y"][0] == gains["1y"][0]
    assert gains["compensated-1y"][1] * gains["1y"][0] == pytest.approx(gains["1y"][1], rel=0.05)


def test_command(tmp_path, capsys):
    """chi off loses by far against the recipe; equal setups are run once; runs are kept."""
    arguments = [*ARGUMENTS, "--epochs", "1", "--base-seeds", "2", "--out", str(tmp_path)]
    cases = ["--cases", "chi=off-x1", "chi-width"]
    assert main([*arguments, "--seeds", "1", *cases]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    found = {case["name"]: case for case in result["cases"]}
    base, off = found["base=recipe"], found["chi=off-x1"]
    assert len(found) == 8
    assert [run["seed"] for run in base["runs"]] == [1, 2]
    assert base["accuracy"] > 0.75
    assert off["accuracy"] < base["accuracy"] - 0.4
    assert off["difference"] == pytest.approx(off["accuracy"] - base["runs"][0]["accuracy"])
    assert off["deviation"] is None
    assert 0 < off["pulses_per_weight_per_image"] < 0.1
    assert found["chi-width=16"]["is_base"]
    assert found["chi-width=16"]["runs"] == base["runs"]
    assert output.err.count("seed 1:") == 7

    stored = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    assert stored["cases"] == result["cases"]
    assert stored["dataset"] == "digits"
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    assert "| **the recipe** | 2 |" in table
    assert "| 16 (the recipe) | 2 |" in table
    assert ablate.markdown(stored, "ablation.png") == table

    # Again with one more seed: the runs that there are stay; the others give the same bits.
    assert main([*arguments, "--seeds", "2", *cases, "--resume"]) == 0
    output = capsys.readouterr()
    more = {case["name"]: case for case in json.loads(output.out)["cases"]}
    assert output.err.count("seed 1:") == 0
    assert output.err.count("seed 2:") == 6
    assert more["chi=off-x1"]["runs"][0] == off["runs"][0]

    assert main([*arguments, "--seeds", "1", "--cases", "chi=off-x1", "--overwrite"]) == 0
    again = json.loads(capsys.readouterr().out)["cases"][1]["runs"][0]
    assert {**again, "seconds": 0} == {**off["runs"][0], "seconds": 0}


def test_resume_keeps_the_runs_of_other_cases(tmp_path, capsys):
    arguments = [*ARGUMENTS, "--epochs", "1", "--images", "50", "--seeds", "1", "--base-seeds", "1"]
    arguments += ["--out", str(tmp_path), "--cases"]
    assert main([*arguments, "chi-width=8"]) == 0
    assert main([*arguments, "refresh=off", "--resume"]) == 0
    capsys.readouterr()
    stored = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    names = [case["name"] for case in stored["cases"]]
    assert names == ["base=recipe", "chi-width=8", "refresh=off"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cases", "chi-with"], "unknown case 'chi-with'; known: chi, chi-width, threshold,"),
        (["--cases", "chi-width=9"], "unknown case 'chi-width=9'; known: chi-width=10, chi-wi"),
        (["--epochs", "2", "--resume"], "ablation.json holds a run with epochs 1, not 2"),
        (["--epochs", "2", "--resume", "--overwrite"], "of runs with epochs 1, not 2"),
        (["--name", "other", "--resume"], "other.json does not say which run it holds"),
    ],
)
def test_clear_errors(more, message, tmp_path, capsys):
    arguments = [*ARGUMENTS, "--images", "20", "--out", str(tmp_path)]
    if "--resume" in more:
        short = ["--epochs", "1", "--seeds", "1", "--base-seeds", "1", "--cases", "chi-width=8"]
        assert main([*arguments, *short]) == 0
        (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    assert main([*arguments, *more]) == 1
    assert message in capsys.readouterr().err


def test_groups_that_are_only_run_when_named():
    assert {case.group for case in ablate.ALL_CASES} - {case.group for case in chosen_cases()} == {
        "rounding"
    }
    chosen = chosen_cases(["rounding=exact", "chi-width=8"])
    assert [case.name for case in chosen] == ["chi-width=8", "rounding=exact"]


def test_rounding_by_chance_in_the_reference(tmp_path, capsys):
    """With two counts per pulse, rounding to nearest loses what rounding by chance keeps."""
    arguments = [*ARGUMENTS, "--epochs", "2", "--seeds", "1", "--base-seeds", "1"]
    names = ["rounding=exact", "rounding=nearest-2", "rounding=stochastic-2"]
    assert main([*arguments, "--out", str(tmp_path), "--cases", *names]) == 0
    _, *cases = json.loads(capsys.readouterr().out)["cases"]
    exact, nearest, stochastic = (case["accuracy"] for case in cases)
    assert exact > 0.85
    assert nearest < 0.5
    assert stochastic > 0.6


def test_network_on_a_chip(tmp_path, capsys):
    arguments = ["ablate", "--network", "mlp-64-14-10", "--epochs", "1", "--images", "60", "--json"]
    arguments += ["--seeds", "1", "--base-seeds", "1", "--out", str(tmp_path), "--cases"]
    assert main([*arguments, "error-format=fixed-11", "chi=off-x1", "converter-spread=raw-x1"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert len(cases) == 4
    assert cases[3]["runs"] != cases[0]["runs"]
