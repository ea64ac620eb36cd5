# SPDX-License-Identifier: Apache-2.0
"""Blocks around the crossbar: drivers, converters, programming."""
