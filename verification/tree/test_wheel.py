# SPDX-License-Identifier: Apache-2.0
"""The built wheel in a virtual environment of its own: one name, and commands that work anywhere.

Nothing is downloaded: the environment sees the libraries of the one that runs the tests.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and the empty folders in which its commands run."""

    python: Path
    library: Path
    """Its site-packages."""
    home: Path
    environment: dict[str, str]
    interpreted: dict[str, str]
    """Without ``--full`` commands do not compile kernels: it takes longer than what they do."""

    def run(self, *command: str | Path, cwd: Path, **environment: str) -> str:
        """Standard output of a program; its errors are the test's."""
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, env={**self.environment, **environment},
            capture_output=True, encoding="utf-8", timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def phasecore(self, *arguments: str, cwd: Path) -> dict:
        """Result of a command."""
        program = self.python.parent / "phasecore"
        return json.loads(self.run(program, *arguments, "--json", cwd=cwd, **self.interpreted))

    def files(self) -> dict[str, int]:
        """Files of site-packages and when they were written, but for compiled Python."""
        found = (path for path in self.library.rglob("*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in found if path.suffix != ".pyc"}


def copied(target: Path) -> Path:
    """The sources without what was built from them."""
    ignored = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info", "docs")
    return Path(shutil.copytree(ROOT, target, symlinks=True, ignore=ignored))


@pytest.fixture(scope="module")
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    interpreted = {} if request.config.getoption("--full") else {"NUMBA_DISABLE_JIT": "1"}
    folder = tmp_path_factory.mktemp("wheel")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PHASECORE"))}
    environment |= {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home" / "cache")}
    (folder / "home").mkdir()
    venv = folder / "venv"
    python = venv / "bin" / "python"
    made = Installed(python, folder, folder / "home", environment, interpreted)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    made.run(
        *pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder,
        copied(folder / "source"), cwd=folder,
    )  # fmt: skip
    (wheel,) = folder.glob("phasecore-*.whl")
    made.run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=folder)
    made.run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    paths = sysconfig.get_paths("venv", {"base": str(venv), "platbase": str(venv)})
    library = Path(paths["purelib"])
    # Folders that a .pth file names are searched for modules, not for .pth files: the checkout's
    # editable install stays out.
    others = sysconfig.get_paths()["purelib"]
    (library / "libraries.pth").write_text(f"{others}\n", encoding="utf-8")
    return Installed(python, library, folder / "home", environment, interpreted)


def test_simulations_have_all_that_they_compile(installed: Installed) -> None:
    """Tops, headers and C++ of every chip's and core's simulation."""
    own = ROOT / "verification" / "cosim" / "tops"
    theirs = installed.library / "phasecore" / "verification" / "cosim" / "tops"
    assert {path.name for path in own.iterdir()} == {path.name for path in theirs.iterdir()}


def test_one_name_is_at_the_top(installed: Installed) -> None:
    names = {path.name for path in installed.library.iterdir()}
    (information,) = (name for name in names if name.endswith(".dist-info"))
    assert names - {information, "libraries.pth", "__pycache__"} == {"phasecore"}
    place = installed.run(
        installed.python, "-c", "import phasecore; print(phasecore.__file__)", cwd=installed.home
    )
    assert Path(place.strip()).is_relative_to(installed.library)


def test_kernels_are_kept_in_the_cache(installed: Installed, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    before = installed.files()
    (tmp_path / "own.py").write_text(
        "from phasecore.models.engine.jit import compiled\n"
        "after = compiled(lambda value: value + 1)\n"
        "print(after(1))\n",
        encoding="utf-8",
    )
    assert installed.run(installed.python, "own.py", cwd=tmp_path) == "2\n"
    assert list((installed.home / "cache" / "phasecore").rglob("*.nbi"))
    assert installed.files() == before


def generate(installed: Installed, folder: Path) -> None:
    result = installed.phasecore("generate", "--config", "tiny", cwd=folder)
    assert result["top"] == "phasecore_core"
    assert (folder / result["out"] / "phasecore_crossbar.sv").exists()


def train(installed: Installed, folder: Path) -> None:
    result = installed.phasecore(
        "train", "--network", "mlp-8-6-10", "--images", "20",
        "--epochs", "1", cwd=folder,
    )  # fmt: skip
    assert result["images"] == 20
    assert (folder / "build" / "train").is_dir()


def simulate(installed: Installed, folder: Path) -> None:
    result = installed.phasecore(
        "simulate", "--network", "mlp-8-6-10", "--sim", "icarus", "--images", "10",
        "--test-images", "10",
        cwd=folder,
    )  # fmt: skip
    assert result["mismatches"] == 0
    assert result["values_compared"] > 1000


@pytest.mark.parametrize(
    "command", [pytest.param(generate, marks=pytest.mark.full), train, simulate]
)
def test_commands_work_in_an_empty_folder(
    installed: Installed, tmp_path: Path, command: Callable[[Installed, Path], None]
) -> None:
    before = installed.files()
    command(installed, tmp_path)
    assert installed.files() == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
