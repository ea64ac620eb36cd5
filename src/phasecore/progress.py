# SPDX-License-Identifier: Apache-2.0
"""What goes on, in one line: with its rate and the time left, or the time it has taken so far.

On a terminal the line is drawn again and again on stderr, by tqdm. Elsewhere it goes to the log,
every ``INTERVAL`` seconds. What takes less than ``PATIENCE`` seconds says nothing.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Line", "counted", "watch_compiler", "working"]

PATIENCE = 2.0
"""Seconds without a word."""

REDRAWN = 0.5
"""Seconds from one drawing of the line on a terminal to the next."""

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal."""

log = logging.getLogger("phasecore")


class Line:
    """Progress of work, told by a thread until :meth:`close`.

    Parameters
    ----------
    what : what is done
    total : number of ``unit`` that will be done, None if nobody knows
    unit : what is counted; empty: nothing is, and the time so far is told
    done : number that were done before
    """

    def __init__(self, what: str, total: int | None, unit: str, done: int = 0):
        self._what, self._total, self._unit = what, total, unit
        self._first = done
        self._done: int | Callable[[], int] = done
        self._note = ""
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    @property
    def done(self) -> int:
        """How many are done."""
        return self._done() if callable(self._done) else self._done

    def to(self, done: int | Callable[[], int], note: str = "") -> None:
        """So many are done, or what a function says whenever it is told; ``note``: how well."""
        self._done, self._note = done, note

    def step(self, note: str = "") -> None:
        """One more is done."""
        self.to(self.done + 1, note)

    def close(self) -> None:
        """Take the line away."""
        self._ended.set()
        self._thread.join()

    def _tell(self) -> None:
        if self._ended.wait(PATIENCE):
            return
        if sys.stderr.isatty():
            self._draw()
            return
        while True:
            log.info(self.text(time.monotonic() - self._began))
            if self._ended.wait(INTERVAL):
                return

    def _draw(self) -> None:
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        own = {} if self._unit else {"bar_format": "{desc}: {elapsed}"}
        # Some terminals say that they are 0 by 0.
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
        with (
            logging_redirect_tqdm([logging.getLogger()]),
            tqdm(
                desc=self._what, total=self._total, initial=self._first, unit=f" {self._unit}",
                leave=False, ncols=columns or 80, nrows=rows or 24, **own,
            ) as bar,
        ):  # fmt: skip
            bar.start_t -= PATIENCE
            while not self._ended.wait(REDRAWN):
                bar.n = self.done
                bar.set_postfix_str(self._note, refresh=False)
                bar.refresh()

    def text(self, seconds: float) -> str:
        """The line after so many seconds, for a log."""
        if not self._unit:
            return f"{self._what}: {_clock(seconds)} so far"
        of_all = "" if self._total is None else f" of {self._total}"
        done = self.done
        parts = [f"{self._what}: {done}{of_all} {self._unit}"]
        new = done - self._first
        if new:
            parts.append(f"{new / seconds:.3g} per second")
            if self._total is not None:
                parts.append(f"{_clock((self._total - done) * seconds / new)} left")
        return ", ".join([*parts, self._note] if self._note else parts)


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def counted(what: str, total: int | None, unit: str, done: int = 0) -> Iterator[Line]:
    """A :class:`Line` of counted work while the block runs."""
    line = Line(what, total, unit, done)
    try:
        yield line
    finally:
        line.close()


@contextmanager
def working(what: str) -> Iterator[None]:
    """A line with the time so far while the block runs."""
    with counted(what, None, ""):
        yield


def watch_compiler() -> None:
    """From now on numba's compilations, which call one another, have a line."""
    from numba.core import event

    class Listener(event.Listener):  # type: ignore[misc]
        def __init__(self) -> None:
            self.lines: list[Line] = []

        def on_start(self, _: Any) -> None:
            if not self.lines:
                self.lines.append(Line("compiling the model, kept for the next run", None, ""))
            else:
                self.lines.append(self.lines[0])

        def on_end(self, _: Any) -> None:
            with suppress(IndexError):
                line = self.lines.pop()
                if not self.lines:
                    line.close()

    event.register("numba:compile", Listener())
