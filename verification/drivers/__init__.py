# SPDX-License-Identifier: Apache-2.0
"""Host drivers for simulations, for people to copy."""
