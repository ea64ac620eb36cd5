# SPDX-License-Identifier: Apache-2.0
"""The arithmetic contract in Python, one file per RTL block with the same stem."""
