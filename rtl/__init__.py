# SPDX-License-Identifier: Apache-2.0
"""Digital hardware of PhaseCore in Amaranth HDL, one file per block."""
