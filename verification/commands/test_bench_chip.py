# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench chip``: two networks in turns on a tiny chip."""

import json

import pytest

from phasecore.scripts.cli import main


@pytest.mark.full
def test_networks_take_turns(capsys, tmp_path):
    arguments = ["bench", "chip", "--sim", "icarus", "--chip", "tiny", "--repeats", "2", "--json"]
    names = ["mlp-48-12-10", "mlp-48-12-10"]
    arguments += ["--network", *names, "--images", "2", "4", "--out", str(tmp_path)]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    few, many = result["rows"]
    assert [few["network"], many["network"]] == names
    assert [few["of_the_first"], few["images"], many["images"]] == [1, 2, 4]
    # Images of one kind take the same cycles; between refreshes, windows of calibration.
    assert many["cycles"] == pytest.approx(2 * few["cycles"], rel=0.25)
    assert many["cycles_per_cpu_second"] > 0


def test_a_number_of_images_for_every_network(capsys, tmp_path):
    arguments = ["bench", "chip", "--images", "2", "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "--images has 1 numbers for 2 networks" in capsys.readouterr().err
