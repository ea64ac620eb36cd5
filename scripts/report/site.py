# SPDX-License-Identifier: Apache-2.0
"""Hooks of the documents' site (``mkdocs.yml``): figures as SVG, links to files outside ``docs``.

The pages are Markdown that a repository's viewer shows as it is. For the site mermaid figures are
drawn while it is built, so that it needs no script of another server, and a wrong figure is an
error of the build.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any
from zlib import crc32

import mmdr

__all__ = ["figure", "on_page_markdown"]


def figure(source: str, *_: Any, **__: Any) -> str:
    """HTML of a mermaid figure; ids are its own, since several figures share a page."""
    svg = mmdr.render(source, backend="merman").svg()
    name = f"figure-{crc32(source.encode()):08x}"
    return f"<figure>{svg.replace('merman', name)}</figure>"


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page with plain text in place of links to files of the repository outside ``docs``.

    A link to what does not exist is left, so that the build fails on it.
    """
    root = Path(config["docs_dir"]).parent

    def plain(match: re.Match[str]) -> str:
        target = normpath(join("docs", dirname(page.file.src_uri), match[2]))
        outside = not target.startswith("docs/") and (root / target).exists()
        return match[1] if outside else match[0]

    return re.sub(r"\[([^\]]+)\]\(([^)#:]+)\)", plain, markdown)
