# SPDX-License-Identifier: Apache-2.0
"""Cycle models of the NoCs, and channel dependency graphs."""
