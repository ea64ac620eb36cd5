# SPDX-License-Identifier: Apache-2.0
"""Every example runs as it stands, from any folder, and prints what it promises."""

import os
import re
import subprocess
import sys

import pytest

from phasecore.paths import CHECKOUT, IMPORT_PATH

assert CHECKOUT is not None
EXAMPLES = CHECKOUT / "examples"
PRINTED = {
    "01_one_window": r"ideal +\[.*\] largest error (0\.\d|1\.0)\npcm ",
    "02_train_digits": r"test accuracy 9\d\.\d%.*\nwritten digits\.png",
    "03_own_device": r"pcm +9\d\.\d%\ncoarse +[89]\d\.\d%",
    "04_sweep": r"8 +9\d\.\d% +9\d\.\d% +9\d\.\d%",
    "05_own_network": r"mlp-64-40-20-10: 3630 weights\ntest accuracy [89]\d\.\d%",
    "06_own_core": r"ID +50434f52\nCONFIG_ROWS +32\nCONFIG_ADC_BITS 6",
    "07_drive_over_axi": r"codes \[.*\]\n(.*\n)*.*cycles of windows: 128",
    "08_planted_fault": r"wins instead of the first: caught",
    "09_network_from_onnx": r"1210 weights on 4 cores\ntest accuracy [789]\d\.\d%",
    "11_from_pytorch": r"ideal +9\d\.\d% of 297, .*\npcm_inference +9\d\.\d%",
    "10_host_script": r"codes \[(-?\d+, ){9}-?\d+\], as in the golden model",
}
"""What each example must print."""

NEEDS = {"11_from_pytorch": "torch"}
"""Packages that are no part of the set-up."""


def test_every_example_is_short_and_tested() -> None:
    found = {path.stem: path for path in EXAMPLES.glob("[0-9]*.py")}
    assert set(found) == set(PRINTED)
    listed = re.findall(r"\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(found)
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_example(name: str, tmp_path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    environment = {**os.environ, "PYTHONPATH": str(IMPORT_PATH)}
    found = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, env=environment,
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    assert re.search(PRINTED[name], found.stdout), found.stdout
