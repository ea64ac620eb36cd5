# SPDX-License-Identifier: Apache-2.0
"""The fabric: routers, links and topologies. Contract: ``docs/contract/router.md``."""
