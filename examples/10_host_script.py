# SPDX-License-Identifier: Apache-2.0
"""An ONNX network into the RTL of a chip, over AXI: `phasecore run --host-script` says how."""

import json
import os
from functools import partial
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from onnx import TensorProto, helper, numpy_helper, save

from phasecore import CHIPS, PROFILES, ChipConfig
from phasecore.models.golden.core import Core
from phasecore.scripts.cli import main
from phasecore.verification.drivers.chip_host import ChipHost
from phasecore.verification.support import build


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def infer(dut) -> None:
    script, codes = json.loads(Path("own.host.json").read_bytes()), []
    host = await ChipHost.connect(dut, ChipConfig.from_dict(script["chip"]))
    for step in script["steps"]:
        for address, value in step["writes"]:
            await host.registers.write(address, value.to_bytes(4, "little"))
        for packet in step["packets"]:
            host.send(bytes.fromhex(packet))
        if not int(dut.halted.value):
            await RisingEdge(dut.halted)
        for expected in step["results"]:
            codes += (await host.receive()).codes.tolist()
            assert codes[expected["start"] :] == expected["codes"]
    Path("result.txt").write_text(f"codes {codes}, as in the golden model", encoding="utf-8")


if __name__ == "__main__":
    weights = numpy_helper.from_array(np.tri(10, 8, 2, dtype=np.float32), "w")
    port = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    ends = [port("image", shape=[1, 8])], [port("out", shape=[1, 10])]
    gemm = helper.make_node("Gemm", ["image", "w"], ["out"], transB=1)
    graph = helper.make_graph([gemm], "own", *ends, [weights])
    save(helper.make_model(graph), "own.onnx")
    core = CHIPS["tiny"].core.replace(slots=8, program_depth=64, affine_tables=4, objects=8)
    Path("core.json").write_text(core.to_json(), encoding="utf-8")
    options = "--dataset digits8 --config core.json --profile ideal --pulses --host-script 1"
    main(["run", "own.onnx", "--out", ".", *options.split()])
    chip = ChipConfig.from_dict(json.loads(Path("own.host.json").read_bytes())["chip"])
    Core(chip.core, PROFILES["ideal"], 1).crossbar.write_macro_files(Path("macro"))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    folder = build.build(build.chip_verilog(chip), top="phasecore_chip", sim="icarus")
    build.run_bench(
        folder, top="phasecore_chip", sim="icarus", bench=Path(__file__).stem, seed=1,
        config=chip.core, test_dir=Path.cwd(), plusargs=[f"+phasecore_macro={Path.cwd()}/macro"],
    )  # fmt: skip
    print(Path("result.txt").read_text(encoding="utf-8"))
