# SPDX-License-Identifier: Apache-2.0
"""Batches of host transactions for ``tops/chip_top.sv``, and the comparison of what comes back.

As ``core_session``, for all cores of a chip: every core has a trace of its own, and the host's
results are compared by object, because vectors of different producers may come in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Trace
from phasecore.models.golden.packets import Result
from phasecore.rtl.chip.chip import TILE
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, RouteDescriptor
from phasecore.rtl.spec.registers.chip import PAGE_BITS
from phasecore.rtl.spec.registers.chip import offsets as chip_offsets
from phasecore.rtl.spec.registers.chip import windows as chip_windows
from phasecore.rtl.spec.registers.core import offsets
from phasecore.rtl.spec.registers.core import windows as core_windows
from phasecore.verification.cosim.core import (
    DUMP,
    READ,
    RESTORE,
    WAIT_HALTED,
    WRITE,
    Batch,
    HardwareTrace,
    compare,
    compare_state,
    read_trace,
    write_restore,
    write_words,
)
from phasecore.verification.support import build as harness

__all__ = [
    "ChipBatch",
    "ChipTrace",
    "build_top",
    "compare_chip",
    "compare_states",
    "read_traces",
    "simulate",
    "write_macros",
    "write_restores",
]

TOPS = Path(__file__).parent / "tops"
SOURCES = [TOPS / "chip_top.sv", TOPS / "mailbox.cpp"]

IN_TILE = '/* verilator hier_block */\n`include "tile_monitor.svh"\n'
"""What a tile has in a simulation; Verilator compiles it once, however many there are."""

HIERARCHICAL = [*harness.VERILATOR_FAST, "--hierarchical", "--build", "-j", "0"]

MACROS = "macros/core"
"""Prefix of the files of the macros' state in a test folder; ``_<node>`` follows."""


@dataclass
class ChipBatch:
    """Register transactions and packets of one batch, built in order."""

    config: ChipConfig
    packets: list[bytes] = field(default_factory=list)
    script: list[tuple[int, int, int]] = field(default_factory=list)

    def core(self, node: int) -> Batch:
        """The same batch, for the registers of a core."""
        return Batch(self.config.core, self.script, self.packets, base=node << PAGE_BITS)

    def write(self, register: str, value: int) -> None:
        """Write a register of the host's page by name."""
        self.script.append((WRITE, self._host(register), value))

    def read(self, *registers: str) -> None:
        """Read registers of the host's page by name into the trace."""
        self.script += [(READ, self._host(register), 0) for register in registers]

    def define(
        self,
        node: int,
        objects: Sequence[ObjectDescriptor],
        routes: Sequence[RouteDescriptor],
    ) -> None:
        """Write the first entries of a node's tables, which restarts their counters."""
        at_host = node == self.config.host
        windows = chip_windows(self.config) if at_host else core_windows(self.config.core)
        for name, entries in (("OBJECT", objects), ("ROUTE", routes)):
            for index, entry in enumerate(entries):
                for word, value in enumerate(entry.pack()[: windows[name].words]):
                    address = node << PAGE_BITS | windows[name].address(index, word)
                    self.script.append((WRITE, address, value))

    def run(self, nodes: Sequence[int]) -> None:
        """Start the cores of ``nodes`` and wait until they have halted."""
        self.write("START", sum(1 << node for node in nodes))
        self.script.append((WAIT_HALTED, 0, 0))

    def restore(self, nodes: Sequence[int]) -> None:
        """Take macro, chi and selection counters from the files of :func:`write_restores`."""
        self.script += [(RESTORE, 0, node) for node in nodes]

    def dump(self, nodes: Sequence[int]) -> None:
        """Write chi and the devices of the cores to files."""
        self.script += [(DUMP, 0, node) for node in nodes]

    def save(self, folder: Path, index: int) -> None:
        """Write ``script_<index>.hex`` and ``stream_<index>.hex``."""
        Batch(self.config.core, self.script, self.packets).save(folder, index)

    def _host(self, register: str) -> int:
        return self.config.host << PAGE_BITS | chip_offsets(self.config)[register]


@dataclass
class ChipTrace:
    """What one batch did: what the host saw, and every core."""

    config: ChipConfig
    host: HardwareTrace
    cores: dict[int, HardwareTrace]

    def register(self, node: int, name: str) -> int:
        """Value of the last read of a core's register, or of one of the host's page."""
        at_host = node == self.config.host
        known = chip_offsets(self.config) if at_host else offsets(self.config.core)
        address = node << PAGE_BITS | known[name]
        return [value for where, value, _ in self.host.registers if where == address][-1]

    @property
    def values(self) -> int:
        """Codes, vector bytes and pulses of all cores."""
        return sum(len(t.codes) + len(t.bytes) + len(t.devices) for t in self.cores.values())


def read_traces(folder: Path, index: int, config: ChipConfig) -> ChipTrace:
    """Parse the trace files of batch ``index``."""
    host = read_trace(folder / f"trace_{index}.txt", config.core)
    cores = {
        node: read_trace(folder / f"trace_{index}_{node}.txt", config.core) for node in config.cores
    }
    return ChipTrace(config, host, cores)


def compare_chip(trace: ChipTrace, chip: Chip, results: Sequence[Result]) -> list[str]:
    """One text per mismatch between a batch and the model's traces of the same programs."""
    mismatches = []
    for node, core in chip.cores.items():
        found = compare(trace.cores[node], core.trace, [], core.config.lines)
        mismatches += [f"core {node}: {text}" for text in found]
    host = replace(trace.host, results=_by_object(trace.host.results))
    found = compare(host, Trace(), _by_object(results), chip.config.core.lines)
    return mismatches + [f"host: {text}" for text in found]


def _by_object(results: Sequence[Result]) -> list[Result]:
    """Results sorted by object; those of one object keep their order."""
    return sorted(results, key=lambda result: result.slot)


def compare_states(folder: Path, index: int, chip: Chip, nodes: Sequence[int]) -> list[str]:
    """Mismatches of every chi word and every device of the cores that batch ``index`` dumped."""
    return [
        f"core {node}: {text}"
        for node in nodes
        for text in compare_state(folder, f"{index}_{node}", chip.cores[node])
    ]


def write_macros(folder: Path, chip: Chip) -> None:
    """Write the state of every core's macro, and what its accumulators have at power-up."""
    prefix = folder / MACROS
    prefix.parent.mkdir(exist_ok=True)
    for node, core in chip.cores.items():
        own = prefix.with_name(f"{prefix.name}_{node}")
        core.crossbar.write_macro_files(own)
        sums = core.post.accumulators.reshape(-1, chip.config.core.post_lanes)
        write_words(own.with_suffix(".accumulators.hex"), sums, chip.config.core.acc_bits)


def write_restores(folder: Path, chip: Chip, nodes: Sequence[int]) -> None:
    """Write the state that ``ChipBatch.restore`` gives the cores of ``nodes``."""
    for node in nodes:
        write_restore(folder, node, chip.cores[node])


def build_top(config: ChipConfig, *, sim: str, waves: bool = False) -> Path:
    """Build folder of a chip in its simulation top."""
    mesh, core = config.noc, config.core
    routers = " ".join(f"`ROUTER({x}, {y})" for y in range(mesh.height) for x in range(mesh.width))
    macros = [
        f"`define PHASECORE_NODES {max(config.cores) + 1}",
        f"`define PHASECORE_ROUTERS {routers}",
        f"`define PHASECORE_POST_LANES {core.post_lanes}",
    ]
    if core.devices_per_polarity > 1:
        macros.append("`define PHASECORE_SELECTION")
    before, begin, rest = harness.chip_verilog(config).partition(f"module {TILE}(")
    tile, end, after = rest.partition("endmodule")
    verilog = "".join([before, begin, tile, IN_TILE, end, after])
    return harness.build(
        "\n".join([*macros, verilog]), top="chip_top", sim=sim, sources=SOURCES,
        build_args=HIERARCHICAL if sim == "verilator" else None, waves=waves,
    )  # fmt: skip


def simulate(
    build: Path, folder: Path, config: ChipConfig, *, sim: str, seed: int, batches: int,
    stall: int = 0, settle: int = 0, windows: bool = False, timeline: bool = False,
    waves: bool = False,
) -> None:  # fmt: skip
    """Run the batches that lie (or will lie) in ``folder``, with the macros' state there.

    ``settle`` are cycles after every batch's programs, for vectors that none of them needed;
    ``windows`` traces when the window units work, ``timeline`` what goes on in every core.
    """
    harness.run_bench(
        build,
        top="chip_top",
        sim=sim,
        bench="phasecore.verification.cosim.tb_batches",
        test_dir=folder,
        seed=seed,
        config=config.core,
        env={"PHASECORE_BATCHES": str(batches)},
        waves=waves,
        plusargs=[
            f"+phasecore_macros={folder / MACROS}",
            f"+stall={stall}",
            f"+stall_seed={seed}",
            f"+settle={settle}",
            f"+windows={int(windows)}",
            f"+timeline={int(timeline)}",
        ],
    )
