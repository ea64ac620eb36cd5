# SPDX-License-Identifier: Apache-2.0
"""``phasecore map``: places, programs and cycles of a network from its file; what is refused."""

import json

import pytest

from phasecore.models.compiler.placement import MOST_CORES
from phasecore.scripts.cli import main
from phasecore.verification.commands.test_run import files

__all__ = ["files"]


def options(files, *more):
    return [
        "map", str(files / "halves.onnx"), "--config", str(files / "core.json"), "--out",
        str(files / "out"), *map(str, more),
    ]  # fmt: skip


@pytest.mark.parametrize("topology", ["mesh", "prism"])
def test_a_network_is_mapped(files, capsys, topology):
    assert main(options(files, "--topology", topology)) == 0
    text = capsys.readouterr().out
    assert "halves: 2 crossbars of 32 x 32 on a " + topology in text
    assert "programs                   come to an end, with every timing" in text
    result = json.loads((files / "out" / "halves.json").read_text(encoding="utf-8"))
    conv, dense = result["stages"]
    assert (conv["windows"], dense["windows"], conv["copies"]) == (16, 1, 2)
    assert 16 * 128 <= result["cycles_per_image"] < 16 * 140
    assert result["cycles_per_image"] < result["cycles_of_one_image"]
    assert result["crossbars"] == 2
    # Two operations per weight and window at 9.76 TOPS/W.
    window = 2 * 32 * 32 / 9.76e3
    energy = result["energy_nj"]["crossbars and converters"]
    assert energy["nominal"] == pytest.approx((16 + 1) * window, abs=0.051)
    assert "without gates, clocks, leakage" in text
    assert len(conv["spans"]) == 5
    # A mesh has no triangles.
    assert result["single_hop"] == (1 if topology == "prism" else pytest.approx(2 / 3, abs=1e-3))
    assert (files / "out" / "halves.png").stat().st_size > 5_000


def test_copies_are_of_all_layers_or_of_one(files, capsys):
    assert main(options(files, "--copies", "1", "conv1=5")) == 0
    result = json.loads((files / "out" / "halves.json").read_text(encoding="utf-8"))
    found = [(stage["name"], stage["copies"]) for stage in result["stages"]]
    assert found == [("conv1.0", 2), ("conv1.1", 2), ("conv1.2", 2), ("dense2", 1)]
    capsys.readouterr()
    assert main(options(files, "--copies", "stem=2", "--overwrite")) == 1
    assert (
        "--copies: halves has no layer stem; its layers are conv1, dense2"
    ) in capsys.readouterr().err


def test_a_network_that_does_not_fit_says_what_does(files, capsys, monkeypatch):
    monkeypatch.setitem(MOST_CORES, "prism", 1)
    assert main(options(files, "--topology", "prism")) == 1
    assert (
        "halves needs 2 cores of 32 x 32; a prism has at most 1: the first 1 of 2 layers fit"
        " (--layers 1)"
    ) in capsys.readouterr().err
    assert not [*(files / "out").glob("*")]


def test_more_than_a_chip_is_planned_but_does_not_run(files, capsys, monkeypatch):
    monkeypatch.setitem(MOST_CORES, "mesh", 1)
    assert main(options(files)) == 0
    assert "planned                    1 chips of 8 x 8 nodes" in capsys.readouterr().out
    result = json.loads((files / "out" / "halves.json").read_text(encoding="utf-8"))
    assert (result["planned_chips"], result["cores"]) == (1, 2)
    assert main(["run", *options(files, "--dataset", files / "data.npz", "--overwrite")[1:]]) == 1
    assert (
        "a mesh has at most 1: the first 1 of 2 layers fit (--layers 1); phasecore map plans all"
    ) in capsys.readouterr().err
