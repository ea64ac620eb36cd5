# SPDX-License-Identifier: Apache-2.0
"""What fetches, checks and issues: sequencer, registers, LOAD and READ units."""
