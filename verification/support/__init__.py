# SPDX-License-Identifier: Apache-2.0
"""What benches share: builds, streams, proofs."""
