# SPDX-License-Identifier: Apache-2.0
"""How functions of the compiled engine are compiled, and where machine code is kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

from phasecore.paths import BUILD
from phasecore.progress import watch_compiler

__all__ = ["compiled", "record"]

F = TypeVar("F", bound=Callable[..., Any])


watch_compiler()


def _sources_digest() -> str:
    """Hash of the engine's sources and of those whose constants it has in its code."""
    models = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in (models, models.parent / "rtl" / "spec"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_FOLDER = BUILD.resolve() / f"kernels-{_sources_digest()}"


def compiled(function: F) -> F:
    """Compile at the first call and keep the machine code in a folder.

    Integer arithmetic wraps at 64 bits and indices are not checked: callers keep within bounds.
    Nothing is allocated: arrays come from the caller, who keeps them alive.
    """
    # numba looks at a function's own file only, not at those of the functions that it calls.
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_FOLDER)
    try:
        # Without reference counts, whose atomic increments took half of the time.
        result: F = numba.njit(cache=True, error_model="numpy", _nrt=False)(function)
    finally:
        numba.config.CACHE_DIR = before
    return result


def record(*names: str) -> np.dtype[np.void]:
    """Record of 64-bit integers."""
    return np.dtype([(name, np.int64) for name in names])
