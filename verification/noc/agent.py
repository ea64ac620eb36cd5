# SPDX-License-Identifier: Apache-2.0
"""Other ends of links: send with credits, take with stalls, check every flit and credit."""

import random
from collections import deque

__all__ = ["LinkAgent"]


class LinkAgent:
    """Neighbours of a router, or network interfaces of a NoC; the bench moves the pins.

    Parameters
    ----------
    config : NocConfig
    ends : numbers of the ports, or nodes, that the links belong to
    send, take : probability that an end sends what it can, and returns a credit that it owes

    Attributes
    ----------
    queues : flits to be sent, (head, tail, word), by channel (end, vc)
    credits : that the sender has, by channel
    held : flits that came and whose credit is not yet returned, by channel
    blocked : channels that return no credits
    packets : words of all packets that came, by channel; None for one that was cancelled
    """

    def __init__(self, config, ends, *, send=1.0, take=1.0):
        self.config, self.ends, self.send, self.take = config, ends, send, take
        self.channels = range(config.virtual_channels)
        self.queues = {(end, vc): deque() for end in ends for vc in self.channels}
        self.credits = dict.fromkeys(self.queues, config.depth)
        self.held = dict.fromkeys(self.queues, 0)
        self.blocked = set()
        self.open = {channel: [] for channel in self.queues}
        self.packets = {channel: [] for channel in self.queues}

    def next_flit(self, end):
        """Channel and flit that an end sends in this cycle, or None."""
        ready = [
            vc for vc in self.channels
            if self.queues[end, vc] and self.credits[end, vc] and random.random() < self.send
        ]  # fmt: skip
        if not ready:
            return None
        vc = random.choice(ready)
        self.credits[end, vc] -= 1
        return vc, self.queues[end, vc].popleft()

    def next_credits(self, end):
        """Credits that an end returns in this cycle, one bit per channel."""
        bits = 0
        for vc in self.channels:
            free = self.held[end, vc] and (end, vc) not in self.blocked
            if free and random.random() < self.take:
                bits |= 1 << vc
                self.held[end, vc] -= 1
        return bits

    def take_credits(self, end, bits):
        """Credits have come back."""
        for vc in self.channels:
            self.credits[end, vc] += bits >> vc & 1
            assert self.credits[end, vc] <= self.config.depth, f"{end}.{vc}: credit too many"

    def take_flit(self, end, vc, head, tail, word):
        """A flit has come."""
        channel = end, vc
        self.held[channel] += 1
        assert self.held[channel] <= self.config.depth, f"{end}.{vc}: sent without a credit"
        flits = self.open[channel]
        if flits and head:
            assert tail, f"{end}.{vc}: a packet inside another"
            flits.clear()
            self.packets[channel].append(None)
            return
        assert flits or head, f"{end}.{vc}: no head"
        assert not flits or word >> 32 == flits[0] >> 32, f"{end}.{vc}: packets interleaved"
        flits.append(word)
        if tail:
            self.packets[channel].append(tuple(flits))
            flits.clear()

    def idle(self):
        """Nothing is left to send, and nothing is on its way; blocked channels may hold flits."""
        return (
            not any(self.queues.values())
            and all(value == self.config.depth for value in self.credits.values())
            and not any(self.held[channel] for channel in self.held.keys() - self.blocked)
        )
