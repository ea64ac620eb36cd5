# SPDX-License-Identifier: Apache-2.0
"""Studies with the golden model: ablations, energy."""
