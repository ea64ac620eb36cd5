# SPDX-License-Identifier: Apache-2.0
"""Cycle models of the fabrics, and channel dependency graphs."""
