# SPDX-License-Identifier: Apache-2.0
"""Benches, scoreboards, formal proofs and fault injection that hold RTL against the golden model."""
