# SPDX-License-Identifier: Apache-2.0
"""Pages of the documents: examples run, every component has its table of ports, lines are short."""

import doctest
import re

import pytest

from phasecore.paths import CHECKOUT
from phasecore.scripts.report.ports import components, named, with_ports

assert CHECKOUT is not None
DOCS = CHECKOUT / "docs"
CONTRACT = sorted((DOCS / "contract").glob("*.md"))
WRITTEN = [
    page for folder in ("contract", "chip", "tutorials", "start")
    for page in sorted((DOCS / folder).glob("*.md"))
]  # fmt: skip
"""Pages that are not made from results or registers."""


@pytest.mark.parametrize(
    "page", [*CONTRACT, DOCS / "chip/descriptors.md"], ids=lambda page: page.stem
)
def test_examples_give_what_the_page_says(page) -> None:
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried > 0
    assert failed == 0


def test_every_component_is_on_a_page() -> None:
    """Name it in ``<!-- ports: NAME -->`` or ``<!-- parts: NAME -->`` of a page of docs/contract.

    Parts of ``rtl/lib`` need none, nor does the base of the topologies.
    """
    known = components()
    wanted = {name for name, item in known.items() if ".rtl.lib." not in item.__module__}
    assert named(DOCS / "contract") <= set(known)
    assert wanted - named(DOCS / "contract") == {"Network"}


def test_tables_say_direction_width_and_meaning() -> None:
    page = with_ports("<!-- ports: AdcInterface Router -->\n<!-- end of ports -->")
    assert re.search(r"^increments +in +1280 = lines \* increment_bits +signed, line 0", page, re.M)
    assert re.search(r"^read +in +\d+ AdcRead$", page, re.M)
    assert re.search(r"^mvm +out +\d+ stream of MvmCommand +windows of the cal", page, re.M)
    assert re.search(r"^i +in +5 x \d+ Link +links in the order of", page, re.M)
    assert re.search(r'^gain +out +10 = gain_bits +"$', page, re.M)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_lines_are_short(page) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100] == []
