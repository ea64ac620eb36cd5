# SPDX-License-Identifier: Apache-2.0
"""Pictures of recorded results: nothing written over another thing, no curve hidden."""

import itertools
import json

import numpy as np
import pytest

from phasecore.scripts.cli import main
from phasecore.scripts.commands import plot
from phasecore.scripts.report import pictures
from phasecore.scripts.report.results import RESULTS

KILOBYTES = 100


def overlapping(axis):
    """Neighbouring tick labels of an axis that touch."""
    axis.figure.canvas.draw()
    shown = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
    boxes = [label.get_window_extent() for label in shown if not label.get_rotation()]
    return [
        (one, other) for one, other in itertools.combinations(boxes, 2)
        if one.shrunk(0.98, 0.98).overlaps(other.shrunk(0.98, 0.98))
    ]  # fmt: skip


def hidden(axes):
    """Lines of several points that another line of no smaller width covers wholly."""
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2 and line.get_marker()]
    lines = [line for line in lines if line.get_linestyle() not in ("None", "")]
    return [
        (under, over) for under, over in itertools.combinations(lines, 2)
        if np.array_equal(under.get_xydata(), over.get_xydata())
        and (under.get_color(), under.get_linestyle()) != (over.get_color(), over.get_linestyle())
        and under.get_linewidth() <= over.get_linewidth()
    ]  # fmt: skip


def outside(axes):
    """Lines of which no point is in the panel."""
    x, y = (sorted(limits) for limits in (axes.get_xlim(), axes.get_ylim()))
    return [
        line for line in axes.get_lines()
        if len(line.get_xdata()) > 2 and line.get_transform() == axes.transData
        and not any(x[0] <= a <= x[1] and y[0] <= b <= y[1] for a, b in line.get_xydata())
    ]  # fmt: skip


def markers(line):
    return 0 if line.get_marker() in ("", "None", None) else len(line.get_xdata())


@pytest.mark.parametrize(
    "name",
    ["devices", "energy", "noc-8x8-rest", "mlp-784-250-10-epoch", "mnist-accuracy-seeds",
     "simulate-mlp-64-50-10", "lenet-5-accuracy", pytest.param("ablation", marks=pytest.mark.full)],
)  # fmt: skip
def test_recorded_results_are_drawn_again(name, tmp_path, monkeypatch):
    figures = []
    write = pictures._write
    monkeypatch.setattr(
        pictures, "_write", lambda figure, path: (figures.append(figure), write(figure, path))
    )
    path = plot.draw(RESULTS / f"{name}.json", tmp_path)
    assert path == tmp_path / f"{name}.png"
    assert path.stat().st_size < 1024 * KILOBYTES
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    (figure,) = figures
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        title = axes.get_title() or axes.get_xlabel()
        assert not overlapping(axes.xaxis), title
        assert not overlapping(axes.yaxis), title
        assert not hidden(axes), title
        assert not outside(axes), title
        assert all(markers(line) <= pictures.MARKED for line in axes.get_lines()), title
        assert axes.get_ylabel() or name == "ablation", title
        named = [label for label in axes.get_legend_handles_labels()[1] if label]
        assert len(named) < 2 or axes.get_legend() or figure.legends, title


def test_curves_on_one_another_are_seen_both():
    under, over = (pictures.layered(number, 2, points=300) for number in range(2))
    assert under["linewidth"] > 2 * over["linewidth"]
    assert "marker" not in under
    assert "marker" in pictures.layered(0, 2, points=3)


def test_long_curves_are_averaged():
    (means,) = pictures.averaged(list(range(1001)), points=100)
    assert len(means) <= 100
    assert means[:2].tolist() == [5, 16]
    assert pictures.averaged([1, 2, 3])[0].tolist() == [1, 2, 3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("errors", [[0, 0], [0, 5], [3, 3.1], [100, 50]])
def test_errors_of_zero_are_no_trouble(errors, tmp_path):
    with pictures.picture(tmp_path / "x.png", size=(2, 2)) as (_, ((axes,),)):
        axes.plot(errors, "o")
        pictures.error_axis(axes)
    assert axes.get_yscale() == ("log" if any(errors) else "linear")
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "bad.json is not JSON: "),
        ("[]", "bad.json must be a JSON object, not list"),
        ("{}", "bad.json has no picture: its 'command' is none of simulate, train, "),
        (json.dumps({"command": "phasecore bench core"}), "bad.json has no picture: "),
        (json.dumps({"command": "phasecore train"}), "is not a whole result of phasecore train: "),
    ],
)
def test_other_files_are_refused(content, message, tmp_path, capsys):
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    assert main(["plot", str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]
