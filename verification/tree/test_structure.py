# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree: who imports whom, licence lines, no local paths, sound fault files."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from phasecore.scripts.commands import faults

ROOT = Path(__file__).resolve().parents[2]
# The arrow rule: a file of the room imports these and no other rooms of phasecore, and of the
# libraries named here only those that are not after a minus.
ARROWS = {
    "rtl/spec": ("rtl.spec", "-amaranth", "-cocotb", "-numpy"),
    "rtl": ("rtl", "-cocotb", "-numpy"),
    "models": ("models", "rtl.spec", "-amaranth", "-cocotb"),
    "verification": ("",),
    "scripts": ("",),
}
PACKAGE = "phasecore"
SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCES = {".py", ".sv", ".svh", ".v", ".vlt", ".sh"}
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
            path for path in ROOT.rglob("*") if not ignored.match(path.relative_to(ROOT).as_posix())
        ]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(name: str, arrows: tuple[str, ...]) -> bool:
    first, _, rest = name.partition(".")
    if first in ("rtl", "models", "verification", "scripts"):
        return False
    if first != PACKAGE:
        return f"-{first}" not in arrows
    return rest.startswith(("paths", "files", "progress")) or any(
        f"{rest}.".startswith(f"{arrow}." if arrow else "") for arrow in arrows if arrow[:1] != "-"
    )


def wrong_imports(room: str) -> list[str]:
    inner = [other for other in ARROWS if other.startswith(f"{room}/")]
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if not any(path.is_relative_to(ROOT / other) for other in inner)
        for name in imports(path)
        if not allowed(name, ARROWS[room])
    ]


@pytest.mark.parametrize("room", ARROWS)
def test_rooms_import_along_the_arrows(room: str) -> None:
    assert wrong_imports(room) == []


@pytest.mark.parametrize(
    ("name", "room", "expected"),
    [
        ("phasecore.rtl.spec.core.CoreConfig", "models", True),
        ("phasecore.rtl.lib.sram.Sram", "models", False),
        ("phasecore.files.check", "models", True),
        ("phasecore.models.golden.core.Core", "rtl", False),
        ("phasecore.rtl.spec.core.CoreConfig", "rtl", True),
        ("phasecore.rtl.lib.arithmetic", "rtl/spec", False),
        ("amaranth.hdl.Signal", "rtl", True),
        ("amaranth.hdl.Signal", "rtl/spec", False),
        ("cocotb.start", "models", False),
        ("numpy", "rtl", False),
        ("rtl.spec.core", "scripts", False),
        ("phasecore.rtl.core.core", "verification", True),
    ],
)
def test_the_arrow_rule_itself(name: str, room: str, expected: bool) -> None:
    assert allowed(name, ARROWS[room]) is expected


def test_tests_of_the_noc_import_no_command() -> None:
    names = {name for path in (ROOT / "verification/noc").rglob("*.py") for name in imports(path)}
    assert [name for name in sorted(names) if name.startswith("phasecore.scripts")] == []


def test_commands_import_no_test() -> None:
    names = {name for path in (ROOT / "scripts").rglob("*.py") for name in imports(path)}
    assert [name for name in sorted(names) if ".test_" in name or ".tb_" in name] == []


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


# Walls inside the rooms: nothing is longer, or hides registers in a helper method.
FUNCTION_LINES, ELABORATE_LINES, CLASS_LINES = 80, 60, 300


def walls(text: str, *, hardware: bool) -> list[str]:
    """Functions and classes of a file that break the rules, those of hardware if it is some."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        if isinstance(node, ast.ClassDef):
            most = CLASS_LINES if hardware else lines
        else:
            most = ELABORATE_LINES if node.name == "elaborate" else FUNCTION_LINES
            calls = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
            makes = any(ast.unparse(call) in ("Signal", "Signal.like") for call in calls)
            if hardware and makes and node.name not in ("elaborate", "__init__"):
                found.append(f"{node.name} makes a signal")
        if lines > most:
            found.append(f"{node.name} has {lines} lines, more than {most}")
    return found


def broken_walls() -> dict[str, list[str]]:
    """By file; ``rtl/spec`` is no hardware."""
    found = {}
    for room in ("rtl", "models", "scripts", "verification"):
        for path in sorted((ROOT / room).rglob("*.py")):
            hardware = room == "rtl" and not path.is_relative_to(ROOT / "rtl/spec")
            if wrong := walls(path.read_text(encoding="utf-8"), hardware=hardware):
                found[path.relative_to(ROOT).as_posix()] = wrong
    return found


def test_walls_stand() -> None:
    assert broken_walls() == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def elaborate():\n" + "    x\n" * 59, []),
        ("def elaborate():\n" + "    x\n" * 60, ["elaborate has 61 lines, more than 60"]),
        ("def f():\n" + "    x\n" * 80, ["f has 81 lines, more than 80"]),
        ("class A:\n" + "    x\n" * 300, ["A has 301 lines, more than 300"]),
        ("def f():\n    x = [Signal(1)]\n", ["f makes a signal"]),
        ("def f():\n    x = Signal.like(y)\n", ["f makes a signal"]),
        ("def elaborate():\n    x = Signal()\n", []),
        ("def __init__():\n    x = Signal()\n", []),
    ],
)
def test_the_walls_themselves(text: str, expected: list[str]) -> None:
    assert walls(text, hardware=True) == expected


def test_walls_of_what_is_no_hardware() -> None:
    assert walls("class A:\n" + "    x\n" * 300, hardware=False) == []
    assert walls("def f():\n    x = Signal()\n", hardware=False) == []
    assert walls("def f():\n" + "    x\n" * 80, hardware=False) != []
