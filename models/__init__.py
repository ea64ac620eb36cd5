# SPDX-License-Identifier: Apache-2.0
"""Bit-exact numpy golden model, one file per RTL block with the same stem."""
