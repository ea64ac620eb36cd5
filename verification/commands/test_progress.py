# SPDX-License-Identifier: Apache-2.0
"""What takes long says so: in a log now and then, on a terminal in a line that goes away."""

import logging
import os
import pty
import subprocess
import sys
import time

import pytest

from phasecore import progress


@pytest.fixture
def hasty(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    """The log of lines without much patience."""
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    monkeypatch.setattr(progress, "INTERVAL", 0.3)
    caplog.set_level(logging.INFO, "phasecore")
    return caplog


def test_short_work_says_nothing(hasty: pytest.LogCaptureFixture) -> None:
    with progress.counted("training", 10, "images") as line:
        line.to(5)
    with progress.working("building"):
        pass
    time.sleep(0.2)
    assert hasty.messages == []


def test_the_log_gets_few_lines(hasty: pytest.LogCaptureFixture) -> None:
    with progress.counted("training", 1000, "images", done=100) as line:
        for _ in range(90):
            line.step("loss 0.5")
            time.sleep(0.01)
    assert 2 <= len(hasty.messages) <= 5
    assert hasty.messages[-1].startswith("training: 1")
    assert hasty.messages[-1].endswith(" left, loss 0.5")


def test_a_function_is_asked_when_it_is_told(hasty: pytest.LogCaptureFixture) -> None:
    done = iter(range(2, 100, 3))
    with progress.counted("training", 100, "images") as line:
        line.to(lambda: next(done), "loss 0.5")
        time.sleep(0.8)
    assert [message.split(",")[0] for message in hasty.messages[:2]] == [
        "training: 2 of 100 images", "training: 5 of 100 images",
    ]  # fmt: skip


def test_work_without_a_number_tells_its_time(hasty: pytest.LogCaptureFixture) -> None:
    with progress.working("building"):
        time.sleep(0.3)
    assert hasty.messages[0] == "building: 0:00 so far"


@pytest.mark.parametrize(
    ("total", "done", "seconds", "text"),
    [
        (100, 0, 5, "x: 0 of 100 y"),
        (100, 25, 10, "x: 25 of 100 y, 2.5 per second, 0:30 left"),
        (20_000, 100, 100, "x: 100 of 20000 y, 1 per second, 5:31:40 left"),
        (None, 7, 2, "x: 7 y, 3.5 per second"),
    ],
)
def test_rate_and_time_left(total: int | None, done: int, seconds: float, text: str) -> None:
    with progress.counted("x", total, "y") as line:
        line.to(done)
        assert line.text(seconds) == text


def test_earlier_work_is_not_in_the_rate() -> None:
    with progress.counted("x", 100, "y", done=50) as line:
        line.to(75)
        assert line.text(5) == "x: 75 of 100 y, 5 per second, 0:05 left"


def test_a_terminal_has_one_line_that_goes_away() -> None:
    code = """
import time
from phasecore import progress
progress.PATIENCE, progress.REDRAWN = 0.1, 0.05
with progress.counted("training", 100, "images") as line:
    for number in range(100):
        line.step("loss 0.5")
        time.sleep(0.02)
"""
    outer, inner = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=inner)
    os.close(inner)
    shown = b""
    try:
        while part := os.read(outer, 4096):
            shown += part
    except OSError:
        pass  # The other end is closed.
    os.close(outer)
    assert process.wait() == 0
    assert shown.count(b"\n") == 0
    frames = [frame for frame in shown.split(b"\r") if frame.strip()]
    assert len(frames) > 3
    assert b"training" in frames[-1]
    assert b"images/s, loss 0.5" in frames[-1]
    # The last thing is a line of spaces.
    assert shown.rstrip(b"\r").endswith(b" ")


def test_compilations_are_told_of(hasty: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("numba")
    from numba.core import event

    progress.watch_compiler()
    with event.trigger_event("numba:compile"):
        with event.trigger_event("numba:compile"):
            time.sleep(0.2)
        time.sleep(0.1)
    count = len(hasty.messages)
    assert set(hasty.messages) == {"compiling the model, kept for the next run: 0:00 so far"}
    time.sleep(0.5)
    assert len(hasty.messages) == count
