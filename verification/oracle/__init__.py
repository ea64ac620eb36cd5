# SPDX-License-Identifier: Apache-2.0
"""The arithmetic once more, written from the documents' text: small, slow and obvious.

``verification/models`` holds the kernels of ``models/golden`` against it by random examples; the
units' RTL benches take it for what is due. It knows nothing of the kernels; descriptors, packets,
profiles and what legal instructions are, it shares with them.
"""
