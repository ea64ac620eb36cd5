# SPDX-License-Identifier: Apache-2.0
"""Drive the RTL of a core over AXI from Python: program, vector in, vector out, in Icarus.

The bus clients are those of cocotbext-axi; `verification/drivers/host.py` is a driver to copy.
usage: python examples/07_drive_over_axi.py
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import cocotb

from phasecore import PRESETS, PROFILES
from phasecore.models.golden.core import Core
from phasecore.rtl.spec.instructions import Axis, Function, Opcode, Segment, encode
from phasecore.verification.drivers.host import Host
from phasecore.verification.support import build

RESULT = Path("result.txt")  # in the folder of the run
CONFIG = PRESETS["tiny"]
WHOLE = Segment(row_start=0, row_count=16, col_start=0, col_count=16, forward_lsb_log2=13)
PROGRAM = [
    encode(Opcode.LOAD, affine=0, slot=0),
    encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3),
    encode(
        Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
        function=Function.RELU, shift=7, affine=0, table=0, destination=1, destination_line=0,
    ),
    encode(Opcode.READ, slot=1, first_line=0, length=16),
    encode(Opcode.HALT),
]  # fmt: skip


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_product(dut) -> None:
    host = await Host.connect(dut, CONFIG)
    await host.load_program(PROGRAM, [WHOLE])
    host.send_vector(range(-80, 80, 10))
    await host.run()
    result = await host.receive()
    cycles = await host.read_register("COUNT_WINDOW")
    text = f"codes {result.codes.tolist()}\ncycles of windows: {cycles}"
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        folder = Path(name)
        # The macro takes its devices from files, which the golden model writes.
        Core(CONFIG, PROFILES["pcm"], 1).crossbar.write_macro_files(folder / "macro")
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        made = build.build(build.core_verilog(CONFIG), top="phasecore_core", sim="icarus")
        build.run_bench(
            made, top="phasecore_core", sim="icarus", bench=Path(__file__).stem, config=CONFIG,
            test_dir=folder, seed=1, plusargs=[f"+phasecore_macro={folder}/macro"],
        )  # fmt: skip
        print((folder / RESULT).read_text(encoding="utf-8"))
