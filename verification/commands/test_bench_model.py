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
