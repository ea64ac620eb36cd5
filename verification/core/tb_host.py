# SPDX-License-Identifier: Apache-2.0
"""The whole core as a host sees it: AXI ports on one side, the golden model on the other.

The bus clients are those of cocotbext-axi. Every cocotb test needs a fresh array, so
``test_host.py`` runs one per simulation.
"""

import itertools
import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamFrame

from phasecore.models.golden.packets import header
from phasecore.rtl.spec.instructions import (
    SEGMENT,
    Drift,
    Function,
    Opcode,
    PacketKind,
    encode,
    pack,
)
from phasecore.rtl.spec.registers.core import (
    AFFINE_BIT,
    affine_address,
    offsets,
    vector_address,
    windows,
)
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.core.host_session import (
    BEAT,
    CONFIG,
    HALT,
    LINES,
    PART,
    PROBE,
    READ_SLOTS,
    SEED,
    SEGMENTS,
    SPARE,
    WHOLE,
    activate,
    affine,
    codes,
    connect,
    error,
    load,
    mvm,
    outer,
    read,
    vector,
)
from phasecore.verification.cosim.random_programs import RandomProgram
from phasecore.verification.drivers.host import RegisterError, RunError
from phasecore.verification.support.streams import slow_pulses


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def random_programs(dut):
    """Calibrate, program some rows, then random legal programs; results, slots and counters."""
    session = await connect(dut)
    host, model = session.host, session.model
    rows = [encode(Opcode.PROGRAM, segment=PART, row=row, slot=row % 8) for row in (3, 11)]
    await session.run([encode(Opcode.CALIBRATE, drift=Drift.BASELINE), *rows])
    assert await host.read_register("DRIFT_BASELINE") == model.adc.drift_baseline > 0
    for line in range(LINES):
        await host.write_register("CALIBRATION_LINE", line)
        for name, expected in (("OFFSET", model.adc.offsets), ("GAIN", model.adc.gains)):
            got = await host.read_register(f"CALIBRATION_{name}")
            assert got == expected[line], f"{name} of line {line}: {got}, not {expected[line]}"
    model.refresh_high, model.refresh_low = 40, 5
    await host.write_register("REFRESH_HIGH", model.refresh_high)
    await host.write_register("REFRESH_LOW", model.refresh_low)
    rng = random.Random(SEED)
    for _ in range(3):
        program = RandomProgram(CONFIG, rng, 45)
        await session.clear()
        await host.load_program(program.words, program.segments)
        model.segments = list(program.segments)
        for packet in program.packets:
            host.send(packet)
        await host.run()
        await session.compare(program.words, program.packets)
        assert await host.read_register("COUNT_LOADS") == len(program.packets)
        await session.check_counters()
        await host.load_program([], SEGMENTS)
        model.segments[: len(SEGMENTS)] = SEGMENTS
        await session.close()


def _beats(packet, *, keep):
    """Frame of a packet whose byte enables are given beat by beat; the rest are full."""
    enables = [int(byte) for text in keep for byte in reversed(text)]
    return AxiStreamFrame(packet, tkeep=enables + [1] * (len(packet) - len(enables)))


def bad_packets():
    """Packets that a LOAD of a VECTOR must not take: (FaultCode, frame)."""
    good = vector()
    full = "11111111"

    def head(kind=PacketKind.VECTOR, *, start=0, length=LINES):
        return header(kind, start=start, length=length) + good[BEAT:]

    short = vector(5)
    yield FaultCode.PACKET_MAGIC, good[: BEAT - 1] + b"\x51" + good[BEAT:]
    yield FaultCode.PACKET_KIND, b"\x03" + good[1:]
    yield FaultCode.PACKET_KIND, head(PacketKind.RESULT)
    yield FaultCode.PACKET_RANGE, head(start=4, length=8)
    yield FaultCode.PACKET_RANGE, head(length=0)
    yield FaultCode.PACKET_RANGE, head(length=0)[:BEAT]
    yield FaultCode.PACKET_RANGE, head(start=8, length=LINES - 7)
    yield FaultCode.PACKET_RANGE, head(start=0xFFF8, length=8)
    yield FaultCode.PACKET_RANGE, head(length=LINES + 1)
    yield FaultCode.PACKET_EARLY, good[:BEAT]
    yield FaultCode.PACKET_EARLY, good[:-BEAT]
    yield FaultCode.PACKET_EARLY, affine()[:-BEAT]
    yield FaultCode.PACKET_LATE, good + good[-BEAT:]
    yield FaultCode.PACKET_LATE, good + good
    yield FaultCode.PACKET_LATE, head(length=8)
    yield FaultCode.PACKET_KEEP, _beats(good, keep=["01111111"])
    yield FaultCode.PACKET_KEEP, _beats(good, keep=[full, "11101111"])
    yield FaultCode.PACKET_KEEP, _beats(good, keep=[full, full, "01111111"])
    yield FaultCode.PACKET_KEEP, _beats(short + b"\0\0\0", keep=[full, full])
    yield FaultCode.PACKET_KEEP, _beats(short + b"\0\0\0", keep=[full, "00111110"])
    yield FaultCode.PACKET_KEEP, short[:-1]
    yield FaultCode.PACKET_UNWANTED, affine()
    yield FaultCode.PACKET_UNWANTED, affine(3, start=8)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def bad_packets_are_dropped_whole(dut):
    """A LOAD behind any bad packet gets the next good one; the rest of the state stays."""
    session = await connect(dut)
    for code, frame in bad_packets():
        good = vector(random.randint(1, 8), 8 * random.randrange(2))
        session.host.source.send_nowait(AxiStreamFrame(frame))
        slot = random.randrange(CONFIG.slots)
        await session.run([load(slot), read(slot), *READ_SLOTS], [good])
        await session.expect(code)
    session.host.source.send_nowait(AxiStreamFrame(vector()))
    await session.run([load(1, affine=1)], [affine(3, 8)])
    await session.expect(FaultCode.PACKET_UNWANTED)
    await session.close()


def illegal_instructions():
    """(FaultCode, word, descriptor of segment SPARE or None)."""
    unused = 1 << 63
    bad_segments = [
        {"row_start": CONFIG.rows - 3, "row_count": 4},
        {"col_start": CONFIG.cols, "col_count": 1},
        {"row_count": 0},
        {"col_count": 0},
        {"row_start": 0xFFFF, "row_count": 1},
        {"threshold": 0},
        {"threshold": 1 << CONFIG.chi_bits - 1},
        {"forward_lsb_log2": CONFIG.lsb_log2_min - 1},
        {"backward_lsb_log2": CONFIG.lsb_log2_max + 1},
    ]
    slots, tables = CONFIG.slots, CONFIG.affine_tables
    yield FaultCode.OPCODE, 14, None
    yield FaultCode.OPCODE, 31 | unused, None
    yield FaultCode.UNUSED_BITS, HALT | unused, None
    yield FaultCode.UNUSED_BITS, load(0) | 1 << 11, None
    yield FaultCode.UNUSED_BITS, error() | unused, None
    yield FaultCode.SEGMENT, mvm(segment=CONFIG.segments), None
    yield FaultCode.SEGMENT, outer(segment=15), None
    users = itertools.cycle([
        mvm(segment=SPARE), mvm(Opcode.BACKWARD, segment=SPARE), outer(segment=SPARE),
        activate(segment=SPARE), encode(Opcode.TRANSFER, segment=SPARE),
        encode(Opcode.REFRESH, segment=SPARE, all_rows=1), error(segment=SPARE),
        encode(Opcode.PROGRAM, segment=SPARE, row=15, slot=0),
    ])  # fmt: skip
    for change, word in zip(bad_segments, users, strict=False):
        yield FaultCode.SEGMENT, word, vars(SEGMENTS[WHOLE]) | change
    yield FaultCode.SLOT, load(slots), None
    yield FaultCode.SLOT, load(tables, affine=1), None
    yield FaultCode.SLOT, read(slots), None
    yield FaultCode.SLOT, mvm(slot=31), None
    yield FaultCode.SLOT, activate(slot=slots), None
    yield FaultCode.SLOT, activate(table=tables), None
    yield FaultCode.SLOT, error(destination=slots), None
    yield FaultCode.SLOT, error(output=slots), None
    yield FaultCode.SLOT, outer(delta=slots), None
    yield FaultCode.LINE, read(0, start=4, length=1), None
    yield FaultCode.LINE, read(0, length=0), None
    yield FaultCode.LINE, read(0, start=8, length=LINES - 7), None
    yield FaultCode.LINE, activate(destination_line=LINES), None
    yield FaultCode.LINE, encode(Opcode.PROGRAM, segment=PART, row=2, slot=0), None
    yield FaultCode.LINE, encode(Opcode.PROGRAM, segment=PART, row=12, slot=0), None
    yield FaultCode.FUNCTION, activate(function=7), None
    yield FaultCode.FUNCTION, error(function=Function.NONE), None
    yield FaultCode.PRECISION, mvm(precision=4), None
    yield FaultCode.PRECISION, mvm(precision=CONFIG.input_bits + 1), None
    yield FaultCode.LOOP_COUNT, encode(Opcode.LOOP, counter=0, target=0, count=0), None
    too_far = encode(Opcode.LOOP, counter=1, target=CONFIG.program_depth, count=2)
    yield FaultCode.TARGET, too_far, None


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def illegal_instructions_are_skipped(dut):
    """A program with one illegal instruction does what it does without it."""
    session = await connect(dut)
    host = session.host
    computing = PROBE[CONFIG.slots :]
    previous = []
    for code, word, descriptor in illegal_instructions():
        if descriptor is not None:
            await host.write_entry("SEGMENT", SPARE, pack(SEGMENT, descriptor))
        position = random.randint(0, len(computing))
        program = [*computing[:position], word, *computing[position:], HALT]
        for address, (new, old) in enumerate(itertools.zip_longest(program, previous)):
            if new != old:
                await host.write_entry("PROGRAM", address, new)
        previous = program
        packet = vector()
        host.send(packet)
        await host.run()
        await session.compare([*computing, HALT], [packet])
        await session.expect(code, position)
    await session.close()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def refused_register_accesses(dut):
    """Every kind of refused access answers SLVERR, is counted and changes nothing."""
    session = await connect(dut)
    host, where = session.host, offsets(CONFIG)
    settings = ("START", "WATCHDOG", "REFRESH_HIGH", "REFRESH_LOW", "CALIBRATION_LINE")
    program, segment = windows(CONFIG)["PROGRAM"], windows(CONFIG)["SEGMENT"]
    written = [where[name] for name in settings]
    written += [program.address(index, word) for index in range(8) for word in range(2)]
    written += [segment.address(WHOLE, word) for word in range(segment.words)]
    before = [await host.read_word(address) for address in written]

    async def partial(address, size):
        """Write some bytes of a word."""
        response = await host.registers.write(address, b"\x01" * size)
        if response.resp:
            raise RegisterError("refused")

    undefined = [0x1000, where["FAULT_CODE"] + 0x0C, segment.end, program.end, 0x3FFC]
    accesses = [(FaultCode.REGISTER_UNDEFINED, at, host.read_word(at)) for at in undefined]
    accesses += [(FaultCode.REGISTER_UNDEFINED, at, host.write_word(at, 1)) for at in undefined]
    accesses += [
        (FaultCode.REGISTER_READ_ONLY, where[name], host.write_register(name, 1))
        for name in ("ID", "STATUS", "PC", "FAULT_COUNT", "COUNT_CYCLES", "CONFIG_ROWS")
    ]
    accesses += [
        (FaultCode.REGISTER_PARTIAL, at & ~3, partial(at, size))
        for at, size in (
            (where["START"], 1), (where["WATCHDOG"] + 1, 2), (where["CONTROL"], 1),
            (program.address(0) + 3, 1), (segment.address(0, 3), 3),
        )
    ]  # fmt: skip
    for code, address, access in accesses:
        with pytest.raises(RegisterError, match="refused"):
            await access
        await session.expect(code, address)
    assert before == [await host.read_word(address) for address in written]
    await session.close()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def memories_over_registers(dut):
    """Slots and tables written by registers are those of the model; what is refused changes none.

    An error vector leaves an exponent in slot 3, which a write of any of its lines makes 0.
    """
    session = await connect(dut)
    host, model = session.host, session.model
    await session.run([mvm(), error()])
    assert model.exponents[3]

    async def write(address, data):
        await host.write_memory(address, data)
        model.write_memory(address, data)

    await write(vector_address(CONFIG, 3, 8), random.randbytes(4))
    await session.run([outer(), mvm(), activate(), read(1)])
    await write(vector_address(CONFIG, 6, 12), random.randbytes(8))
    await write(affine_address(CONFIG, 0), random.randbytes(2 * LINES))
    await write(affine_address(CONFIG, 1, 6), random.randbytes(8))
    assert await host.read_memory(affine_address(CONFIG, 0), 8) == bytes(8)
    slots = model.slots.astype("i1").tobytes()
    assert await host.read_memory(0, CONFIG.vector_bytes) == slots
    await host.write_vector(0, slot := codes(LINES))
    model.slots[0], model.exponents[0] = slot, 0
    assert await host.read_register("MEMORY_ADDRESS") == LINES

    with pytest.raises(ValueError, match=r"multiples of 4, not 0x2 and 4$"):
        await host.write_memory(2, bytes(4))
    data = offsets(CONFIG)["MEMORY_DATA"]
    for address in (CONFIG.vector_bytes, 1 << AFFINE_BIT | CONFIG.affine_bytes, 1 << 20):
        await host.write_register("MEMORY_ADDRESS", address)
        for access in (host.read_word(data), host.write_word(data, 1)):
            with pytest.raises(RegisterError, match="refused"):
                await access
            await session.expect(FaultCode.REGISTER_RANGE, data)
        assert await host.read_register("MEMORY_ADDRESS") == address

    # A program that waits for a packet: words can be read, not written.
    await host.load_program([load(6), HALT])
    await host.start()
    for address, size in ((LINES, 4), (1 << AFFINE_BIT, 4), (LINES, 1)):
        await host.write_register("MEMORY_ADDRESS", address)
        response = await host.registers.write(data, b"\x55" * size)
        assert response.resp, "write while running accepted"
        locked, partial = FaultCode.REGISTER_LOCKED, FaultCode.REGISTER_PARTIAL
        await session.expect(locked if size == 4 else partial, data)
        assert await host.read_register("MEMORY_ADDRESS") == address
    assert await host.read_memory(0, LINES) == model.slots[0].astype("i1").tobytes()
    packet = vector()
    host.send(packet)
    await host.finish()
    await session.compare([load(6), HALT], [packet])
    await session.close()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def programs_that_do_not_end(dut):
    """Locked memories, abort, watchdog, a packet that comes late, the end of the memory."""
    session = await connect(dut)
    host = session.host
    waiting = [*PROBE, load(6), read(6), HALT]

    async def begin():
        """Run up to the LOAD that has no packet; return the packet of the probe."""
        packet = vector()
        host.send(packet)
        await host.load_program(waiting)
        await host.start()
        while True:
            status = await host.read_fields("STATUS")
            if status["load_busy"] and await host.read_register("PC") == len(waiting) - 2:
                return packet
            await ClockCycles(dut.clk, 50)

    packets = [await begin()]
    assert (await host.read_fields("STATUS"))["running"]
    for window, entry in (("PROGRAM", len(waiting) - 1), ("SEGMENT", WHOLE)):
        with pytest.raises(RegisterError, match=r"^write to 0x\w{4} refused \(SLVERR\)$"):
            await host.write_entry(window, entry, 0)
        await session.expect(FaultCode.REGISTER_LOCKED, windows(CONFIG)[window].address(entry))
    packets.append(vector())
    host.send(packets[-1])
    await host.finish()
    await session.compare(waiting, packets)

    packet = await begin()
    await host.command("abort")
    await _stopped(host)
    await session.compare([*PROBE, HALT], [packet])
    await session.probe()

    await host.write_register("WATCHDOG", 3000)
    packet = await begin()
    await _stops(host, FaultCode.WATCHDOG, len(waiting) - 2)
    status = await host.read_fields("STATUS")
    assert status["load_busy"], "the watchdog stops the sequencer only"
    await session.expect(FaultCode.WATCHDOG, len(waiting) - 2)
    await session.compare([*PROBE, HALT], [packet])
    await host.command("abort")
    await _stopped(host)
    await session.probe()

    packet = await begin()
    await _stops(host, FaultCode.WATCHDOG, len(waiting) - 2)
    await session.expect(FaultCode.WATCHDOG, len(waiting) - 2)
    late = vector()
    host.send(late)
    await session.compare([*PROBE, load(6), HALT], [packet, late])
    await host.source.wait()
    await ClockCycles(dut.clk, 20)
    await _stopped(host)
    await session.probe()

    last = CONFIG.program_depth - 1
    await host.load_program([read(6), mvm(slot=6), read(5)], at=last - 2)
    await host.start(at=last - 2)
    await _stops(host, FaultCode.PROGRAM_END, last)
    await session.compare([read(6), mvm(slot=6), read(5), HALT], [])
    await session.expect(FaultCode.PROGRAM_END, last)
    await session.close()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def abort_during_a_refresh(dut):
    """The refresh goes on, and the next program waits for it."""
    session = await connect(dut)
    refresh = [encode(Opcode.REFRESH, segment=WHOLE, all_rows=1), HALT]
    await session.host.load_program(refresh)
    await session.host.start()
    await session.host.command("abort")
    status = await session.host.read_fields("STATUS")
    assert not status["running"], status
    assert status["programmer_busy"], status
    session.model.run(refresh)
    await session.run([activate(destination=2), read(2)])
    await session.close()


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def resets_at_random_times(dut):
    """Programs and segments stay; the next program waits for a pulse that the reset met."""
    session = await connect(dut)
    host, macro = session.host, dut.crossbar.macro
    words, packets = session.define
    words = [*words, *READ_SLOTS, outer(), HALT]
    after = CONFIG.program_depth - len(words)
    before = PROBE[CONFIG.slots :]
    random.shuffle(before)
    program = encode(Opcode.PROGRAM, segment=WHOLE, row=5, slot=1)
    await host.load_program([program, *before, HALT])
    await host.load_program(words, at=after)
    # The first resets seek what they must meet: a group before its fire, a window, a pulse.
    sought = [
        lambda: int(macro.selected.value) >= 5, lambda: int(macro.selected.value) >= 20,
        lambda: int(macro.active.value), lambda: not int(macro.program_ready.value),
    ]  # fmt: skip
    for trial in range(8):
        for _ in range(2):
            host.send(vector())
        slow = cocotb.start_soon(slow_pulses(macro, 200))
        await host.start(at=int(trial >= 2))
        if trial < len(sought):
            while not sought[trial]():
                await RisingEdge(dut.clk)
        else:
            await ClockCycles(dut.clk, random.randrange(1, 600))
        await session.reset()
        slow.cancel()
        for packet in packets:
            host.send(packet)
        await host.run(at=after)
        await session.compare(words, packets)
        session.compare_devices()
    await session.close()


async def _stops(host, code, address):
    """Check that the running program stops with an error."""
    expected = f"^stopped at instruction {address}, first error {code.name}$"
    with pytest.raises(RunError, match=expected):
        await host.finish()


async def _stopped(host):
    """Check that sequencer and LOAD unit are idle."""
    status = await host.read_fields("STATUS")
    assert not status["running"], status
    assert not status["halted"], status
    assert not status["load_busy"], status
