# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree: who imports whom, licence lines, no local paths, sound fault files."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import faults

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("rtl", "models", "verification", "scripts")
AMARANTH_FREE = (
    "rtl.config", "rtl.isa", "rtl.csr", "rtl.noc.config", "rtl.noc.flit", "rtl.noc.message",
    "rtl.noc.topology",
    "rtl.chip.config", "rtl.chip.registers",
)  # fmt: skip
HDL = ("amaranth", "cocotb")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCES = {".py", ".sv", ".v", ".vlt", ".sh"}
FAULTS = faults.load(ROOT)


def tracked() -> list[Path]:
    """Files of the repository; without git every file outside hidden and built folders."""
    try:
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        ).stdout.split("\0")
        paths = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        ignored = re.compile(r"^(\.(?!ci/)|build/|.*(__pycache__|\.egg-info)/)")
        paths = [
            path
            for path in ROOT.rglob("*")
            if not ignored.match(path.relative_to(ROOT).as_posix())
        ]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            if node.module in PACKAGES:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def violations(package: str, allowed: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    """Imports of a package from ``forbidden`` packages, except the ``allowed`` modules."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imports(path)
        if name.split(".")[0] in forbidden and name not in allowed
    ]


def test_models_import_only_amaranth_free_rtl() -> None:
    assert violations("models", AMARANTH_FREE, ("rtl", "verification", "scripts", *HDL)) == []


def test_rtl_imports_only_rtl() -> None:
    assert violations("rtl", (), ("models", "verification", "scripts", "cocotb", "numpy")) == []


@pytest.mark.parametrize("module", AMARANTH_FREE)
def test_shared_modules_are_amaranth_free(module: str) -> None:
    names = list(imports(ROOT / f"{module.replace('.', '/')}.py"))
    own = [name for name in names if name.split(".")[0] in PACKAGES]
    assert [name for name in names if name.split(".")[0] in HDL] == []
    assert [name for name in own if name not in AMARANTH_FREE] == []


def test_sources_start_with_the_licence() -> None:
    def licensed(text: str) -> bool:
        lines = text.splitlines()
        return any(SPDX in line for line in lines[: 2 if text.startswith("#!") else 1])

    missing = []
    for path in tracked():
        text = text_of(path)
        if text is None:
            continue
        if (path.suffix in SOURCES or text.startswith("#!")) and not licensed(text):
            missing.append(str(path.relative_to(ROOT)))
    assert missing == []


def test_no_paths_of_a_machine() -> None:
    local = re.compile(r"(?<![\w.}])/(?:home|root|work|Users|mnt|tmp)/\w+")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if (text := text_of(path)) is not None
        for match in local.finditer(text)
    ]
    assert found == []


def local_encoding(call: ast.Call) -> bool:
    """True if a call reads or writes text in whatever encoding the user's locale has."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg for keyword in call.keywords}
    constants = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if "encoding" in given:
        return False
    binary = any(isinstance(value, str) and "b" in value for value in constants)
    # Methods of the name that take a file first are not those of a path.
    of_path = isinstance(call.func, ast.Name) or len(constants) == len(call.args)
    text = (name == "open" and of_path) or (name.endswith("TemporaryFile") and constants)
    return name in ("read_text", "write_text") or bool(text and not binary) or "text" in given


def test_text_is_utf8_in_every_locale() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in tracked() if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and local_encoding(node)
    ]  # fmt: skip
    assert found == []


def test_shell_scripts_are_executable() -> None:
    scripts = [path for path in tracked() if (text_of(path) or "").startswith("#!")]
    assert [path.name for path in scripts if not path.stat().st_mode & 0o111] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.block}/{fault.name}")
def test_fault_fits_the_sources(fault: faults.Fault) -> None:
    assert fault.planted((ROOT / fault.file).read_text(encoding="utf-8"))
    assert fault.why
    file, *names = fault.test.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert {name.partition("[")[0] for name in names} <= defined


def test_every_block_has_at_least_three_faults() -> None:
    counts = Counter(fault.block for fault in FAULTS)
    assert {block: count for block, count in counts.items() if count < 3} == {}
