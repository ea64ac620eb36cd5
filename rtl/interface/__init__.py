# SPDX-License-Identifier: Apache-2.0
"""Between a core and the network: messages, credits, local control."""
