# SPDX-License-Identifier: Apache-2.0
"""ADC bits x devices per polarity: what either is worth on the digits."""

import phasecore

network = phasecore.NETWORKS["mlp-64-50-10"]
devices = (1, 2, 4)
print("ADC bits", *(f"{n:>3} devices" for n in devices))
for bits in (5, 6, 8):
    config = network.config.replace(adc_bits=bits)
    row = [
        phasecore.train(network, config=config, devices=n, epochs=2).accuracy_model for n in devices
    ]
    print(f"{bits:>8}", *(f"{accuracy:>11.1%}" for accuracy in row))
