# SPDX-License-Identifier: Apache-2.0
"""Version of the arithmetic contract, and the type of its arrays."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["ARITHMETIC", "Int"]

ARITHMETIC = 2
"""Version of the bits. Raise it by one with every change after which the same run gives other bits:
rounding, widths, saturation, random numbers, noise, the order of images, the state that outlives a
program. Checkpoints of another version are refused, as what went on from them would be no run."""

Int = NDArray[np.int64]
