# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: one style for all, curves that lie on one another seen both, small files."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore import files

__all__ = ["COLORS", "averaged", "error_axis", "layered", "number_axis", "picture"]

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.fontsize": 8,
    "legend.framealpha": 0.8,
    "lines.markersize": 4,
}
DPI = 120

POINTS = 100
"""Points of a curve, at most."""

MARKED = 25
"""Points of a curve that has a marker on each, at most."""

STEP = 1.8
"""What a curve's line is thicker than that of the curve over it, in points."""

MARKERS = "osD^v"

WIDTH = 5
"""Highest over lowest error of an axis, at least: two ticks."""

COLORS = tuple(f"C{number}" for number in range(10))
"""Colours in their order."""


@contextmanager
def picture(
    path: Path, rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any
) -> Iterator[tuple[Any, Any]]:
    """Figure and grid of panels, which is written to ``path`` when they are drawn.

    ``size`` in inches; ``options`` are those of ``Figure.subplots``.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Fonts that matplotlib looks for are no news of the command.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    with matplotlib.rc_context(STYLE):
        # A canvas of its own needs no window, whatever back end is set up.
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)
        _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    """A PNG of 256 colours, a third of the size."""
    from PIL import Image

    figure.canvas.draw()
    pixels, content = np.asarray(figure.canvas.buffer_rgba()), io.BytesIO()
    Image.fromarray(pixels).convert("RGB").quantize(256).save(content, format="png", optimize=True)
    files.write(path, content.getvalue())


def layered(number: int, count: int, points: int) -> dict[str, Any]:
    """Style of curve ``number`` of ``count``: each is thinner than those drawn before it.

    So all are seen where they lie on one another. A marker on each of few ``points``.
    """
    over = count - 1 - number
    style = {
        "color": COLORS[number],
        "linewidth": 1.3 + STEP * over,
        "alpha": 0.45 if over else 1.0,
        "solid_capstyle": "butt",
    }
    if points <= MARKED:
        style |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 4 + STEP * over}
    return style


def averaged(*rows: Sequence[float], points: int = POINTS) -> list[NDArray[np.float64]]:
    """Rows of equally many values, as means of neighbours if they are more than ``points``."""
    step = -(-len(rows[0]) // points)
    return [
        np.array([np.mean(row[start : start + step]) for start in range(0, len(row), step)])
        for row in rows
    ]


def number_axis(axis: Any, label: str) -> None:
    """A few ticks with whole numbers, thousands set apart."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axis.set_label_text(label)


def error_axis(axes: Any) -> None:
    """A logarithmic vertical axis of percents, with ticks at 1, 2 and 5; a gap where it is 0."""
    from matplotlib import ticker

    if not np.isfinite(axes.dataLim.minposy):
        return  # Nothing above 0, as after a short test without an error.
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    low, high = axes.get_ylim()
    if high < WIDTH * low:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / WIDTH**0.5, middle * WIDTH**0.5)
