# SPDX-License-Identifier: Apache-2.0
"""Blocks of one in-memory-computing core."""
