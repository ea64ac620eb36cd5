# SPDX-License-Identifier: Apache-2.0
"""Ports of a top with flat names, ``group_name``, as AXI tools look for them."""

from collections.abc import Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["connect_flat", "flat_members"]

Groups = Mapping[str, wiring.Member]
"""Interfaces by the prefix of their ports."""


def flat_members(groups: Groups) -> dict[str, wiring.Member]:
    """A member ``group_name`` for every member ``name`` of every group."""
    return {
        f"{group}_{name}": member
        for group, wanted in groups.items()
        for name, member in wanted.signature.members.items()
    }


def connect_flat(
    m: Module, top: wiring.Component, groups: Groups, inner: Mapping[str, wiring.PureInterface]
) -> None:
    """Join the flat ports of ``top`` to the interfaces ``inner``, by group."""
    for group, wanted in groups.items():
        for name, member in wanted.signature.members.items():
            outside, inside = getattr(top, f"{group}_{name}"), getattr(inner[group], name)
            m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
