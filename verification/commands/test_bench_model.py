# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench model``: a rate, and what it is of."""

import json

from phasecore.models.engine.jit import COMPILED
from phasecore.scripts.cli import main


def test_command(tmp_path, capsys):
    arguments = ["bench", "model", "--network", "mlp-8-6-10", "--images", "150", "--json"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["compiled"] == COMPILED
    assert result["images_per_second"] > (100 if COMPILED else 0.1)
    stored = (tmp_path / "speed-mlp-8-6-10.json").read_text(encoding="utf-8")
    assert json.loads(stored)["images"] == 150


def test_beside_an_earlier_version(tmp_path, capsys):
    before = tmp_path / "before.json"
    before.write_text(
        '{"commit": "0123456789", "network": "mlp-8-6-10", "images_per_second": 0.5}',
        encoding="utf-8",
    )
    arguments = ["bench", "model", "--images", "50", "--before", str(before)]
    arguments += ["--out", str(tmp_path)]
    assert main([*arguments, "--network", "mlp-8-6-10"]) == 0
    assert "0123456" in capsys.readouterr().out
    assert main([*arguments, "--network", "mlp-48-14-10", "--overwrite"]) == 1
    assert f"--before {before} is no result of bench model" in capsys.readouterr().err
