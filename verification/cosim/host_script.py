# SPDX-License-Identifier: Apache-2.0
"""All that a host writes and sends so that a chip infers, as a file for a driver of one's own."""

import json
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.progress import counted
from phasecore.verification.cosim.core import WRITE
from phasecore.verification.cosim.inference import Inference
from phasecore.verification.cosim.rtl import Batch, ChipRtl

__all__ = ["write_host_script"]


def write_host_script(path: Path, inference: Inference) -> None:
    """Write a JSON file of what programs a chip and has it infer; the golden model does the same.

    ``chip`` is its configuration. Of every one of ``steps``, in order:

    - ``writes``: addresses and values of AXI4-Lite writes, the last ones being those to START
    - ``packets``: what is sent on the AXI4-Stream then, in hexadecimal; all programs have come to
      their ends when the output ``halted`` is 1
    - ``results``: of every packet that comes back ``object``, ``start`` (first line) and ``codes``
    """
    rtl = inference.machine.rtl
    assert isinstance(rtl, ChipRtl)
    steps: list[dict[str, Any]] = []
    with counted("host script", inference.batches, "steps") as line:
        for index in range(inference.batches):
            chunk = inference.chunk(index)
            batch = Batch(chunk.job, chunk.segments, tuple(inference.machine.cores))
            script = rtl.script(batch)
            results = inference.machine.run_model(chunk)
            steps.append({
                "step": {"test": "inference", "program": "programming"}.get(chunk.kind, "setup"),
                "writes": [[where, value] for op, where, value in script.script if op == WRITE],
                "packets": [packet.hex() for packet in script.packets],
                "results": [
                    {"object": one.slot, "start": one.start, "codes": one.codes.tolist()}
                    for one in results
                ],
            })  # fmt: skip
            line.step()
    chip = json.loads(inference.machine.mapping.hardware.to_json())
    files.write(path, json.dumps({"chip": chip, "steps": steps}))
