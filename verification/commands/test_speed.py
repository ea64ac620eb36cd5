# SPDX-License-Identifier: Apache-2.0
"""``phasecore speed``: both engines learn the same, and what differs is seen."""

import json

import pytest

from phasecore.models.training.learner import Learner
from phasecore.models.training.model import ENGINES
from phasecore.scripts.cli import main

ARGUMENTS = ["speed", "--network", "mlp-8-6-10", "--images", "150", "--json"]


def test_command(tmp_path, capsys):
    assert main([*ARGUMENTS, "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mismatches"] == 0
    assert set(result["images_per_second_by_engine"]) == set(ENGINES)
    assert result["images_per_second"] == result["images_per_second_by_engine"]["compiled"]
    assert result["ratio"] > 3
    stored = (tmp_path / "speed-mlp-8-6-10.json").read_text(encoding="utf-8")
    assert json.loads(stored)["images"] == 150


@pytest.mark.parametrize("attribute", ["n", "e", "windows"])
def test_a_difference_is_seen(attribute, tmp_path, capsys, monkeypatch):
    """One device, or the count of windows, of the reference is off before training."""
    setup = Learner.__init__

    def off(self, *arguments):
        setup(self, *arguments)
        crossbar = self.cores[0].crossbar
        if arguments[-1] != "reference":
            return
        if attribute == "windows":
            crossbar.windows += 1
        else:
            getattr(crossbar, attribute)[0, 0, 0, 0] += 1

    monkeypatch.setattr(Learner, "__init__", off)
    assert main([*ARGUMENTS, "--out", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out)["mismatches"] > 0
