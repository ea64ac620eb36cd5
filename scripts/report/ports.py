# SPDX-License-Identifier: Apache-2.0
"""Tables of ports for the pages of the contract, read from the signatures of the RTL.

A page names components between ``<!-- ports: NAME NAME -->`` and ``<!-- end of ports -->``, and
those of which a block is made between ``<!-- parts: NAME NAME -->`` and ``<!-- end of parts -->``;
what stands between the two is written by ``python -m phasecore.scripts.report.readme``: tables of
ports, or a line for each part.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring

from phasecore.paths import PACKAGE
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, CoreConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.rtl.spec.registers.chip import windows
from phasecore.rtl.spec.registers.table import Window

__all__ = ["components", "named", "table", "with_ports"]

COLUMNS = 100
CHIP = CHIPS["default"]
DIRECT = NocConfig(topology="prism", width=4, height=2)

NUMBERS = {
    "readers": 7, "writers": 4, "lanes": DEFAULT.post_lanes, "vc": 0, "port": 0,
    "n": 10, "age_bits": 10, "routes": CHIP.core.routes, "header": HEADER, "route": False,
    "word": 0, "entries": CHIP.core.objects, "channels": CHIP.noc.virtual_channels,
    "sources": 3, "exponent_writers": 3, "number": 0, "objects": CHIP.core.objects,
}  # fmt: skip
"""Parameters of components besides their configuration, as the default core and chip have them."""


def components() -> dict[str, type[wiring.Component]]:
    """Every public component of the RTL by its name."""
    found: dict[str, type[wiring.Component]] = {}
    for path in sorted((PACKAGE / "rtl").rglob("*.py")):
        name = ".".join(("phasecore", *path.relative_to(PACKAGE).with_suffix("").parts))
        module = importlib.import_module(name.removesuffix(".__init__"))
        for item in vars(module).values():
            own = inspect.isclass(item) and item.__module__ == module.__name__
            if own and issubclass(item, wiring.Component) and not item.__name__.startswith("_"):
                found[item.__name__] = item
    return found


def _argument(component: type[wiring.Component], name: str, annotation: Any) -> Any:
    """Value of a parameter: the default core, or that of the default chip."""
    if annotation is ChipConfig:
        return CHIP
    if annotation is NocConfig:
        return DIRECT if component.__name__ == "Direct" else CHIP.noc
    if annotation is CoreConfig:
        on_chip = re.search(r"\.(interface|chip)\.|vector_memory|window_", component.__module__)
        return CHIP.core if on_chip else DEFAULT
    if name == "flit":
        layout = importlib.import_module(component.__module__)
        return vars(layout)["Flit"](CHIP.noc)
    if annotation is data.StructLayout:
        return data.StructLayout({"row": 10, "col": 10})
    if annotation is Window:
        return windows(CHIP)["OBJECT"]
    return NUMBERS[name]


def _instance(component: type[wiring.Component]) -> wiring.Component:
    parameters = inspect.signature(component).parameters.values()
    wanted = [one for one in parameters if one.default is one.empty]
    return component(**{one.name: _argument(component, one.name, one.annotation) for one in wanted})


def _formulas(component: type[wiring.Component]) -> dict[str, str]:
    """Source of every member's shape, from the signature that ``__init__`` writes down."""
    found: dict[str, str] = {}
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    tree = ast.parse(textwrap.dedent(inspect.getsource(vars(owner)["__init__"])))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for name, value in zip(node.keys, node.values, strict=True):
            if isinstance(name, ast.Constant) and isinstance(value, ast.Call) and value.args:
                shape = ast.unparse(value.args[0])
                found[str(name.value)] = re.sub(r"\b(self\.)?(config\.)?(?=[a-z_])", "", shape)
    return found


def _meanings(component: type[wiring.Component]) -> dict[str, str]:
    """What the docstring's section of members says, by name.

    ``a, b : In(1), Out(1)`` with the meaning indented below, or behind the types.
    """
    pattern = re.compile(r"(?:Members|Ports)\n-+\n(.*?)(?=\n\w+\n-+\n|\Z)", re.DOTALL)
    sections = (pattern.search(inspect.getdoc(base) or "") for base in component.__mro__)
    section = next(filter(None, sections), None)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section[1]) if section else []:
        names, _, rest = entry.partition(" : ")
        kind, _, more = rest.partition("\n")
        if re.match(r"(:py:`)?(In|Out)\b", kind):
            behind = re.match(r"[^;]*;\s*(.*)|(?:In|Out)(?:\([^()]*\))?, (?!In|Out)(.*)", kind)
            kind = (behind[1] or behind[2] or "") if behind else ""
        parts = (" ".join(part.split()) for part in (kind, more))
        meaning = "; ".join(filter(None, parts)).replace("``", "`")
        for name in names.split(","):
            found[name.strip()] = re.sub(r":\w+:`([\w.]+)`", r"`\1`", meaning)
    return found


def _bits(signature: wiring.Signature) -> int:
    """Wires of a signature, in both directions."""
    return sum(
        prod(member.dimensions)
        * (Shape.cast(member.shape).width if member.is_port else _bits(member.signature))
        for member in signature.members.values()
    )


def _width(member: wiring.Member, formula: str) -> str:
    """Bits of a member, and where they come from: a formula, a layout or a signature."""
    if member.is_port:
        bits = Shape.cast(member.shape).width
        layout = isinstance(member.shape, data.Layout)
        source = type(member.shape).__name__ if layout else f"= {formula}"
        if not layout and (not formula or formula.isdigit()):
            source = ""
    else:
        signature = member.signature
        # An input of a signature has it flipped.
        signature = signature if type(signature).__module__ != wiring.__name__ else signature.flip()
        bits, source = _bits(signature), type(signature).__name__
        if isinstance(signature, stream.Signature):
            payload = signature.members["payload"].shape
            bits = Shape.cast(payload).width
            source = "stream" + f" of {type(payload).__name__}" * isinstance(payload, data.Layout)
    count = "".join(f"{size} x " for size in member.dimensions)
    return f"{count}{bits} {source}".strip()


def _rows(component: wiring.Component) -> Iterator[tuple[str, str, str, str]]:
    """Name, direction, width, meaning; a meaning that several ports share comes once."""
    formulas, meanings = _formulas(type(component)), _meanings(type(component))
    before = ""
    for name, member in component.signature.members.items():
        group = [key for key in meanings if key.endswith("*") and name.startswith(key[:-1])]
        meaning = meanings.get(name, meanings[group[0]] if group else "")
        width = _width(member, formulas.get(name, ""))
        flow = "in" if member.flow is wiring.In else "out"
        yield name, flow, width, '"' if meaning and meaning == before else meaning
        before = meaning


def table(component: wiring.Component) -> str:
    """Table of the ports of a component."""
    rows = [("port", "", "bits", "meaning"), *_rows(component)]
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    lines: list[str] = []
    for row in rows:
        cells = "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        first, *others = textwrap.wrap(row[3], COLUMNS - sum(widths)) or [""]
        lines += [(cells + first).rstrip(), *(" " * sum(widths) + more for more in others)]
    text = "\n".join(lines)
    name = type(component).__name__
    return f"`{name}` in `{_file(type(component))}`:\n\n```text\n{text}\n```"


def _part(component: type[wiring.Component]) -> str:
    """Name, file and first sentence of the docstring."""
    role = (inspect.getdoc(component) or "").partition("\n\n")[0]
    line = f"- `{component.__name__}` in `{_file(component)}`: {' '.join(role.split())}"
    return textwrap.fill(line.replace("``", "`"), COLUMNS, subsequent_indent="  ")


def _file(component: type[wiring.Component]) -> str:
    return component.__module__.removeprefix("phasecore.").replace(".", "/") + ".py"


def with_ports(text: str) -> str:
    """A page with its tables of ports and its parts as they are now."""
    known = components()

    def tables(match: re.Match[str]) -> str:
        found = "\n\n".join(table(_instance(known[name])) for name in match[2].split())
        return f"{match[1]}\n{found}\n\n{match[3]}"

    def parts(match: re.Match[str]) -> str:
        found = "\n".join(_part(known[name]) for name in match[2].split())
        return f"{match[1]}\n{found}\n\n{match[3]}"

    for kind, written in (("ports", tables), ("parts", parts)):
        pattern = rf"(<!-- {kind}: ([\w\s]+) -->\n).*?(<!-- end of {kind} -->)"
        text = re.sub(pattern, written, text, flags=re.DOTALL)
    return text


def named(folder: Path) -> set[str]:
    """Components that the pages of a folder name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))]
    return {
        name for text in texts for names in re.findall(r"<!-- (?:ports|parts): ([\w\s]+) -->", text)
        for name in names.split()
    }  # fmt: skip
