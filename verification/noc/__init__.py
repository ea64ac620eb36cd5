# SPDX-License-Identifier: Apache-2.0
"""Benches, proofs, tests and planted faults of routers and NoCs."""
