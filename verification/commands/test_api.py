# SPDX-License-Identifier: Apache-2.0
"""``import phasecore``: the same bits as the commands, names on demand, errors that name."""

import doctest
import json
import subprocess
import sys
from dataclasses import replace

import pytest

import phasecore
from phasecore.scripts.cli import main
from phasecore.scripts.flow.design import CoreDesign


def test_the_package_imports_nothing_until_used() -> None:
    heavy = ["numpy", "numba", "amaranth", "cocotb", "sklearn", "matplotlib"]
    code = f"import phasecore, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


def test_every_name_is_there_and_documented() -> None:
    documented = phasecore.__doc__ or ""
    for name in phasecore.__all__:
        assert getattr(phasecore, name) is not None
        assert name in documented or name.endswith(("Files", "Result")), name
    assert set(phasecore.__all__) <= set(dir(phasecore))
    with pytest.raises(AttributeError, match=r"^module 'phasecore' has no attribute 'trian'$"):
        _ = phasecore.trian  # type: ignore[attr-defined]


def test_the_example_of_the_package_runs() -> None:
    failed, tried = doctest.testmod(phasecore)
    assert tried == 3
    assert failed == 0


def test_training_gives_what_the_command_gives(tmp_path) -> None:
    wanted = {"seed": 3, "epochs": 1, "images": 200, "devices": 2, "eta": 0.8, "eta_end": 0.2}
    mine = phasecore.train("mlp-64-50-10", **wanted)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in wanted.items()]
    assert main(["train", *options, f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("*.json")
    theirs = json.loads(path.read_text(encoding="utf-8"))
    changing = {"command", "inputs", "images_per_second", "curve"}
    record = json.loads(mine.to_json())
    assert {k: v for k, v in theirs.items() if k not in changing} == {
        k: v for k, v in record.items() if k not in changing
    }
    assert mine.config.devices_per_polarity == 2
    assert mine.accuracy_model == theirs["accuracy_model"]
    assert [point["loss"] for point in mine.curve] == [point["loss"] for point in theirs["curve"]]


def test_a_network_of_ones_own_is_trained() -> None:
    known = phasecore.NETWORKS["mlp-64-50-10"]
    hidden = phasecore.Layer(inputs=64, outputs=20, row_start=56, col_start=0)
    last = phasecore.Layer(inputs=20, outputs=10, row_start=0, col_start=0, index_log2=3)
    network = replace(known, name="own", layers=(hidden, last))
    result = phasecore.train(network, profile="ideal", images=400, epochs=1)
    assert result.network == "own"
    assert result.record["weights"] == 65 * 20 + 21 * 10
    assert result.accuracy_model > 0.2


def test_simulation_has_no_mismatch() -> None:
    result = phasecore.simulate("mlp-8-6-10", images=10, test_images=10, sim="icarus")
    assert result.mismatches == 0
    assert result.values_compared > 1000
    assert result.accuracy_rtl == result.accuracy_model
    assert result.cycles_per_image["total"] > 0
    assert json.loads(result.to_json())["simulator"] == "icarus"


def test_generated_files_are_those_of_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(CoreDesign, "verilog", lambda _: "module phasecore_core; endmodule\n")
    generated = phasecore.generate("tiny")
    generated.write(tmp_path / "mine")
    assert main(["generate", "--config", "tiny", f"--out={tmp_path / 'theirs'}"]) == 0
    mine, theirs = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("mine", "theirs")
    )
    assert mine == theirs
    described = json.loads(generated.to_json())
    assert described["top"] == "phasecore_core"
    assert described["files"]["config.json"]["bytes"] == len(mine["config.json"])


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        ("train", {"network": "mlp"}, r"network must be one of mlp-196.*, not 'mlp'"),
        ("train", {"profile": "rram"}, r"profile must be one of ideal, .*, not 'rram'"),
        ("train", {"epochs": 0}, r"epochs must be at least 1, not 0"),
        (
            "train",
            {"images_per_epoch": 1198},
            r"images_per_epoch must be at most 1197 .*, not 1198",
        ),
        ("train", {"config": "tiny"}, r"mlp-64-50-10 needs .*"),
        ("simulate", {"sim": "vcs"}, r"sim must be icarus or verilator, not 'vcs'"),
        ("simulate", {"test_images": 301}, r"test_images must be in 1\.\.300, not 301"),
        ("generate", {"config": "huge"}, r"config must be one of tiny, small, default, not 'huge'"),
    ],
)
def test_what_does_not_fit_is_named(call: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        getattr(phasecore, call)(**arguments)
