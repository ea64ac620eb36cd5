# SPDX-License-Identifier: Apache-2.0
"""Documents made from results and tables are fresh, and say what is so."""

import re

import pytest

from scripts.readme import documents
from scripts.results import ROOT


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_document_is_fresh(path):
    assert path.read_text(encoding="utf-8") == documents()[path], "run python -m scripts.readme"


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target).exists(), f"README.md links to {target}"


def test_every_command_of_the_readme_exists():
    from scripts.cli import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\$ phasecore (\w+)", text, flags=re.MULTILINE)
    assert named
    assert set(named) <= set(COMMANDS)
