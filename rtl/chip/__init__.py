# SPDX-License-Identifier: Apache-2.0
"""The chip: cores on a fabric with a host bridge. ``docs/chip`` is its description."""
