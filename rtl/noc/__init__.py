# SPDX-License-Identifier: Apache-2.0
"""The fabric: routers, links and topologies. ``docs/fabric.md`` is its description."""
