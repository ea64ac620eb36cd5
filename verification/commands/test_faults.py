# SPDX-License-Identifier: Apache-2.0
"""The faults command on a toy tree: caught, survived, broken, hung, and everything it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phasecore.paths import IMPORT_PATH
from phasecore.scripts.commands import faults

SOURCE = """
def add(a, b):
    return a + b


def wait(seconds):
    while seconds < 0:
        pass
"""
TEST = """
from phasecore.rtl.toy import add, wait


def test_add():
    wait(1)
    assert add(2, 3) == 5
"""
FAULT = """
[[fault]]
name = "{name}"
why = "toy"
file = "rtl/toy.py"
old = "{old}"
new = "{new}"
test = "{test}"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with one module and its test, and the same package names as this one."""
    root = tmp_path / "tree"
    (root / "rtl").mkdir(parents=True)
    (root / "verification").mkdir(parents=True)
    (root / "src" / "phasecore").mkdir(parents=True)
    (root / "src" / "phasecore" / "__init__.py").touch()
    for room in ("rtl", "verification"):
        (root / "src" / "phasecore" / room).symlink_to(Path("..", "..", room))
    (root / "rtl" / "__init__.py").touch()
    (root / "rtl" / "toy.py").write_text(SOURCE, encoding="utf-8")
    (root / "verification" / "__init__.py").touch()
    (root / "verification" / "test_toy.py").write_text(TEST, encoding="utf-8")
    return root


def plant(tree: Path, *, old: str, new: str, name: str = "toy", test: str = "test_toy.py") -> None:
    """Add a fault to the toy tree."""
    text = FAULT.format(name=name, old=old, new=new, test=f"verification/{test}")
    with open(tree / "verification" / "faults_toy.toml", "a", encoding="utf-8") as file:
        file.write(text)


def sweep(tree: Path, timeout: float = 60) -> dict[str, str]:
    verdicts = faults.sweep(tree, faults.load(tree), jobs=2, timeout=timeout)
    return {fault.name: verdict for fault, verdict in verdicts.items()}


def command(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phasecore.scripts.cli", "faults", "--tree", str(tree), *arguments],
        cwd=tree.parent, env={**os.environ, "PYTHONPATH": str(IMPORT_PATH)},
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def test_verdicts(tree: Path) -> None:
    plant(tree, name="minus", old="a + b", new="a - b")
    plant(tree, name="swapped", old="a + b", new="b + a")
    plant(tree, name="syntax", old="return a + b", new="return a +")
    plant(tree, name="again", old="a + b", new="a * b", test="test_toy.py::test_add")
    assert sweep(tree) == {
        "minus": "caught", "swapped": "survived", "syntax": "broken", "again": "caught",
    }  # fmt: skip
    assert (tree / "rtl" / "toy.py").read_text(encoding="utf-8") == SOURCE


def test_a_test_that_is_killed_has_noticed(tree: Path) -> None:
    """As by machine code that writes where it must not."""
    plant(tree, old="return a + b", new="import os; os.abort()")
    assert sweep(tree) == {"toy": "caught"}


def test_endless_loop_is_noticed(tree: Path) -> None:
    plant(tree, name="endless", old="seconds < 0", new="seconds > 0")
    assert sweep(tree, timeout=5) == {"endless": "timeout"}


def test_failing_unmodified_copy_is_refused(tree: Path) -> None:
    plant(tree, old="a + b", new="a - b")
    (tree / "rtl" / "toy.py").write_text(SOURCE.replace("a + b", "a + b + 1 - 0"), encoding="utf-8")
    with pytest.raises(
        RuntimeError, match=r"^verification/test_toy.py does not pass without a fault \(caught\)$"
    ):
        sweep(tree)


def test_missing_target_is_refused(tree: Path) -> None:
    plant(tree, old="a + b", new="a - b", test="test_toy.py::test_sub")
    with pytest.raises(RuntimeError, match=r"::test_sub does not pass without a fault \(broken\)$"):
        sweep(tree)


def test_command_succeeds_when_all_are_caught(tree: Path) -> None:
    plant(tree, old="a + b", new="a - b")
    result = command(tree, "--json", "--out", "results")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["caught"], answer["total"]) == (True, 1, 1)
    stored = json.loads((tree.parent / "results" / "faults.json").read_text(encoding="utf-8"))
    assert stored == {**answer, "inputs": {"command": "faults", "block": None, "fault": None}}


def test_command_fails_when_one_survives(tree: Path) -> None:
    plant(tree, name="minus", old="a + b", new="a - b")
    plant(tree, name="swapped", old="a + b", new="b + a")
    result = command(tree)
    assert result.returncode == 1
    assert result.stdout == "toy  minus    caught\ntoy  swapped  survived\n1 of 2 caught\n"


def test_filters(tree: Path) -> None:
    plant(tree, name="minus", old="a + b", new="a - b")
    plant(tree, name="swapped", old="a + b", new="b + a")
    result = command(tree, "--name", "swapped", "--block", "toy", "--list")
    assert (result.returncode, result.stdout) == (0, "toy  swapped  not run\n1 faults\n")


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("a * b", "toy/toy: old text occurs 0 times in rtl/toy.py"),
        ("a", "toy/toy: old text occurs 4 times in rtl/toy.py"),
        ("x", "toy/toy: old and new text are equal"),
    ],
)
def test_old_text_must_occur_once(tree: Path, old: str, message: str) -> None:
    (tree / "rtl" / "toy.py").write_text(SOURCE.replace("pass", "x"), encoding="utf-8")
    plant(tree, old=old, new="x")
    result = command(tree)
    assert result.returncode == 1
    assert result.stderr == f"phasecore: error: {message}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[fault]]\nname = 'x'",
            "faults_toy.toml: fault 'x': missing or unknown keys: file, new, old, ",
        ),
        ("[[bug]]\nname = 'x'", "faults_toy.toml: only [[fault]] tables are allowed"),
        ("[[fault", "faults_toy.toml: "),
    ],
)
def test_malformed_files_are_refused(tree: Path, text: str, message: str) -> None:
    (tree / "verification" / "faults_toy.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        faults.load(tree)
    assert str(caught.value).startswith(message)


def test_names_are_unique(tree: Path) -> None:
    plant(tree, old="a + b", new="a - b")
    plant(tree, old="a + b", new="b - a")
    with pytest.raises(ValueError, match=r"^faults_toy.toml: fault 'toy' occurs more than once$"):
        faults.load(tree)


def test_tree_without_faults(tree: Path) -> None:
    assert command(tree).stderr == "phasecore: error: no fault to plant\n"
