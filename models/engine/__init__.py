# SPDX-License-Identifier: Apache-2.0
"""Compiled engine of the golden model: whole programs as machine code, bit-exact.

The functions are those of the modules of the same names in ``models/``, which stay the reference.
"""
