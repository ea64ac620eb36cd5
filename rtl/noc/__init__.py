# SPDX-License-Identifier: Apache-2.0
"""The NoC: routers, links and topologies. Contract: ``docs/contract/router.md``."""
