# SPDX-License-Identifier: Apache-2.0
"""From a network to programs: placement, instructions, packets of the host."""
