# SPDX-License-Identifier: Apache-2.0
"""Any small network as an ONNX file learns on the chip: its layers are taken, not its weights.

The file here is made with the package `onnx`; `torch.onnx.export` writes one of a module of
PyTorch. Convolutions have tanh and perhaps the mean of 2 x 2, the loss is the squared error of
sigmoids at the end. On the command line: `phasecore train --network own.onnx --dataset digits`.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import phasecore

shapes = {
    "w1": (6, 1, 3, 3),
    "b1": (6,),
    "w2": (12, 6, 3, 3),
    "b2": (12,),
    "w3": (10, 48),
    "b3": (10,),
}
weights = [onnx.numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in shapes.items()]
pooled = {"kernel_shape": [2, 2], "strides": [2, 2]}
nodes = [
    make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
    make_node("Tanh", ["a"], ["b"]),
    make_node("AveragePool", ["b"], ["c"], **pooled),
    make_node("Conv", ["c", "w2", "b2"], ["d"], pads=[1, 1, 1, 1]),
    make_node("Tanh", ["d"], ["e"]),
    make_node("AveragePool", ["e"], ["f"], **pooled),
    make_node("Flatten", ["f"], ["g"]),
    make_node("Gemm", ["g", "w3", "b3"], ["scores"], transB=1),
]
given = make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])
made = make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 10])
graph = make_graph(nodes, "own", [given], [made], weights)
onnx.save(make_model(graph, opset_imports=[make_opsetid("", 13)], ir_version=8), "own.onnx")

result = phasecore.train(Path("own.onnx"), dataset="digits", epochs=10)
cores = len(result.record["set_pulses_by_core"])
print(f"own.onnx: {result.record['weights']} weights on {cores} cores")
print(f"test accuracy {result.accuracy_model:.1%}, its float twin {result.accuracy_float:.1%}")
