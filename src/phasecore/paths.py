# SPDX-License-Identifier: Apache-2.0
"""Where the package is, and where it keeps what it builds."""

import os
from pathlib import Path

__all__ = ["BUILD", "CHECKOUT", "IMPORT_PATH", "PACKAGE"]

PACKAGE = Path(__file__).parent
"""Folder of the package: in a checkout ``src/phasecore``, whose rooms are links."""

IMPORT_PATH = PACKAGE.parent
"""Folder that must be on ``PYTHONPATH`` for ``import phasecore``."""


def _checkout() -> Path | None:
    root = IMPORT_PATH.resolve().parent
    return root if IMPORT_PATH.name == "src" and (root / "pyproject.toml").exists() else None


CHECKOUT = _checkout()
"""Root of the checkout, or None if the package was installed from a wheel."""


def _build() -> Path:
    if folder := os.environ.get("PHASECORE_BUILD"):
        return Path(folder)
    if CHECKOUT:
        return CHECKOUT / "build"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "phasecore"


BUILD = _build()
"""Built simulators: ``PHASECORE_BUILD``, or ``build`` in a checkout, or in the user's cache."""
