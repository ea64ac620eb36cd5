# SPDX-License-Identifier: Apache-2.0
"""One matrix-vector product in the golden model: weights, a window, codes.

The same array is read with ideal devices and with phase-change devices whose read noise and
converter errors are there; `phasecore simulate` shows that the RTL gives the same bits.
"""

import numpy as np

from phasecore import PRESETS, PROFILES
from phasecore.models.golden.core import Core
from phasecore.rtl.spec.instructions import Axis, Function, Opcode, Segment, encode

config = PRESETS["tiny"]  # 16 x 16, one device per polarity
rng = np.random.default_rng(1)
weights = rng.integers(-2000, 2001, (config.rows, config.cols))
inputs = rng.integers(-127, 128, config.rows)

# A weight is what G+ conducts less what G- conducts, in conductance codes.
conductance = np.zeros((config.rows, config.cols, 2, config.devices_per_polarity), dtype=np.int64)
conductance[..., 0, 0] = np.maximum(weights, 0)
conductance[..., 1, 0] = np.maximum(-weights, 0)

RANGE = 13  # one ADC count is worth 2**13 code products
exact = inputs @ weights / 2**RANGE
print("exact         ", np.round(exact[:8], 1).tolist())

for name in ("ideal", "pcm"):
    core = Core(config, PROFILES[name], 1, initial=conductance)
    core.segments[0] = Segment(
        row_start=0,
        row_count=config.rows,
        col_start=0,
        col_count=config.cols,
        forward_lsb_log2=RANGE,
    )
    core.slots[0] = inputs
    core.run([
        encode(Opcode.CALIBRATE),
        encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3),
        encode(
            Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
            function=Function.IDENTITY, shift=7, affine=0, table=0, destination=1,
            destination_line=0,
        ),
        encode(Opcode.HALT),
    ])  # fmt: skip
    error = np.abs(core.slots[1] - exact).max()
    print(f"{name:<14}", core.slots[1, :8].tolist(), f"largest error {error:.1f}")
