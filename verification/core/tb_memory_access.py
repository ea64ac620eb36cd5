# SPDX-License-Identifier: Apache-2.0
"""Memory access of the host, against byte arrays behind ports that are often in use."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.rtl.spec.registers.core import AFFINE_BIT, affine_address, vector_address
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
LANES = CONFIG.post_lanes
SIZES = {0: CONFIG.vector_bytes, 1: CONFIG.affine_bytes}
"""Bytes by bit ``AFFINE_BIT`` of the address."""


class Memories:
    """Vector memory, exponents and affine tables, written as their ports say.

    They are in use by others in a random part of the cycles.
    """

    def __init__(self, dut, duty):
        self.dut, self.duty = dut, duty
        self.bytes = {kind: bytearray(random.randbytes(size)) for kind, size in SIZES.items()}
        self.exponents = [random.randint(-128, 127) for _ in range(CONFIG.slots)]
        self.waited = 0
        cocotb.start_soon(self._run())

    async def _run(self):
        dut = self.dut
        while True:
            for name in ("read__ready", "write__ready", "affine_ready"):
                getattr(dut, name).value = random.random() < self.duty
            await RisingEdge(dut.clk)
            # A word that nobody has asked for is not that of the cycle before.
            dut.read__data.value = random.getrandbits(8 * LANES)
            if int(dut.read__valid.value) and int(dut.read__ready.value):
                at = LANES * int(dut.read__address.value)
                word = self.bytes[0][at : at + LANES]
                dut.read__data.value = int.from_bytes(word, "little")
            if int(dut.write__valid.value) and int(dut.write__ready.value):
                at = LANES * int(dut.write__address.value)
                self._store(0, at, int(dut.write__mask.value), dut.write__data, LANES)
            if int(dut.affine_write__en.value):
                assert int(dut.affine_ready.value), "affine tables are in use"
                at = 2 * LANES * int(dut.affine_write__address.value)
                lanes = int(dut.affine_write__mask.value)
                mask = sum(3 << 2 * lane for lane in range(LANES) if lanes >> lane & 1)
                self._store(1, at, mask, dut.affine_write__data, 2 * LANES)
            if int(dut.exponent_write__valid.value):
                exponent = int(dut.exponent_write__exponent.value)
                self.exponents[int(dut.exponent_write__slot.value)] = exponent

    def _store(self, kind, at, mask, data, count):
        word = int(data.value).to_bytes(count, "little")
        for index in range(count):
            if mask >> index & 1:
                self.bytes[kind][at + index] = word[index]


async def access(dut, address, data=None):
    """Write ``data``, or read; (word read, cycles that it took)."""
    dut.port__address.value = address
    dut.port__read.value, dut.port__write.value = data is None, data is not None
    dut.port__w_data.value = data or 0
    cycles = 1
    await RisingEdge(dut.clk)
    while not int(dut.port__ready.value):
        cycles += 1
        await RisingEdge(dut.clk)
    dut.port__read.value = dut.port__write.value = 0
    dut.port__address.value = random.getrandbits(32)
    await RisingEdge(dut.clk)
    return int(dut.port__r_data.value), cycles


def addresses():
    """Word addresses in the memories: the first, the last, and random ones; slots are ordered."""
    for kind, size in SIZES.items():
        yield from (kind << AFFINE_BIT, kind << AFFINE_BIT | size - 4)
    for _ in range(200):
        kind = random.randrange(2)
        yield kind << AFFINE_BIT | 4 * random.randrange(SIZES[kind] // 4)
    slot, table, line = CONFIG.slots - 1, CONFIG.affine_tables - 1, CONFIG.lines - 4
    yield from (vector_address(CONFIG, slot, line), affine_address(CONFIG, table, line))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.4])
async def words_go_where_they_belong(dut, duty):
    """Every write changes four bytes, and the exponent of its slot, if it is in one.

    Reads show the vectors.
    """
    await reset(dut, port__read=0, port__write=0)
    memories = Memories(dut, duty)
    waited = 0
    for address in addresses():
        kind, at = divmod(address, 1 << AFFINE_BIT)
        expected = {of: bytearray(content) for of, content in memories.bytes.items()}
        exponents = list(memories.exponents)
        if random.random() < 0.5:
            word = random.getrandbits(32)
            expected[kind][at : at + 4] = word.to_bytes(4, "little")
            if not kind and at < CONFIG.slots * CONFIG.lines:
                exponents[at // CONFIG.lines] = 0
            _, cycles = await access(dut, address, word)
        else:
            word, cycles = await access(dut, address)
            held = int.from_bytes(expected[0][at : at + 4], "little")
            assert word == (0 if kind else held), hex(address)
        assert memories.bytes == expected, hex(address)
        assert memories.exponents == exponents, hex(address)
        waited += cycles - 1
    assert (waited > 50) == (duty < 1), f"waited {waited} cycles"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_end_of_a_memory_is_known(dut):
    """Addresses behind a memory, near and far, are not those of another."""
    await reset(dut, port__read=0, port__write=0)
    for kind, size in SIZES.items():
        inside = [0, size // 2, size - 4]
        outside = [size, size + 4, (1 << AFFINE_BIT) - 4]
        outside += [1 << bit for bit in range(size.bit_length(), AFFINE_BIT)]
        for at in inside + outside:
            dut.port__address.value = kind << AFFINE_BIT | at
            await RisingEdge(dut.clk)
            assert int(dut.port__known.value) == (at < size), (kind, hex(at))
