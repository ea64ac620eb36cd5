# SPDX-License-Identifier: Apache-2.0
"""Benches, scoreboards, proofs and planted faults that hold RTL against the golden model."""
