# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGHUP: commands clean up, and long ones first finish a step and save."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "Stop", "child", "deferred", "explained", "raised"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_children: set["subprocess.Popen[Any]"] = set()

log = logging.getLogger("phasecore")


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; the text says what has been saved and how to go on."""

    def __init__(self, number: int, text: str = ""):
        super().__init__(text or "interrupted")
        self.number = number

    @property
    def status(self) -> int:
        """Exit status by convention: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


class Stop:
    """Number of the signal that came, 0 before."""

    number = 0

    def check(self, text: str = "") -> None:
        """Raise :class:`Interrupted` if a signal came."""
        if self.number:
            raise Interrupted(self.number, text)


_came = Stop()
"""The latest signal of this command: compilers turn what is raised in them into something else."""


@contextmanager
def raised() -> Iterator[None]:
    """Signals kill every :func:`child` and raise :class:`Interrupted`, so that all cleans up."""

    def handle(number: int, _: FrameType | None) -> None:
        _came.number = number
        for process in list(_children):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        raise Interrupted(number)

    with _handled(handle):
        try:
            yield
        except Exception:
            _came.check()
            raise
        finally:
            _came.number = 0


@contextmanager
def deferred() -> Iterator[Stop]:
    """The first signal is only noted, for whoever asks the :class:`Stop`; the next one raises."""
    stop = Stop()
    stop.number = _came.number

    def handle(number: int, _: FrameType | None) -> None:
        if stop.number:
            raise Interrupted(number)
        stop.number = number
        log.warning("stopping after this step; once more stops at once")

    with _handled(handle):
        yield stop


@contextmanager
def child(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """A process in a session of its own that another thread than the main one waits for."""
    _children.add(process)
    try:
        yield
    finally:
        _children.discard(process)


@contextmanager
def explained(text: str) -> Iterator[None]:
    """Add to what a signal ends here how to go on."""
    try:
        yield
    except Interrupted as end:
        raise Interrupted(end.number, f"{end}; {text}") from None


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Send signals to ``handle`` but for ignored ones, such as SIGHUP under nohup."""
    # Python has handlers in the main thread only.
    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n in SIGNALS if is_main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
