# SPDX-License-Identifier: Apache-2.0
"""Recorded results fit the tree, or say that they do not; stale ones can be made again."""

import json
from pathlib import Path

import pytest

from phasecore.models.golden.arithmetic import ARITHMETIC
from phasecore.rtl.spec.core import PRESETS
from phasecore.scripts.cli import main, parsed
from phasecore.scripts.commands import command_of
from phasecore.scripts.report import records, results
from phasecore.scripts.report.records import Record
from phasecore.scripts.report.results import RESULTS
from phasecore.scripts.report.sources import ROOMS, digest

RECORDS = records.load()
OWN = "train --network mlp-8-6-10 --images 20 --epochs 1 --name own"


def test_every_result_has_its_record() -> None:
    assert sorted(path.stem for path in RESULTS.glob("*.json")) == sorted(r.name for r in RECORDS)


def test_results_are_summaries() -> None:
    texts = [path.read_text(encoding="utf-8") for path in RESULTS.glob("*.json")]
    assert sum(len(text.splitlines()) for text in texts) < 6000


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_recorded_commands_are_commands(record: Record) -> None:
    for command in record.commands:
        _, args = parsed(command.split())
        assert command_of(args.command) in ROOMS


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_fits_the_tree_or_is_known_not_to(record: Record) -> None:
    found = records.contradictions(record, results.read(RESULTS / f"{record.name}.json"))
    if record.stale:
        assert found, f"{record.name} fits again: remove its `stale` from records.toml"
    else:
        assert found == [], "phasecore record --run makes it again"


def recorded(**changes: object) -> tuple[Record, dict]:
    """A record of a training that fits the tree but for ``changes``."""
    result = {
        "command": f"phasecore {OWN} --out docs/results", "commit": "unknown", "preset": "tiny",
        "config": json.loads(PRESETS["tiny"].to_json()), "arithmetic": ARITHMETIC,
    }  # fmt: skip
    return Record("own", (OWN,)), {**result, **changes}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"arithmetic": ARITHMETIC - 1}, f"arithmetic {ARITHMETIC - 1}, now {ARITHMETIC}"),
        ({"command": f"phasecore {OWN} --side 3"}, "none any more: unrecognized arguments: --side"),
        ({"command": "phasecore tame"}, "none any more: argument COMMAND: invalid choice: 'tame'"),
        ({"command": f"phasecore {OWN} --seeds 2"}, "--seeds 2', not of 'phasecore train"),
        ({"config": {"rows": 32}}, "rows 32 of tiny, now 16"),
        ({"config": {"lanes": 32}}, "lanes 32 of tiny, now no such field"),
        ({"complete": False}, "the run was stopped"),
        (
            {"command": "phasecore synth --config tiny", "crossbar_devices": 511},
            "511 devices of tiny",
        ),
        (
            {
                "command": "phasecore faults",
                "faults": [{"block": "core", "name": "gone"}],
            },
            "1 are gone",
        ),
    ],
)
def test_contradictions_are_found(changes: dict, found: str) -> None:
    record, result = recorded(**changes)
    if "command" in changes and "train" not in changes["command"]:
        record = Record("own", ())
    reasons = records.contradictions(record, result)
    assert len(reasons) == bool(found)
    assert found in "".join(reasons)


def test_changed_sources_are_found() -> None:
    _, result = recorded()
    fresh = results.record(command="phasecore train")["sources"]
    assert set(fresh) == {"models", "rtl/spec"}
    assert records.outdated({**result, "sources": fresh}) == []
    older = {**fresh, "models": "0123"}
    assert records.outdated({**result, "sources": older}) == ["models has changed"]
    assert records.outdated(result) == ["of commit unknown, which this repository does not know"]


def test_digests_are_of_what_runs(tmp_path: Path) -> None:
    def of(name: str, python: str, verilog: str = "module m; endmodule\n") -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(python, encoding="utf-8")
        (folder / f"{name}.sv").write_text(verilog, encoding="utf-8")
        return digest(folder)

    first = of("a", "import os\n\ndef f(x):\n    '''Old.'''\n    return x + 1\n")
    assert of("b", "# New.\nimport sys\ndef f( x ): return x + 1\n") == first
    assert of("c", "def f(x): return x + 1\n", "module m;  // New.\nendmodule\n") == first
    assert of("d", "def f(x): return x + 2\n") != first
    assert of("e", "def f(x): return x + 1\n", "module n; endmodule\n") != first


def test_a_record_is_made_again_and_goes_on(tmp_path: Path) -> None:
    folder, work = tmp_path / "results", tmp_path / "work"
    folder.mkdir()
    command = f"{OWN} --checkpoint own.npz"
    with pytest.raises(RuntimeError, match=r"^own: phasecore train --epochs 0 ended with status 2"):
        records.make(Record("own", (command, "train --epochs 0")), folder, work)
    assert list(folder.iterdir()) == []
    records.make(Record("own", (command,)), folder, work)
    assert {path.name for path in folder.iterdir()} == {"own.json", "own.png"}
    assert not work.exists()
    result = results.read(folder / "own.json")
    assert "--resume own.npz" in result["command"]
    assert result["images"] == 20
    assert records.contradictions(Record("own", (command,)), result) == []


def test_long_tables_are_written_by_column() -> None:
    rows = [{"images": n, "loss": n / 2} for n in range(9)]
    rows[4]["accuracy"] = 0.5
    result = {"curve": rows, "short": rows[:3], "names": [{"name": "a"}] * 20, "columns": [1]}
    text = results.file_of(result)
    assert len(text.splitlines()) == 32
    assert json.loads(text)["curve"]["columns"]["loss"] == [n / 2 for n in range(9)]
    assert results._rows(json.loads(text)) == result


def test_records_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "--only", "energy", "synth-tiny", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed["records"]] == ["synth-tiny", "energy"]
    assert all(entry["command"].startswith("phasecore") for entry in listed["records"])
    assert main(["record", "--only", "nothing"]) == 1
    assert "--only: no record 'nothing'; known: simulate-mlp" in capsys.readouterr().err
