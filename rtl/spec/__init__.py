# SPDX-License-Identifier: Apache-2.0
"""Geometry, formats, instructions, packets, registers: one table each, no Amaranth import."""
