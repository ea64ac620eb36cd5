# SPDX-License-Identifier: Apache-2.0
"""The chip: cores on a NoC with a host bridge. ``docs/chip`` is its description."""
