# SPDX-License-Identifier: Apache-2.0
"""Documents made from results and tables are fresh, and say what is so."""

import re

import pytest

from phasecore.scripts.commands import COMMANDS, name_of
from phasecore.scripts.report.readme import documents
from phasecore.scripts.report.results import ROOT


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_document_is_fresh(path):
    assert path.read_text(encoding="utf-8") == documents()[path], (
        "run python -m phasecore.scripts.report.readme"
    )


PAGES = ["README.md", "docs/start/commands.md", "docs/results/README.md"]
LINKED = sorted({*ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("docs/**/*.md")})


@pytest.mark.parametrize("page", LINKED, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in target or (page.parent / target).exists(), f"{page} links to {target}"


def test_the_front_page_has_links():
    assert len(re.findall(r"\]\(docs/", (ROOT / "README.md").read_text(encoding="utf-8"))) > 5


def test_every_command_is_named_and_exists():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    lines = [line.split() for line in re.findall(r"\bphasecore ([^`\n]+)", text)]
    assert {name_of(words) for words in lines} >= set(COMMANDS)
    shown = [line.split() for line in re.findall(r"^\$ phasecore (.+)", text, flags=re.MULTILINE)]
    assert all(name_of(words) for words in shown)


def test_the_front_page_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
