# SPDX-License-Identifier: Apache-2.0
"""Runs the batches of the test folder through ``core_top`` or ``chip_top``.

Python wakes once a batch.
"""

import os
import time
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge, Timer


@cocotb.test()
async def run_batches(dut):
    """Raise ``go`` for every batch as soon as its files are there; note the time it took."""
    count = int(os.environ["PHASECORE_BATCHES"])
    parent = os.getppid()
    # For whoever must end a batch before its end.
    Path("simulator.pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
    await Timer(100, unit="ns")
    for batch in range(count):
        while not Path(f"stream_{batch}.hex").exists():
            assert os.getppid() == parent, "whoever writes the batches is gone"
            time.sleep(0.01)
        started = time.process_time()
        dut.go.value = 1
        await RisingEdge(dut.done)
        dut.go.value = 0
        await Timer(100, unit="ns")
        seconds = f"{time.process_time() - started:.6f}\n"
        Path(f"seconds_{batch}.tmp").write_text(seconds, encoding="utf-8")
        Path(f"seconds_{batch}.tmp").rename(f"seconds_{batch}.txt")
        assert not int(dut.failed.value), f"batch {batch}: not all programs came to their end"
