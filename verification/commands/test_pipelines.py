# SPDX-License-Identifier: Apache-2.0
"""``phasecore pipelines``: counts by kind, goes on where it was, tells a mismatch from none."""

import json

from phasecore.scripts.cli import main
from phasecore.scripts.commands import pipelines
from phasecore.verification.cosim.random_runs import CHIP, KINDS, STALLS, Verdict


def test_programs_fit():
    """The first draw of pipeline 459 has a program of 176 instructions."""
    case = pipelines.case_of(1, 459)
    programs = KINDS[case.kind].make(CHIP, case.seed).programs()
    assert max(map(len, programs.values())) <= CHIP.core.program_depth


def run(capsys, folder, *options):
    status = main(["pipelines", "--sim", "icarus", "--json", "--out", str(folder), *options])
    return status, json.loads(capsys.readouterr().out)


def test_goes_on_where_it_was(capsys, tmp_path, monkeypatch):
    """Three pipelines in RTL, then twice as many, and no more; RTL is asked once."""
    simulated = []
    run_cases = pipelines.run_cases

    def counted(config, cases, folder, **options):
        simulated.append(len(cases))
        if len(simulated) > 1:
            return [Verdict(case) for case in cases]
        return run_cases(config, cases, folder, **options)

    monkeypatch.setattr(pipelines, "run_cases", counted)
    for count in (3, 6, 6):
        status, result = run(capsys, tmp_path, "--count", str(count))
        assert status == 0, result["first_mismatches"]
        assert result["complete"]
        assert [entry["runs"] for entry in result["kinds"]] == [count // 3] * 3
        assert result["kinds"][1]["windows_watched"] > 0
        assert result["values_compared"] > 0
    assert simulated == [3, 3]


def test_a_mismatch_begins_a_new_simulation(capsys, tmp_path, monkeypatch):
    seen = []

    def run_cases(config, cases, folder, *, stall, **options):
        seen.append((len(cases), stall))
        bad = Verdict(cases[0], mismatches=["a", "b"]) if len(seen) == 2 else Verdict(cases[0])
        return [bad] if bad.mismatches else [Verdict(case) for case in cases]

    monkeypatch.setattr(pipelines, "run_cases", run_cases)
    status, result = run(capsys, tmp_path, "--count", "50")
    assert status == 1
    assert seen == [
        (20, STALLS[0]), (20, STALLS[1]), (19, STALLS[1]), (10, STALLS[2]),
    ]  # fmt: skip
    assert result["runs"] == 50
    assert result["mismatches"] == 2
    (text,) = result["first_mismatches"]
    kind = tuple(KINDS)[20 % 3]
    assert text.startswith(f"{kind}, seed ")
    assert text.endswith(f"stall {STALLS[1]}: a")
