# SPDX-License-Identifier: Apache-2.0
"""RegisterHub under the AXI4-Lite master of cocotbext-axi, with cores that are dictionaries."""

import itertools
import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.chip import (
    ADDRESS_BITS,
    EVENTS,
    FAULT_COUNTERS,
    PAGE_BITS,
    offsets,
    registers,
    windows,
)
from phasecore.rtl.spec.registers.table import Access, FaultCode, Origin, fault_counter
from phasecore.verification.support.streams import reset

CHIP = ChipConfig.from_json(os.environ["PHASECORE_CHIP"])
NODES = CHIP.noc.nodes
CORES = sum(1 << node for node in CHIP.cores)
OFFSETS = offsets(CHIP)
ENTRY = TableWrite()
HERE = CHIP.host << PAGE_BITS


class Core:
    """A page: words that were written; refuses odd words, answers after some cycles."""

    def __init__(self, dut, node):
        self.words, self.accesses = {}, []
        self._bus = {
            name: getattr(dut, f"buses__{node}__{name}")
            for name in (
                "valid", "write", "address", "w_data", "w_strobe", "ready", "r_data", "error",
            )
        }  # fmt: skip
        self._clk = dut.clk
        cocotb.start_soon(self._run())

    async def _run(self):
        bus = self._bus
        while True:
            await RisingEdge(self._clk)
            if not int(bus["valid"].value):
                continue
            for _ in range(random.randrange(3)):
                await RisingEdge(self._clk)
            write, address = int(bus["write"].value), int(bus["address"].value)
            refused = address & 1
            self.accesses.append((write, address, int(bus["w_strobe"].value) if write else 0xF))
            if write and not refused:
                self.words[address] = int(bus["w_data"].value)
            bus["r_data"].value = 0 if refused else self.words.get(address, address)
            bus["error"].value = refused
            bus["ready"].value = 1
            await RisingEdge(self._clk)
            assert int(bus["valid"].value), "request withdrawn"
            bus["ready"].value = 0


class Host:
    """Register accesses; each answers (value, refused)."""

    def __init__(self, dut, *, stalls=False):
        self.dut = dut
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk, dut.rst)
        self.cores = {node: Core(dut, node) for node in CHIP.cores}
        self.tables = []
        cocotb.start_soon(self._watch())
        if stalls:
            write, read = self.master.write_if, self.master.read_if
            for channel in (
                write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
            ):  # fmt: skip
                channel.set_pause_generator(
                    itertools.cycle([random.random() < 0.5 for _ in range(97)])
                )

    async def _watch(self):
        """Descriptor words that are written; the host's own bus never moves."""
        while True:
            await RisingEdge(self.dut.clk)
            entry = ENTRY.from_bits(int(self.dut.table.value))
            if entry.en:
                self.tables.append((entry.route, entry.index, entry.word, entry.data))
            assert not int(getattr(self.dut, f"buses__{CHIP.host}__valid").value)

    async def read(self, address):
        response = await self.master.read(address, 4)
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return int.from_bytes(response.data, "little"), response.resp != AxiResp.OKAY

    async def write(self, address, value, size=4):
        response = await self.master.write(address, value.to_bytes(size, "little"))
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return response.resp != AxiResp.OKAY

    async def get(self, name):
        value, refused = await self.read(HERE | OFFSETS[name])
        assert not refused, f"read of {name} refused"
        return value

    async def set(self, name, value):
        assert not await self.write(HERE | OFFSETS[name], value), f"write of {name} refused"

    async def mask(self, name):
        """A register with one bit per node."""
        low = await self.get(name)
        return low | (await self.get(f"{name}_HIGH") << 32 if NODES > 32 else 0)

    async def start(self, nodes):
        await self.set("START", nodes & 0xFFFFFFFF)
        if NODES > 32:
            await self.set("START_HIGH", nodes >> 32)


async def start(dut, *, stalls=False):
    idle = {f"s_axil__{name}": 0 for name in ("awvalid", "wvalid", "arvalid", "bready", "rready")}
    for node in range(NODES):
        idle |= {f"buses__{node}__{name}": 0 for name in ("ready", "r_data", "error")}
    await reset(
        dut, **idle, **dict.fromkeys(EVENTS, 0), running=0, halted=0, failed=0, packet_fault=0,
        noc_fault=0, router_faults=0,
    )  # fmt: skip
    return Host(dut, stalls=stalls)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def registers_behave_as_the_table_says(dut, stalls):
    """Reset values, and refusal of every write that is none of a command."""
    host = await start(dut, stalls=stalls)
    for register in registers(CHIP):
        value, refused = await host.read(HERE | register.offset)
        assert (value, refused) == (register.reset, False), register.name
    refusals = 0
    for register in registers(CHIP):
        address = HERE | register.offset
        if register.access is Access.READ_ONLY:
            assert await host.write(address, random.getrandbits(32)), register.name
            refusals += 1
            if register.origin is Origin.CONSTANT:
                assert await host.get(register.name) == register.reset
        else:
            assert await host.write(address, 0xFF, size=1), "partial write accepted"
            refusals += 1
    assert await host.get("FAULTS_REGISTER") == await host.get("FAULT_COUNT") == refusals
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_READ_ONLY
    assert await host.get("FAULT_ADDRESS") == HERE | OFFSETS["ID"]
    assert int(dut.start.value) == 0
    assert host.tables == []


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def undefined_pages_and_registers_are_refused(dut):
    """They answer SLVERR and read as 0, are counted, and the next access is good."""
    host = await start(dut)
    defined = {register.offset for register in registers(CHIP)}
    areas = [(window.offset, window.end) for window in windows(CHIP).values()]
    holes = [
        offset for offset in range(0, 1 << PAGE_BITS, 4)
        if offset not in defined and not any(low <= offset < high for low, high in areas)
    ]  # fmt: skip
    edges = {*(high for _, high in areas), (1 << PAGE_BITS) - 4, max(defined) + 4}
    wrong = [HERE | offset for offset in sorted({*random.sample(holes, 10), *edges} & set(holes))]
    pages = {NODES, NODES + 1, (1 << ADDRESS_BITS - PAGE_BITS) - 1}
    pages = {page for page in pages if NODES <= page < 1 << ADDRESS_BITS - PAGE_BITS}
    wrong += [page << PAGE_BITS | offset for page in pages for offset in (0, OFFSETS["START"])]
    for count, address in enumerate(wrong):
        assert await host.read(address) == (0, True), hex(address)
        assert await host.write(address, 1), hex(address)
        assert await host.get("FAULT_COUNT") == 2 * count + 2
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_UNDEFINED
    assert await host.get("FAULT_ADDRESS") == wrong[0]
    assert all(not core.accesses for core in host.cores.values())
    await host.set("CONTROL", 1 << 2)
    for name in ("FAULT_CODE", "FAULT_ADDRESS", "FAULT_COUNT", "FAULTS_REGISTER"):
        assert await host.get(name) == 0, name


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def pages_of_cores_are_theirs(dut, stalls):
    """Every access reaches one core once; its answer comes back, also a refusal."""
    host = await start(dut, stalls=stalls)
    expected = {node: [] for node in CHIP.cores}
    words = {node: {} for node in CHIP.cores}

    async def access():
        node, offset = random.choice(CHIP.cores), random.randrange(0, 1 << PAGE_BITS, 4)
        address, word = node << PAGE_BITS | offset, offset // 4
        if random.random() < 0.5:
            value = random.getrandbits(32)
            assert await host.write(address, value) == bool(word & 1)
            expected[node].append((1, word, 0xF))
            if not word & 1:
                words[node][word] = value
        else:
            refused = bool(word & 1)
            value = 0 if refused else words[node].get(word, word)
            assert await host.read(address) == (value, refused)
            expected[node].append((0, word, 0xF))

    for _ in range(60):
        await access()
    node = CHIP.cores[0]
    await host.write(node << PAGE_BITS | 8, 0x55, size=1)
    expected[node].append((1, 2, 1))
    assert {node: core.accesses for node, core in host.cores.items()} == expected
    assert await host.get("FAULT_COUNT") == 0, "a core counts its own refusals"


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def start_starts_several_cores_at_once(dut):
    """Strobes of one cycle, of nodes with a core only; the masks show what the cores say."""
    host = await start(dut)
    seen = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.start.value):
                seen.append(int(dut.start.value))

    cocotb.start_soon(watch())
    for _ in range(5):
        wanted = random.getrandbits(NODES)
        await host.start(wanted)
        parts = [wanted & CORES & 0xFFFFFFFF, wanted & CORES & ~0xFFFFFFFF]
        await ClockCycles(dut.clk, 3)
        assert seen == [part for part in parts if part]
        seen.clear()
    await host.start(0)
    assert seen == []
    for name, handle in (("RUNNING", dut.running), ("HALTED", dut.halted), ("FAULT", dut.failed)):
        value = random.getrandbits(NODES) & CORES
        handle.value = value
        assert await host.mask(name) == value, name
        handle.value = 0
    assert await host.get("START") == 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def all_halted_needs_every_core_that_was_started(dut):
    """Not before anything ran; low from the start strobe on, and for one that did not halt."""
    host = await start(dut)
    await ClockCycles(dut.clk, 3)
    assert not int(dut.all_halted.value), "nothing was started"
    one, other = 1 << CHIP.cores[0], 1 << CHIP.cores[-1]
    low = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.start.value):
                low.append(int(dut.all_halted.value))

    cocotb.start_soon(watch())

    async def shows(*, running, halted):
        dut.running.value, dut.halted.value = running, halted
        await ClockCycles(dut.clk, 3)
        return int(dut.all_halted.value)

    await host.start(one | other)
    assert not await shows(running=one | other, halted=0)
    assert not await shows(running=other, halted=one)
    assert not await shows(running=0, halted=one), "the other stopped without HALT"
    assert await shows(running=0, halted=one | other)
    # A core that is started by its own CONTROL counts, too.
    third = 1 << CHIP.cores[1]
    assert not await shows(running=third, halted=one | other)
    assert not await shows(running=0, halted=one | other)
    assert await shows(running=0, halted=one | other | third)
    await host.start(one)
    assert low
    assert not any(low), "halted in the cycle of the start"


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def tables_read_back_and_are_passed_on(dut, stalls):
    """Words in any order, with the strobe for the bridge; partial writes change nothing."""
    host = await start(dut, stalls=stalls)
    places = [
        (name, index, word)
        for name, window in windows(CHIP).items()
        for index in range(window.depth)
        for word in range(window.words)
    ]
    contents = {}
    for name, index, word in random.sample(places, min(len(places), 50)):
        contents[name, index, word] = value = random.getrandbits(32)
        address = HERE | windows(CHIP)[name].address(index, word)
        assert not await host.write(address, value)
        assert await host.write(address, 0, size=2), "partial write accepted"
        assert host.tables[-1] == (name == "ROUTE", index, word, value)
    assert len(host.tables) == len(contents)
    for (name, index, word), value in contents.items():
        address = HERE | windows(CHIP)[name].address(index, word)
        assert await host.read(address) == (value, False), (name, index, word)
    assert await host.get("FAULTS_REGISTER") == len(contents)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def errors_and_events_are_counted(dut):
    """By kind, also several in one cycle; the first is kept; clear forgets all but routers'."""
    host = await start(dut)
    packet = [code for code in FaultCode if code.name.startswith("PACKET")]
    noc = [code for code in FaultCode if code.name.startswith("NOC")]
    expected = dict.fromkeys(FAULT_COUNTERS, 0)
    counts = dict.fromkeys(EVENTS, 0)
    first = None
    for _ in range(100):
        codes = [random.choice([FaultCode.NONE, random.choice(kind)]) for kind in (packet, noc)]
        dut.packet_fault.value, dut.noc_fault.value = codes
        for code in codes:
            if code is not FaultCode.NONE:
                expected[fault_counter(code)] += 1
                first = first or code
        for name in EVENTS:
            value = random.randrange(2)
            getattr(dut, name).value = value
            counts[name] += value
        await RisingEdge(dut.clk)
    for name in ("packet_fault", "noc_fault", *EVENTS):
        getattr(dut, name).value = 0
    errors = [random.getrandbits(16) for _ in range(NODES)]
    dut.router_faults.value = sum(count << 16 * node for node, count in enumerate(errors))
    for counter, total in expected.items():
        assert await host.get(f"FAULTS_{counter.name}") == total, counter.name
    assert await host.get("FAULT_COUNT") == sum(expected.values())
    assert await host.get("FAULT_CODE") == first
    assert await host.get("FAULT_ADDRESS") == 0
    for name, total in counts.items():
        assert await host.get(f"COUNT_{name.upper()}") == total, name
    await host.set("CONTROL", 1 << 2)
    names = [f"FAULTS_{counter.name}" for counter in FAULT_COUNTERS]
    names += [f"COUNT_{name.upper()}" for name in EVENTS]
    for name in ("FAULT_CODE", "FAULT_COUNT", *names):
        assert await host.get(name) == 0, name
    for node, count in enumerate(errors):
        assert await host.get(f"FAULTS_ROUTER_{node}") == count, node
