# SPDX-License-Identifier: Apache-2.0
"""Vector memory against an array: arbitration, same-cycle reads and writes, exponents."""

import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.interfaces import Exponents
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
WORDS = CONFIG.slots * CONFIG.blocks
CONTENTS = np.zeros((WORDS, CONFIG.post_lanes), dtype=np.uint8)
"""Memory contents outlive a reset, and so from one test to the next."""


def ports(dut, name, members):
    """Handles of an array of ports, one dictionary each."""
    found = []
    while hasattr(dut, f"{name}__{len(found)}__valid"):
        index = len(found)
        found.append({key: getattr(dut, f"{name}__{index}__{key}") for key in members})
    return found


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def matches_an_array(dut, duty):
    """Every client asks at random; only the first one of a kind is served, by the old contents."""
    lanes = CONFIG.post_lanes
    readers = ports(dut, "read", ["valid", "ready", "address", "data"])
    writers = ports(dut, "write", ["valid", "ready", "address", "mask", "data"])
    exponent_writers = ports(dut, "exponent_write", ["valid", "slot", "exponent"])
    clients = [*readers, *writers, *exponent_writers]
    await reset(dut, **{port["valid"]._name: 0 for port in clients})
    exponents = [0] * CONFIG.slots
    words = CONTENTS
    expected = None
    served = set()
    for _ in range(800):
        asks, offers, changes = [], [], []
        busy = random.sample(range(WORDS), 3)
        for port in readers:
            ask = (random.random() < duty / len(readers) * 2, random.choice(busy))
            asks.append(ask)
            port["valid"].value, port["address"].value = ask
        for port in writers:
            mask = random.choice([(1 << lanes) - 1, random.getrandbits(lanes)])
            offer = (random.random() < duty, random.choice(busy), mask, random.randbytes(lanes))
            offers.append(offer)
            port["valid"].value, port["address"].value, port["mask"].value = offer[:3]
            port["data"].value = int.from_bytes(offer[3], "little")
        for port in exponent_writers:
            change = (
                random.random() < duty / 2, random.randrange(CONFIG.slots),
                random.randint(-128, 127),
            )  # fmt: skip
            changes.append(change)
            port["valid"].value, port["slot"].value = change[:2]
            port["exponent"].value = change[2] & 0xFF
        await RisingEdge(dut.clk)

        if expected is not None:
            reader, word = expected
            data = int(readers[reader]["data"].value).to_bytes(lanes, "little")
            assert data == word, f"reader {reader}: got {data.hex()}, expected {word.hex()}"
        held = Exponents(CONFIG).from_bits(int(dut.exponents.value))
        assert [held[s] for s in range(CONFIG.slots)] == exponents

        expected = None
        for kind, clients, requests in [("read", readers, asks), ("write", writers, offers)]:
            free = True
            for index, (port, request) in enumerate(zip(clients, requests, strict=True)):
                assert int(port["ready"].value) == free, f"{kind}[{index}].ready"
                if free and request[0]:
                    served.add((kind, index))
                    if kind == "read":
                        expected = index, words[request[1]].tobytes()
                    else:
                        keep = [request[2] >> lane & 1 == 1 for lane in range(lanes)]
                        written = np.frombuffer(request[3], dtype=np.uint8)
                        words[request[1]][keep] = written[keep]
                free = free and not request[0]
        for valid, slot, exponent in reversed(changes):
            if valid:
                exponents[slot] = exponent
    wanted = {("read", i) for i in range(len(readers))}
    if duty < 1:
        wanted |= {("write", i) for i in range(len(writers))}
    assert wanted <= served, f"never served: {wanted - served}"
