# SPDX-License-Identifier: Apache-2.0
"""The ``phasecore`` command line."""
