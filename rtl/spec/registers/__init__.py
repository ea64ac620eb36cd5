# SPDX-License-Identifier: Apache-2.0
"""Registers of a core and of a chip."""
