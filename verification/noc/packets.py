# SPDX-License-Identifier: Apache-2.0
"""Packets of the NoC's benches, as (head, tail, word) triples."""

from phasecore.rtl.spec.packets import HEADER

__all__ = ["flit", "packet", "words"]


def flit(word, head=0, tail=0):
    return head, tail, word


def packet(number, length, **to):
    """Flits of a packet whose words all tell its number."""
    header = HEADER.pack(length=length, **to) | number << 32
    body = [number << 32 | index for index in range(1, length)]
    return [
        flit(word, index == 0, index == length - 1) for index, word in enumerate([header, *body])
    ]


def words(flits):
    """Words of a packet's flits."""
    return tuple(word for _, _, word in flits)
