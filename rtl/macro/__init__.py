# SPDX-License-Identifier: Apache-2.0
"""Analog and memory macros: behavioural SystemVerilog, and their black boxes."""
