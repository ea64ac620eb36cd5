# SPDX-License-Identifier: Apache-2.0
"""Gradients of a float twin against finite differences."""

import pytest

__all__ = ["assert_gradients"]


def assert_gradients(twin, image, label, loss, rng, *, places):
    """At ``places`` random places of every layer ``-loss`` rises as the twin's gradient says."""
    step = 1e-5
    for weights, direction in zip(twin.weights, twin.gradients(image, label), strict=True):
        for _ in range(places):
            place = tuple(rng.integers(0, size) for size in weights.shape)
            before = weights[place]
            weights[place] = before + step
            above = loss(twin, image, label)
            weights[place] = before - step
            slope = (above - loss(twin, image, label)) / (2 * step)
            weights[place] = before
            assert direction[place] == pytest.approx(-slope, abs=1e-8)
