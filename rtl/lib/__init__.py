# SPDX-License-Identifier: Apache-2.0
"""Parts that every block may use, without knowledge of the core."""
