# SPDX-License-Identifier: Apache-2.0
"""Registers over AXI4-Lite, driven by the master of cocotbext-axi, against the register table."""

import itertools
import random

import cocotb
from amaranth.lib.wiring import Out
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from phasecore.rtl.core.control.csr_file import SequencerPort, Settings
from phasecore.rtl.core.control.csr_parts import Events
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.spec.registers.core import offsets, registers, windows
from phasecore.rtl.spec.registers.table import (
    Access,
    FaultCode,
    FaultCounter,
    Origin,
    fault_counter,
)
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
OFFSETS = offsets(CONFIG)
INPUTS = [name for name, member in SequencerPort(CONFIG).members.items() if member.flow is Out]


class Host:
    """Register accesses; each answers (value, refused)."""

    def __init__(self, dut, *, stalls=False):
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axil_"), dut.clk, dut.rst)
        if stalls:
            write, read = self.master.write_if, self.master.read_if
            for channel in (
                write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
            ):  # fmt: skip
                channel.set_pause_generator(itertools.cycle(_pauses()))

    async def read(self, address):
        response = await self.master.read(address, 4)
        refused = response.resp != AxiResp.OKAY
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return int.from_bytes(response.data, "little"), refused

    async def write(self, address, value, size=4):
        response = await self.master.write(address, value.to_bytes(size, "little"))
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return response.resp != AxiResp.OKAY

    async def get(self, name):
        value, refused = await self.read(OFFSETS[name])
        assert not refused, f"read of {name} refused"
        return value

    async def set(self, name, value):
        assert not await self.write(OFFSETS[name], value), f"write of {name} refused"


def _pauses():
    return [random.random() < 0.5 for _ in range(97)]


async def start(dut, stalls=False):
    inputs = {f"sequencer__{name}": 0 for name in INPUTS}
    inputs |= {f"axil__{name}": 0 for name in ("awvalid", "wvalid", "arvalid", "bready", "rready")}
    await reset(
        dut, **inputs, events=0, malformed=0, malformed_code=0, calibration_errors=0,
        calibration_offset=0, calibration_gain=256, drift_conductance=0, drift_baselined=0,
        drift_scale=1024, start=0, controller_events=0, busy=0, calibrating=0,
        noc_fault=0, noc_fault_code=0, memory__known=1, memory__ready=1, memory__r_data=0,
    )  # fmt: skip
    return Host(dut, stalls=stalls)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def registers_behave_as_the_table_says(dut, stalls):
    """Reset values, read-back of every setting, refusal of every other write."""
    host = await start(dut, stalls)
    for register in registers(CONFIG):
        value, refused = await host.read(register.offset)
        assert (value, refused) == (register.reset, False), register.name
    refusals = 0
    for register in registers(CONFIG):
        value = random.getrandbits(32)
        if register.origin is Origin.STORED:
            assert not await host.write(register.offset, value)
            mask = sum((1 << field.width) - 1 << field.low for field in register.fields)
            assert await host.get(register.name) == value & mask, register.name
            assert await host.write(register.offset, 0, size=2), "partial write accepted"
            assert await host.get(register.name) == value & mask, register.name
            refusals += 1
        elif register.access is Access.READ_ONLY:
            assert await host.write(register.offset, value), register.name
            refusals += 1
            if register.origin is Origin.CONSTANT:
                assert await host.get(register.name) == register.reset
    assert await host.get("FAULTS_REGISTER") == await host.get("FAULT_COUNT") == refusals
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_READ_ONLY
    assert await host.get("FAULT_ADDRESS") == OFFSETS["ID"]


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def undefined_addresses_are_refused(dut):
    """Every hole between the registers answers SLVERR and reads as 0; the core goes on."""
    host = await start(dut)
    defined = {register.offset for register in registers(CONFIG)}
    areas = [(window.offset, window.end) for window in windows(CONFIG).values()]
    holes = [
        address for address in range(0, 0x4000, 4)
        if address not in defined and not any(low <= address < high for low, high in areas)
    ]  # fmt: skip
    edges = [0x1FFC, 0x3FFC, *(high for _, high in areas), 0x1FC]
    chosen = sorted({*random.sample(holes, 20), *edges} & set(holes))
    for count, address in enumerate(chosen):
        assert await host.read(address) == (0, True), hex(address)
        assert await host.write(address, 1), hex(address)
        assert await host.get("FAULT_COUNT") == 2 * count + 2
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_UNDEFINED
    assert await host.get("FAULT_ADDRESS") == chosen[0]
    assert await host.get("STATUS") == 1 << 2
    await host.set("CONTROL", 1 << 2)
    for name in ("STATUS", "FAULT_CODE", "FAULT_ADDRESS", "FAULT_COUNT", "FAULTS_REGISTER"):
        assert await host.get(name) == 0, name


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def windows_are_memories_and_lock_while_running(dut, stalls):
    """Words written in any order read back, also while the sequencer fetches."""
    host = await start(dut, stalls)
    contents = {}
    for window in windows(CONFIG).values():
        places = [(index, word) for index in range(window.depth) for word in range(window.words)]
        for index, word in random.sample(places, min(len(places), 40)):
            contents[window.address(index, word)] = random.getrandbits(32)
    for address, value in contents.items():
        assert not await host.write(address, value)
        assert await host.write(address, 0, size=1), "partial write accepted"
    dut.sequencer__running.value = 1
    fetches = cocotb.start_soon(_fetch(dut))
    locked = 0
    for address, value in contents.items():
        assert await host.read(address) == (value, False), hex(address)
        if random.random() < 0.3:
            assert await host.write(address, value ^ 1), "write while running accepted"
            locked += 1
    assert await host.get("FAULTS_LOCKED") == locked
    fetches.cancel()
    dut.sequencer__running.value = 0
    dut.sequencer__instruction_en.value = 0
    dut.sequencer__segment_en.value = 0
    for address, value in contents.items():
        assert await host.read(address) == (value, False), hex(address)


class Memory:
    """Words behind MEMORY_DATA, of which those below ``size`` are known; it is often in use."""

    def __init__(self, dut, size):
        self.dut, self.words = dut, {}
        self.size, self.duty = size, 1.0
        self.taken = []
        cocotb.start_soon(self._run())

    async def _run(self):
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            address = int(dut.memory__address.value)
            dut.memory__known.value = address < self.size
            dut.memory__ready.value = random.random() < self.duty
            await RisingEdge(dut.clk)
            read, write = int(dut.memory__read.value), int(dut.memory__write.value)
            assert not (read and write)
            # What is read is there in one cycle only.
            dut.memory__r_data.value = random.getrandbits(32)
            if not (read or write):
                continue
            assert address < self.size, "asked for what is not known"
            if int(dut.memory__ready.value):
                self.taken.append((address, write))
                if write:
                    self.words[address] = int(dut.memory__w_data.value)
                else:
                    dut.memory__r_data.value = self.words.get(address, 0)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.2])
async def a_memory_is_read_and_written_word_by_word(dut, duty):
    """The address moves on with every access that is taken, and with no other one."""
    host = await start(dut, stalls=duty < 1)
    memory = Memory(dut, 0x80)
    memory.duty = duty
    address, data = OFFSETS["MEMORY_ADDRESS"], OFFSETS["MEMORY_DATA"]
    values = [random.getrandbits(32) for _ in range(4)]
    await host.set("MEMORY_ADDRESS", 0x70)
    for value in values:
        assert not await host.write(data, value)
    assert await host.get("MEMORY_ADDRESS") == 0x80
    for access in (host.read(data), host.write(data, 1)):
        assert (await access) in ((0, True), True), "access behind the end accepted"
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_RANGE
    assert await host.get("FAULT_ADDRESS") == data
    assert await host.get("MEMORY_ADDRESS") == 0x80
    # Two more bits, which are in no field.
    assert not await host.write(address, 0x73)
    assert await host.write(data, 1, size=2), "partial write accepted"
    for value in values[:2]:
        assert await host.read(data) == (value, False)

    dut.sequencer__running.value = 1
    assert await host.write(data, 1), "write while running accepted"
    for value in values[2:]:
        assert await host.read(data) == (value, False)
    expected = [(at, kind) for kind in (1, 0) for at in range(0x70, 0x80, 4)]
    assert memory.taken == expected
    counters = ("FAULTS_REGISTER", "FAULTS_LOCKED", "FAULT_COUNT")
    assert [await host.get(name) for name in counters] == [3, 1, 4]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_program_that_starts_locks_a_write_that_waits(dut):
    """A write that the memory has not taken when a program begins is refused."""
    host = await start(dut)
    memory = Memory(dut, 0x80)
    memory.duty = 0
    write = cocotb.start_soon(host.write(OFFSETS["MEMORY_DATA"], 1))
    await ClockCycles(dut.clk, 50)
    assert not write.done()
    dut.sequencer__running.value = 1
    await ClockCycles(dut.clk, 10)
    assert await write, "write while running accepted"
    memory.duty = 1
    assert await host.get("FAULT_CODE") == FaultCode.REGISTER_LOCKED
    assert not memory.taken


async def _fetch(dut):
    """Read both memories at random; a word read must not depend on the host's accesses."""
    seen = {}
    names = ("instruction", "segment")
    depth = {"instruction": CONFIG.program_depth, "segment": CONFIG.segments}
    pending = {}
    while True:
        for name in names:
            enable, address = random.random() < 0.6, random.randrange(depth[name])
            getattr(dut, f"sequencer__{name}_en").value = enable
            getattr(dut, f"sequencer__{name}_address").value = address
            pending[name] = address if enable else None
        asked = dict(pending)
        await RisingEdge(dut.clk)
        for name in names:
            getattr(dut, f"sequencer__{name}_en").value = 0
        await RisingEdge(dut.clk)
        for name in names:
            if asked[name] is not None:
                word = int(getattr(dut, f"sequencer__{name}").value)
                assert seen.setdefault((name, asked[name]), word) == word, name


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def counters_add_up_events(dut):
    """Every event adds its value to its own counter; clear zeroes all."""
    host = await start(dut)
    external, internal = Events(CONFIG, internal=False), Events(CONFIG, internal=True)
    expected = {}
    for _ in range(100):
        for handle, layout in ((dut.events, external), (dut.controller_events, internal)):
            word = random.getrandbits(layout.size)
            handle.value = word
            for name, field in layout:
                amount = word >> field.offset & ((1 << field.width) - 1)
                expected[name] = expected.get(name, 0) + amount
        await RisingEdge(dut.clk)
    dut.events.value = dut.controller_events.value = 0
    for name, total in expected.items():
        assert await host.get(f"COUNT_{name.upper()}") == total, name
    await host.set("CONTROL", 1 << 2)
    for name in expected:
        assert await host.get(f"COUNT_{name.upper()}") == 0, name


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def errors_are_counted_by_kind(dut):
    """Errors of sequencer, packets and calibration; the first is kept."""
    host = await start(dut)
    expected = dict.fromkeys(FaultCounter, 0)
    codes = [code for code in FaultCode if code not in (FaultCode.NONE, FaultCode.CALIBRATION)]
    dut.sequencer__pc.value = 5
    for count, code in enumerate(codes):
        packet, noc = code.name.startswith("PACKET"), code.name.startswith("NOC")
        dut.sequencer__illegal.value = not packet and not noc
        dut.sequencer__illegal_code.value = code
        dut.sequencer__illegal_address.value = 7 + count
        dut.malformed.value = packet
        dut.malformed_code.value = code
        dut.noc_fault.value = noc
        dut.noc_fault_code.value = code
        dut.calibration_errors.value = count % 3
        expected[fault_counter(code)] += 1
        expected[FaultCounter.CALIBRATION] += count % 3
        await RisingEdge(dut.clk)
    dut.sequencer__illegal.value = dut.malformed.value = dut.calibration_errors.value = 0
    dut.noc_fault.value = 0
    for counter, total in expected.items():
        assert await host.get(f"FAULTS_{counter.name}") == total, counter.name
    assert await host.get("FAULT_COUNT") == sum(expected.values())
    assert (await host.get("FAULT_CODE"), await host.get("FAULT_ADDRESS")) == (codes[0], 7)
    await host.set("CONTROL", 1 << 2)
    for strobe, code in (("malformed", "PACKET_LATE"), ("noc_fault", "NOC_CREDIT")):
        await host.set("CONTROL", 1 << 2)
        assert not int(dut.failed.value)
        getattr(dut, strobe).value, getattr(dut, f"{strobe}_code").value = 1, FaultCode[code]
        await RisingEdge(dut.clk)
        getattr(dut, strobe).value = 0
        assert await host.get("FAULT_CODE") == FaultCode[code]
        assert await host.get("FAULT_ADDRESS") == 5
        assert int(dut.failed.value)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_reset_among_transfers(dut):
    """Nothing is taken in it, nothing is left of what was taken before."""
    host = await start(dut, stalls=True)
    for cycles in range(1, 30):
        for _ in range(3):
            cocotb.start_soon(host.master.write(OFFSETS["WATCHDOG"], bytes([cycles] * 4)))
            cocotb.start_soon(host.master.read(OFFSETS["ID"], 4))
        await ClockCycles(dut.clk, cycles)
        dut.rst.value = 1
        for _ in range(random.randint(1, 3)):
            await RisingEdge(dut.clk)
            for name in ("awready", "wready", "arready"):
                assert not int(getattr(dut, f"axil__{name}").value), f"{name} in a reset"
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        assert await host.get("WATCHDOG") == 0
        await host.set("START", 1)
        assert await host.get("START") == 1


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def many_transfers_at_once(dut, stalls):
    """Reads and writes that wait at the same time all get their own answer, none starves."""
    host = await start(dut, stalls)
    names = ["START", "WATCHDOG", "REFRESH_HIGH", "REFRESH_LOW"]
    widths = {register.name: register.width for register in registers(CONFIG)}
    values = {name: random.getrandbits(widths[name]) for name in names}
    reads = [cocotb.start_soon(host.get("ID")) for _ in range(20)]
    writes = [cocotb.start_soon(host.set(name, value)) for name, value in values.items()]
    for task in writes:
        await task
    done = sum(task.done() for task in reads)
    assert done < 20, "writes waited for all reads"
    for task in reads:
        assert await task == 0x50434F52
    for name, value in values.items():
        assert await host.get(name) == value


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def status_shows_the_hardware(dut):
    """STATUS bits, PC, the signed calibration offset and the scale."""
    host = await start(dut)
    dut.sequencer__running.value = 1
    dut.sequencer__halted.value = 1
    dut.calibrating.value = 1
    dut.busy.value = 0b100101
    dut.sequencer__pc.value = CONFIG.program_depth - 1
    dut.calibration_offset.value = -3 & ((1 << CONFIG.calibration_offset_bits) - 1)
    dut.calibration_gain.value = 259
    dut.drift_scale.value = 1100
    assert await host.get("STATUS") == 0b1011 | 0b100101 << 8
    assert await host.get("PC") == CONFIG.program_depth - 1
    assert await host.get("CALIBRATION_OFFSET") == 2**32 - 3
    assert await host.get("CALIBRATION_GAIN") == 259
    assert await host.get("DRIFT_SCALE") == 1100
    for bit, name in enumerate(("start", "abort")):
        strobes = []
        watcher = cocotb.start_soon(_watch(dut, getattr(dut, f"sequencer__{name}"), strobes))
        await host.set("CONTROL", 1 << bit)
        assert await host.get("CONTROL") == 0
        watcher.cancel()
        assert sum(strobes) == 1, name


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def the_baseline_is_measured_or_written(dut):
    """The host's and the hardware's values of DRIFT_BASELINE take each other's place."""
    host = await start(dut)
    layout = Settings(CONFIG)
    for written, measured in ((5, 0), ((1 << CONFIG.drift_bits) - 1, 7)):
        await host.set("DRIFT_BASELINE", written)
        assert layout.from_bits(int(dut.settings.value)).drift_baseline == written
        # An idle bus has no clock.
        await ClockCycles(dut.clk, 10)
        dut.drift_conductance.value, dut.drift_baselined.value = measured, 1
        await RisingEdge(dut.clk)
        dut.drift_conductance.value, dut.drift_baselined.value = 9, 0
        assert await host.get("DRIFT_BASELINE") == measured


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def the_chip_starts_the_program(dut):
    """A strobe of ``start`` acts like CONTROL.start."""
    await start(dut)
    strobes = []
    cocotb.start_soon(_watch(dut, dut.sequencer__start, strobes))
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0
    for _ in range(5):
        await RisingEdge(dut.clk)
    assert sum(strobes) == 1


@cocotb.test(timeout_time=2, timeout_unit="ms", skip=not CONFIG.objects)
async def descriptors_are_passed_on(dut):
    """Every accepted write of an object or route descriptor shows on ``table``, once."""
    host = await start(dut)
    seen, expected = [], []
    cocotb.start_soon(_watch_table(dut, seen))
    for name in ("OBJECT", "ROUTE", "SEGMENT"):
        window = windows(CONFIG)[name]
        for _ in range(10):
            index, word = random.randrange(window.depth), random.randrange(window.words)
            value = random.getrandbits(32)
            assert not await host.write(window.address(index, word), value)
            if name != "SEGMENT":
                expected.append(
                    {"en": 1, "route": name == "ROUTE", "index": index, "word": word,
                     "data": value}
                )  # fmt: skip
    beyond = windows(CONFIG)["OBJECT"]
    assert await host.write(beyond.address(0, beyond.words - 1) + 4, 1), "word behind an entry"
    dut.sequencer__running.value = 1
    assert await host.write(windows(CONFIG)["OBJECT"].address(0), 1), "write while running"
    assert seen == expected


async def _watch_table(dut, seen):
    while True:
        await RisingEdge(dut.clk)
        entry = TableWrite().from_bits(int(dut.table.value))
        if entry["en"]:
            seen.append({key: entry[key] for key, _ in TableWrite()})


async def _watch(dut, handle, seen):
    while True:
        await RisingEdge(dut.clk)
        seen.append(int(handle.value))
