# SPDX-License-Identifier: Apache-2.0
"""Benches, tests and planted faults of the chip."""
