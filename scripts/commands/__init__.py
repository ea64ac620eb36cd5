# SPDX-License-Identifier: Apache-2.0
"""One module per command of phasecore, ``bench_core`` for ``bench core``."""

import re
from collections.abc import Sequence

__all__ = ["COMMANDS", "command_of", "module_of", "name_of"]

COMMANDS = {
    "generate": "write Verilog, register map and C header of a core or a chip",
    "simulate": "run the RTL against the golden model, bit for bit",
    "train": "train a network in the golden model",
    "export": "write a network that was trained here as an ONNX file",
    "map": "map a trained ONNX network on cores: places, programs, cycles",
    "run": "infer with a trained ONNX network in the hardware's arithmetic",
    "networks": "put results of map and run side by side, a row per network",
    "ablate": "train with one thing changed at a time",
    "device-curves": "show what devices do over pulses and time, beside the equations",
    "synth": "estimate the area of every block with Yosys",
    "bench core": "measure cycles per operation and simulation speed of the RTL",
    "bench chip": "measure cycles per CPU second of a chip's RTL, by network",
    "bench model": "measure training images per second of the golden model",
    "bench aihwkit": "measure training speed beside IBM's aihwkit",
    "energy": "model the energy per training image of a recorded run",
    "pipelines": "run random pipelines of a chip in the RTL against the golden model",
    "noc": "measure latency and saturation of the network on the RTL",
    "record": "list recorded results, and make the stale ones again",
    "plot": "draw the picture of a recorded result again",
    "faults": "plant faults and see that the tests catch them",
    "fetch mnist": "download MNIST and check its checksums",
}
"""Summary of every command, whose name is one word or two."""


def name_of(words: Sequence[str]) -> str:
    """Command that the words of a command line (without ``phasecore``) begin with, else ''."""
    plain = [word for word in words if not word.startswith("-")]
    names = (" ".join(plain[:count]) for count in (2, 1))
    return next((name for name in names if name in COMMANDS), "")


def command_of(line: str) -> str:
    """Command of a line that begins with ``phasecore``, or of a function: ``phasecore.train``."""
    return name_of(re.split(r"[ .]", line)[1:])


def module_of(name: str) -> str:
    """Full name of the module of a command."""
    return f"{__name__}.{re.sub('[ -]', '_', name)}"
