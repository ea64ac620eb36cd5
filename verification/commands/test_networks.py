# SPDX-License-Identifier: Apache-2.0
"""``phasecore networks``: what ``map`` and ``run`` have written, side by side."""

import json

import pytest

from phasecore.scripts.cli import main
from phasecore.verification.commands.test_run import files

__all__ = ["files"]


def test_results_of_a_network_are_a_row(files, capsys):
    common = ["--config", str(files / "core.json"), "--out", str(files / "out")]
    model = str(files / "halves.onnx")
    data = ["--dataset", str(files / "data.npz")]
    drifting = ["--profile", "pcm_drift", "--time", "100", "3600"]
    pytest.importorskip("ortools")
    assert main(["map", model, *common, "--name", "mapped", "--fabrics"]) == 0
    text = capsys.readouterr().out
    assert "layers as nodes            2, 1 ways; on a prism of 2 columns of 1 every way is" in text
    assert "  hypercube                    100 %        1 " in text
    assert main(["run", model, *common, *data, "--profile", "ideal", "--name", "ideal"]) == 0
    assert main(["run", model, *common, *data, *drifting, "--images", "9", "--name", "late"]) == 0
    capsys.readouterr()
    sources = [str(files / "out" / f"{name}.json") for name in ("late", "mapped", "ideal")]
    assert main(["networks", *sources, "--out", str(files / "out")]) == 0
    text = capsys.readouterr().out
    result = json.loads((files / "out" / "networks.json").read_text(encoding="utf-8"))
    (row,) = result["rows"]
    ideal = json.loads((files / "out" / "ideal.json").read_text(encoding="utf-8"))
    assert row["images"] == 30
    assert row["accuracy_chip"] == ideal["runs"][0]["accuracy"]
    assert row["accuracy_float"] == ideal["accuracy_float"]
    assert row["crossbars"] == 2
    assert [(one["time_s"], one["compensated"]) for one in result["accuracies"]] == [
        *((seconds, means) for seconds in (100, 3600) for means in ("tables", "gains", "none")),
        (None, None),
    ]  # fmt: skip
    assert len(row["commands"].split("; ")) == 3
    assert (files / "out" / "networks.png").stat().st_size > 5_000
    assert f"| halves | 2 | {row['cycles_per_image']:,.0f} | - |" in text
    assert "| halves | pcm_drift, 1 per polarity | 2 | 1 h | 9 |" in text
    assert "| halves | 2, 1 | 1 (fewer proven impossible) | 32 | 32 | 32 | 32 |" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"command": "phasecore train"}, "is no result of phasecore map or run"),
        (
            {"command": "phasecore map a.onnx", "network": "a"},
            "is not a whole result: no 'topology'",
        ),
        ({"command": "phasecore run a.onnx"}, "is not a whole result: no 'network'"),
    ],
)
def test_other_files_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["networks", str(path), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not [*(tmp_path / "out").glob("*")]
