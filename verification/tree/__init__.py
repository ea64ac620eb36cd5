# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree and its documents."""
