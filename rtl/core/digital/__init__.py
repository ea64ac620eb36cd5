# SPDX-License-Identifier: Apache-2.0
"""Digital arithmetic and memories of a core."""
