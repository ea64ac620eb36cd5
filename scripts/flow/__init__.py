# SPDX-License-Identifier: Apache-2.0
"""From the RTL to what other tools take."""
