# SPDX-License-Identifier: Apache-2.0
"""Activation functions on integers and their derivatives (docs/contract)."""

import numpy as np

from phasecore.rtl.spec.core import ACTIVATION_INDEX_MAX
from phasecore.rtl.spec.instructions import Function
from phasecore.verification.oracle.fixed_point import Int, saturate

__all__ = ["SIGMOID", "TANH", "activation", "derivative"]

CODE_MAX = 127

_index = np.arange(-ACTIVATION_INDEX_MAX, ACTIVATION_INDEX_MAX + 1)
_positive = np.rint(CODE_MAX / (1 + np.exp(-np.abs(_index) / 32))).astype(np.int64)
SIGMOID: Int = np.where(_index >= 0, _positive, CODE_MAX - _positive)
"""Sigmoid of -255/32 .. 255/32 in 1/127, at ``index + 255``."""

TANH: Int = np.sign(_index) * np.rint(CODE_MAX * np.tanh(np.abs(_index) / 64)).astype(np.int64)
"""Hyperbolic tangent of -255/64 .. 255/64 in 1/127, at ``index + 255``."""

_TABLES = {Function.SIGMOID: SIGMOID, Function.TANH: TANH}


def activation(u: Int, function: Function) -> tuple[Int, int]:
    """Codes of the activated values ``u`` and how many of them were saturated.

    >>> activation(np.array([-300, 0, 20, 300]), Function.SIGMOID)[0].tolist()
    [0, 64, 83, 127]
    """
    table = _TABLES.get(function)
    if table is not None:
        index = np.minimum(np.maximum(u, -ACTIVATION_INDEX_MAX), ACTIVATION_INDEX_MAX)
        looked_up: Int = table[index + ACTIVATION_INDEX_MAX]
        return looked_up, 0
    if function is Function.RELU:
        u = np.maximum(u, 0)
    elif function is not Function.IDENTITY:
        raise ValueError(f"{function.name} gives no activations")
    y = saturate(u, 8, symmetric=True)
    return y, int(np.count_nonzero(y != u))


def derivative(y: Int, function: Function) -> Int:
    """Derivative of ``function`` in 1/16129, from the activations ``y``.

    >>> derivative(np.array([-5, 0, 64, 127]), Function.SIGMOID).tolist()
    [0, 0, 4032, 0]
    """
    if function is Function.IDENTITY:
        return np.full(len(y), CODE_MAX**2, dtype=np.int64)
    if function is Function.RELU:
        passed: Int = np.where(y > 0, CODE_MAX**2, 0)
        return passed
    if function is Function.SIGMOID:
        clipped: Int = np.maximum(y, 0)
        return clipped * (CODE_MAX - clipped)
    if function is Function.TANH:
        return CODE_MAX**2 - y * y
    raise ValueError(f"{function.name} has no derivative")
