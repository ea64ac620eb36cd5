# SPDX-License-Identifier: Apache-2.0
"""What the units of every core do over the cycles of an RTL run, for a trace viewer.

The file is of the Trace Event Format, which ui.perfetto.dev and chrome://tracing open: a process
per core, a thread per unit, and a microsecond of the viewer is a cycle.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phasecore import files

__all__ = ["UNITS", "Timeline"]

UNITS = (
    "program", "refresh", "window", "post-processing", "partial sums", "update", "programming",
    "messages", "window unit",
)  # fmt: skip
"""By bit of the activity that ``verification/cosim/tops/tile_monitor.svh`` tells."""


class Timeline:
    """Spans of work, collected from the traces of one batch after another.

    Parameters
    ----------
    names : of the cores, by node
    """

    def __init__(self, names: Mapping[int, str]):
        self._names = dict(names)
        self._spans: list[dict[str, Any]] = []

    def add(self, folder: Path, index: int) -> None:
        """Take what batch ``index`` left in ``folder``."""
        for node in self._names:
            lines = (folder / f"trace_{index}_{node}.txt").read_bytes().splitlines()
            self._spans += self._of([line for line in lines if line.startswith(b"F ")], node)

    def write(self, path: Path) -> None:
        """Write all spans as one JSON file."""
        named = [
            {"name": kind, "ph": "M", "pid": node, "tid": unit, "args": {"name": name}}
            for node, core in self._names.items()
            for kind, unit, name in (
                ("process_name", 0, core), *(("thread_name", n, u) for n, u in enumerate(UNITS)),
            )
        ]  # fmt: skip
        events = [*named, *sorted(self._spans, key=lambda span: (span["pid"], span["ts"]))]
        files.write(path, json.dumps({"traceEvents": events}))

    @staticmethod
    def _of(lines: list[bytes], node: int) -> Iterator[dict[str, Any]]:
        """Spans of a core's lines, ``F cycle activity``; the last line ends all."""
        found = [(int(cycle), int(activity, 16)) for _, cycle, activity in map(bytes.split, lines)]
        if found:
            found.append((found[-1][0], 0))
        for unit, name in enumerate(UNITS):
            start = None
            for cycle, activity in found:
                is_busy = activity >> unit & 1
                if is_busy and start is None:
                    start = cycle
                elif not is_busy and start is not None:
                    yield {"name": name, "ph": "X", "pid": node, "tid": unit, "ts": start,
                           "dur": cycle - start}  # fmt: skip
                    start = None
