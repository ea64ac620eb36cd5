# SPDX-License-Identifier: Apache-2.0
"""A core of one's own to Verilog, under a testbench in plain Verilog, in Icarus.

usage: python examples/06_own_core.py [FOLDER]
"""

import subprocess
import sys
from pathlib import Path

import phasecore

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "own_core")
config = phasecore.PRESETS["tiny"].replace(rows=32, devices_per_polarity=2, adc_bits=6)
generated = phasecore.generate(config)
generated.write(folder)
print(f"{generated.top}: {len(generated.texts)} files in {folder}")

design = [folder / f"{generated.top}.v", *sorted(folder.glob("*.sv"))]
bench = Path(__file__).with_name("06_own_core_tb.v")
program = folder / "bench.vvp"
subprocess.run(["iverilog", "-g2012", "-s", "bench", "-o", program, bench, *design], check=True)
subprocess.run(["vvp", "-n", program], check=True)
