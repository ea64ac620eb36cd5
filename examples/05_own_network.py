# SPDX-License-Identifier: Apache-2.0
"""A network of one's own: layers, and where they are on the crossbar.

Three layers share one array of 128 x 64. A layer takes its inputs plus a row of biases; layers must
not share cells, and the first row of the first layer is a multiple of 8.
"""

from dataclasses import replace

import phasecore
from phasecore import Layer, Training

layers = (
    Layer(inputs=64, outputs=40, row_start=56, col_start=0),
    Layer(inputs=40, outputs=20, row_start=0, col_start=0, index_log2=3),
    Layer(inputs=20, outputs=10, row_start=0, col_start=40, index_log2=3),
)
network = replace(
    phasecore.NETWORKS["mlp-64-50-10"],  # the data set and the core stay
    name="mlp-64-40-20-10",
    layers=layers,
    training=Training(eta=1.0, eta_end=0.2, epochs=4),
)
result = phasecore.train(network, profile="pcm")
print(f"{network.name}: {result.record['weights']} weights")
print(f"test accuracy {result.accuracy_model:.1%}, its float twin {result.accuracy_float:.1%}")
