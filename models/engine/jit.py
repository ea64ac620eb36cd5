# SPDX-License-Identifier: Apache-2.0
"""How kernels are compiled, where machine code is kept, and how they run without a compiler.

Kernels are functions of numbers and arrays in the part of Python that numba compiles. Without
numba, or with ``NUMBA_DISABLE_JIT``, they run as they stand: the same bits, a hundred times slower.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from phasecore.paths import BUILD
from phasecore.progress import watch_compiler

try:
    import numba
except ImportError:
    numba = None

__all__ = ["COMPILED", "compiled", "record", "records"]

COMPILED = numba is not None and not numba.config.DISABLE_JIT
"""Kernels are machine code."""

F = TypeVar("F", bound=Callable[..., Any])

if COMPILED:
    watch_compiler()


def _sources_digest() -> str:
    """Hash of the sources whose functions and constants kernels have in their code.

    Kernels of other rooms call these and those of their own file, which numba looks at itself.
    """
    models = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in (models / "golden", models / "engine", models.parent / "rtl" / "spec"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_FOLDER = BUILD.resolve() / f"kernels-{_sources_digest()}"


def compiled(function: F) -> F:
    """Compile at the first call and keep the machine code in a folder.

    Integer arithmetic wraps at 64 bits and indices are not checked: callers keep within bounds.
    Nothing is allocated: arrays come from the caller, who keeps them alive.
    """
    if not COMPILED:
        # Words of the hash wrap, of which numpy's scalars would warn.
        plain: F = np.errstate(over="ignore")(function)
        return plain
    # numba looks at a function's own file only, not at those of the functions that it calls.
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_FOLDER)
    try:
        # Without reference counts, whose atomic increments took half of the time, and without
        # entries for C, of which nobody knows.
        options = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
        result: F = numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before
    return result


def record(*names: str) -> np.dtype[np.void]:
    """Record of 64-bit integers."""
    return np.dtype([(name, np.int64) for name in names])


def records(shape: int | tuple[int, ...], kind: np.dtype[np.void]) -> Any:
    """Records of zeros, whose fields are attributes in kernels that are not compiled, too."""
    return np.zeros(shape, dtype=kind).view(np.recarray)
