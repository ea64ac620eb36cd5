# SPDX-License-Identifier: Apache-2.0
"""PhaseCore: an open in-memory-computing chip that trains neural networks."""
