# SPDX-License-Identifier: Apache-2.0
"""Long runs: batches of host transactions in files, RTL beside model."""
