# SPDX-License-Identifier: Apache-2.0
"""Controller among mock units that take random times, against a sequential interpreter."""

import random

import cocotb
from cocotb.triggers import ClockCycles

from phasecore.rtl.spec.instructions import Axis, Opcode, Segment, Unit, encode
from phasecore.rtl.spec.registers.table import FaultCode, FaultCounter, fault_counter
from phasecore.verification.core.controller_reference import (
    FOREIGN,
    HALT,
    OPCODES,
    compare,
    interpret,
    random_fields,
    random_segments,
    words,
)
from phasecore.verification.core.controller_units import CAUSES, CONFIG, LAYOUTS, NETWORKED, start


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(longest=[1, 30], duty=[1.0, 0.5])
async def random_programs_run_in_order(dut, longest, duty):
    """Random instructions, some illegal, in nested loops: order, payloads, hazards, counters."""
    host, units = await start(dut, longest=longest, duty=duty)
    for _ in range(3):
        segments = random_segments()
        await host.fill("SEGMENT", [segment.pack() for segment in segments])
        body = [
            None if random.random() < 0.1 else (opcode, random_fields(opcode, segments))
            for opcode in random.choices(OPCODES, k=36)
        ]
        inner, outer = random.randint(1, 3), random.randint(1, 2)
        first, second = random.sample(range(4), 2)
        body.insert(20, (Opcode.LOOP, {"counter": first, "target": 12, "count": inner}))
        body.append((Opcode.LOOP, {"counter": second, "target": 4, "count": outer}))
        program = [*body, HALT]
        await host.fill("PROGRAM", words(program))
        await host.set("CONTROL", 1 << 2)
        units.issued.clear()
        units.ready.clear()
        units.windows = 0
        commands, count = interpret(program, segments)
        await host.run()
        compare(units, commands)
        assert units.idle(*LAYOUTS, "calibrating"), "HALT before the units were idle"
        assert await host.get("STATUS") >> 1 & 1, "not halted"
        assert await host.get("COUNT_INSTRUCTIONS") == count
        names = [name for name, _, _ in commands]
        assert await host.get("COUNT_LOADS") == names.count("load")
        sent = names.count("send" if NETWORKED else "read")
        assert await host.get("COUNT_READS") == sent
        # Fetch, check and issue; skipped in the check; one more after what runs alone.
        alone = names.count("rows") + names.count("calibrate")
        illegal = await host.get("FAULT_COUNT")
        stalls = sum([await host.get(f"COUNT_STALL_{cause}") for cause in CAUSES])
        assert await host.get("COUNT_CYCLES") == 3 * count + 2 * illegal + alone + stalls


def illegal_instructions():
    """(what, word, code) of every reason; segment 0 is legal, 1 and up are not."""
    slots, lines = CONFIG.slots, CONFIG.lines
    mvm = {"segment": 0, "slot": 0, "precision": 5, "input_signs": 3, "polarities": 3}
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "destination": 0, "destination_line": 0,
    }  # fmt: skip
    delta = {
        "segment": 0, "axis": Axis.COLS, "source": 0, "slot": 0, "output": 0, "function": 1,
        "fixed": 0, "shift": 0, "bias": 0, "destination": 0, "destination_line": 0,
    }  # fmt: skip
    read = {"slot": 0, "first_line": 0, "length": 8}
    send = read | {"route": 0, "partial": 0, "merge": 0, "object": 0}
    outer = {"segment": 0, "slot": 0, "delta": 0, "transfer": 0}
    gather = dict.fromkeys(("object", "destination", "block", "block_row", "block_col"), 0)
    gather["largest"] = 0
    scatter = dict.fromkeys(("object", "slot", "block", "block_row", "block_col"), 0)
    normalise = {"object": 0, "destination": 0, "destination_line": 0}
    program = {"segment": 0, "row": 3, "slot": 0}
    loop = {"counter": 0, "target": 0, "count": 1}
    cases = [
        (Opcode.FORWARD, mvm, {"slot": slots}, FaultCode.SLOT),
        (Opcode.FORWARD, mvm, {"precision": 4}, FaultCode.PRECISION),
        (Opcode.BACKWARD, mvm, {"precision": CONFIG.input_bits + 1}, FaultCode.PRECISION),
        (Opcode.ACTIVATE, activate, {"slot": slots}, FaultCode.SLOT),
        (Opcode.ACTIVATE, activate, {"destination": slots}, FaultCode.SLOT),
        (Opcode.ACTIVATE, activate, {"table": CONFIG.affine_tables}, FaultCode.SLOT),
        (Opcode.ACTIVATE, activate, {"destination_line": lines}, FaultCode.LINE),
        (Opcode.ACTIVATE, activate, {"function": 5}, FaultCode.FUNCTION),
        *((Opcode.DELTA, delta, change, FaultCode.FUNCTION)
          for change in ({"function": 0}, {"function": 7}, {"source": 3})),
        (Opcode.DELTA, delta, {"output": slots}, FaultCode.SLOT),
        (Opcode.DELTA, delta, {"destination_line": lines}, FaultCode.LINE),
        (Opcode.OUTER, outer, {"delta": slots}, FaultCode.SLOT),
        (Opcode.CALIBRATE, {}, {"drift": 3}, FaultCode.FUNCTION),
        (Opcode.LOAD, {"affine": 0, "slot": 0}, {"slot": slots}, FaultCode.SLOT),
        (Opcode.LOAD, {"affine": 1, "slot": 0}, {"slot": CONFIG.affine_tables}, FaultCode.SLOT),
        *((opcode, fields, change, code)
          for opcode, fields in ((Opcode.READ, read), (Opcode.SEND, send))
          for change, code in (
              ({"slot": slots}, FaultCode.SLOT),
              ({"first_line": 4}, FaultCode.LINE),
              ({"length": 0}, FaultCode.LINE),
              ({"first_line": 8, "length": lines - 7}, FaultCode.LINE),
          )),
        (Opcode.SEND, send, {"route": CONFIG.routes}, FaultCode.OBJECT),
        (Opcode.SEND, send, {"object": CONFIG.objects}, FaultCode.OBJECT),
        (Opcode.AWAIT, {}, {"objects": 1 << CONFIG.objects}, FaultCode.OBJECT),
        (Opcode.RELEASE, {}, {"objects": 1 << 15}, FaultCode.OBJECT),
        (Opcode.GATHER, gather, {"destination": slots}, FaultCode.SLOT),
        (Opcode.GATHER, gather, {"block": CONFIG.blocks}, FaultCode.LINE),
        (Opcode.SCATTER, scatter, {"slot": slots}, FaultCode.SLOT),
        (Opcode.SCATTER, scatter, {"block": CONFIG.blocks}, FaultCode.LINE),
        *((opcode, fields, {"object": CONFIG.objects}, FaultCode.OBJECT) for opcode, fields in
          ((Opcode.GATHER, gather), (Opcode.SCATTER, scatter), (Opcode.NORMALISE, normalise))),
        (Opcode.NORMALISE, normalise, {"destination": slots}, FaultCode.SLOT),
        (Opcode.NORMALISE, normalise, {"destination_line": lines}, FaultCode.LINE),
        (Opcode.PROGRAM, program, {"row": 2}, FaultCode.LINE),
        (Opcode.PROGRAM, program, {"row": 5}, FaultCode.LINE),
        (Opcode.LOOP, loop, {"count": 0}, FaultCode.LOOP_COUNT),
        (Opcode.LOOP, loop, {"target": CONFIG.program_depth}, FaultCode.TARGET),
        *((Opcode.TRANSFER, {"segment": 0}, {"segment": index}, FaultCode.SEGMENT)
          for index in range(1, 16)),
        (Opcode.REFRESH, {"segment": 0, "all_rows": 0}, {"segment": 1}, FaultCode.SEGMENT),
    ]  # fmt: skip
    for opcode, base, change, code in cases:
        if opcode in FOREIGN:
            continue
        if all(value < 32 or name != "slot" for name, value in change.items()):
            try:
                yield f"{opcode.name} {change}", encode(opcode, **base | change), code
            except ValueError:
                continue  # the field has no room for the illegal value in this configuration
    for opcode in FOREIGN:
        yield f"foreign {opcode.name}", int(opcode), FaultCode.OPCODE
    yield "opcode 31", 31, FaultCode.OPCODE
    yield "HALT with a bit", encode(Opcode.HALT) | 1 << 63, FaultCode.UNUSED_BITS
    yield "WAIT with a bit", encode(Opcode.WAIT, units=0) | 1 << 12, FaultCode.UNUSED_BITS
    yield "FORWARD with a bit", encode(Opcode.FORWARD, **mvm) | 1 << 22, FaultCode.UNUSED_BITS


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def illegal_instructions_are_skipped(dut):
    """Every reason: code, address and counter; the next instruction runs as if it were absent."""
    host, units = await start(dut, longest=2)
    good = Segment(row_start=3, row_count=2, col_start=0, col_count=CONFIG.cols)
    broken = [
        {"row_count": 0}, {"col_count": 0}, {"row_count": CONFIG.rows - 2},
        {"col_start": 1}, {"threshold": 0}, {"threshold": 2 ** (CONFIG.chi_bits - 1)},
        {"forward_lsb_log2": CONFIG.lsb_log2_min - 1},
        {"backward_lsb_log2": CONFIG.lsb_log2_max + 1},
        {"row_start": 0xFFFF, "row_count": 0xFFFF},
    ]  # fmt: skip
    for first in range(0, len(broken), CONFIG.segments - 1):
        bad = [Segment(**vars(good) | change) for change in broken[first:][: CONFIG.segments - 1]]
        bad += [bad[0]] * (CONFIG.segments - 1 - len(bad))
        await host.fill("SEGMENT", [good.pack(), *(segment.pack() for segment in bad)])
        for what, word, code in illegal_instructions():
            if first and code is not FaultCode.SEGMENT:
                continue
            await host.set("CONTROL", 1 << 2)
            units.issued.clear()
            transfer = encode(Opcode.TRANSFER, segment=0)
            await host.fill("PROGRAM", [transfer, word, transfer, encode(Opcode.HALT)])
            await host.run()
            names = [name for name, _ in units.issued]
            assert names == ["update", "update"], f"{what}: issued {names}"
            assert await host.get("FAULT_CODE") == code, what
            assert await host.get("FAULT_ADDRESS") == 1, what
            for counter in FaultCounter:
                count = await host.get(f"FAULTS_{counter.name}")
                assert count == (counter == fault_counter(code)), f"{what}: {counter.name}"


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def issue_rate_is_three_cycles(dut):
    """Instructions without a wait take three cycles each, and nothing stalls."""
    host, _ = await start(dut, duty=1.0, longest=1)
    body = [encode(Opcode.WAIT, units=0)] * 10
    loop = encode(Opcode.LOOP, counter=0, target=0, count=20)
    await host.fill("PROGRAM", [*body, loop, encode(Opcode.HALT)])
    await host.run()
    count = 20 * 11 + 1
    assert await host.get("COUNT_INSTRUCTIONS") == count
    assert await host.get("COUNT_CYCLES") == 3 * count


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=NETWORKED)
async def units_work_side_by_side(dut):
    """Independent commands do not wait for each other; stalls name their cause."""
    host, units = await start(dut, duty=1.0)
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    units.hang = {"load", "mvm", "post", "read"}
    mvm = {"segment": 0, "slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 1, "table": 0, "destination": 1, "destination_line": 0,
    }  # fmt: skip
    program = [
        encode(Opcode.FORWARD, **mvm), encode(Opcode.ACTIVATE, **activate),
        encode(Opcode.LOAD, affine=0, slot=2), encode(Opcode.READ, slot=3, first_line=0, length=8),
        encode(Opcode.FORWARD, **mvm | {"slot": 3}),
        encode(Opcode.OUTER, segment=0, slot=0, delta=3, transfer=1),
        encode(Opcode.WAIT, units=1 << Unit.UPDATE),
        encode(Opcode.OUTER, segment=0, slot=0, delta=1, transfer=1),
    ]  # fmt: skip
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    names = [name for name, _ in units.issued]
    assert names == ["mvm", "post", "load", "read", "mvm", "update"], names
    assert await host.get("PC") == 7
    hazard = await host.get("COUNT_STALL_HAZARD")
    assert hazard > 100
    for cause, unit in (("POST", "post"), ("LOAD", "load"), ("READ", "read")):
        assert await host.get(f"COUNT_STALL_{cause}") == 0
        assert await host.get(f"COUNT_{cause}_BUSY") > 100, unit
    await host.set("CONTROL", 2)
    await host.wait()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_stall_counts_for_its_first_cause(dut):
    """REFRESH waits for two units: for post-processing while it works, then for the update."""
    host, units = await start(dut, duty=1.0)
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    units.hang = {"post", "update"}
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "destination": 1, "destination_line": 0,
    }  # fmt: skip
    program = [
        encode(Opcode.ACTIVATE, **activate),
        encode(Opcode.OUTER, segment=0, slot=2, delta=3, transfer=0),
        encode(Opcode.REFRESH, segment=0, all_rows=1),
        encode(Opcode.HALT),
    ]  # fmt: skip
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    assert await host.get("COUNT_STALL_UPDATE") == 0
    assert await host.get("COUNT_STALL_POST") > 150
    units.work["post"] = None
    await ClockCycles(dut.clk, 5)
    waited = await host.get("COUNT_STALL_POST")
    await ClockCycles(dut.clk, 200)
    assert await host.get("COUNT_STALL_UPDATE") > 150
    assert await host.get("COUNT_STALL_POST") == waited
    units.work["update"] = None
    await host.wait()
    assert [name for name, _ in units.issued] == ["post", "update", "rows"]


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=NETWORKED)
@cocotb.parametrize(first=["load", "post"])
async def affine_tables_are_slots_too(dut, first):
    """Neither does ACTIVATE read tables in loading, nor LOAD write tables that ACTIVATE reads."""
    host, units = await start(dut, duty=1.0)
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 1, "table": 1, "destination": 1, "destination_line": 0,
    }  # fmt: skip
    words = {"load": encode(Opcode.LOAD, affine=1, slot=1),
             "post": encode(Opcode.ACTIVATE, **activate)}  # fmt: skip
    second = "post" if first == "load" else "load"
    units.hang = {first}
    await host.fill("PROGRAM", [words[first], words[second], encode(Opcode.HALT)])
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 50)
    assert [name for name, _ in units.issued] == [first]
    assert await host.get("COUNT_STALL_HAZARD") > 30
    units.work[first] = None
    await host.wait()
    assert [name for name, _ in units.issued] == [first, second]


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=NETWORKED)
@cocotb.parametrize(refused=[False, True])
async def abort_stops_and_the_core_can_run_again(dut, refused):
    """Abort ends a wait; an offered command is not withdrawn, and a LOAD is cancelled once."""
    host, units = await start(dut, duty=1.0)
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    mvm = {"segment": 0, "slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
    load = encode(Opcode.LOAD, affine=0, slot=1)
    units.hang = {"load"}
    units.refuse = {"mvm"} if refused else set()
    program = [encode(Opcode.FORWARD, **mvm) if refused else load, load, encode(Opcode.HALT)]
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 50)
    await host.set("CONTROL", 2)
    await ClockCycles(dut.clk, 20)
    assert (await host.get("STATUS") & 3) == (1 if refused else 0)
    units.refuse = set()
    await host.wait()
    await ClockCycles(dut.clk, 3)
    assert [name for name, _ in units.issued] == ["mvm" if refused else "load"]
    assert units.cancels == 1
    assert await host.get("FAULT_COUNT") == 0
    units.work["load"] = None
    units.hang = set()
    await host.run()
    assert await host.get("STATUS") & 7 == 2


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=NETWORKED)
async def watchdog_stops_a_program_that_waits_too_long(dut):
    """Expiry: error with the address of the waiting instruction, units left alone."""
    host, units = await start(dut, duty=1.0)
    load = encode(Opcode.LOAD, affine=0, slot=1)
    units.hang = {"load"}
    wait = encode(Opcode.WAIT, units=0)
    await host.fill("PROGRAM", [wait, load, wait, load, encode(Opcode.HALT)])
    await host.set("WATCHDOG", 100)
    await host.run()
    assert await host.get("STATUS") & 7 == 4
    assert await host.get("FAULT_CODE") == FaultCode.WATCHDOG
    assert await host.get("FAULT_ADDRESS") == 3
    assert await host.get("FAULTS_WATCHDOG") == await host.get("FAULT_COUNT") == 1
    cycles, issued = await host.get("COUNT_CYCLES"), await host.get("COUNT_INSTRUCTIONS")
    assert issued == 3
    assert 105 <= cycles <= 115, cycles
    assert units.cancels == 0
    await host.set("CONTROL", 2)
    await ClockCycles(dut.clk, 3)
    assert units.cancels == 1, "abort after the watchdog must still cancel the LOAD"
    units.work["load"] = None
    units.hang = set()
    units.longest = 40
    await host.run()
    assert await host.get("STATUS") & 3 == 2


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_program_without_end_is_stopped(dut):
    """Behind the last word there is nothing: error and stop, also after an illegal last word."""
    host, _ = await start(dut)
    last = CONFIG.program_depth - 1
    for word, errors in ((encode(Opcode.WAIT, units=0), 1), (31, 2)):
        await host.fill("PROGRAM", [word], first=last)
        await host.set("CONTROL", 4)
        await host.run(start=last)
        assert await host.get("STATUS") & 7 == 4
        assert await host.get("FAULT_COUNT") == await host.get("FAULTS_ILLEGAL") == errors
        code = FaultCode.PROGRAM_END if errors == 1 else FaultCode.OPCODE
        assert await host.get("FAULT_CODE") == code
        assert await host.get("FAULT_ADDRESS") == last


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not NETWORKED)
async def await_holds_the_program(dut):
    """Nothing behind AWAIT starts before its last object is there; the watchdog ends the wait."""
    host, units = await start(dut, duty=1.0)
    units.absent = 0b10
    send = encode(
        Opcode.SEND, route=0, partial=0, slot=0, first_line=0, length=8, merge=0, object=0
    )  # fmt: skip
    program = [encode(Opcode.AWAIT, objects=0b11), send, encode(Opcode.HALT)]
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    assert not units.issued
    assert await host.get("COUNT_STALL_OBJECT") > 150
    units.absent = 0
    await host.wait()
    assert [name for name, _ in units.issued] == ["send"]

    units.objects, units.absent = 0, 0b1
    await host.set("WATCHDOG", 100)
    await host.run()
    assert await host.get("FAULT_CODE") == FaultCode.WATCHDOG
    assert await host.get("FAULT_ADDRESS") == 0
    assert len(units.issued) == 1


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not NETWORKED)
async def windows_wait_for_their_object_and_their_slots(dut):
    """GATHER waits without AWAIT; one of an object without a window is skipped."""
    host, units = await start(dut, duty=1.0)
    units.hang, units.rings[0], units.absent = {"gather", "send"}, [3], 0b1
    fields = dict.fromkeys(("block", "block_row", "block_col", "largest"), 0)

    def gather(object_, destination):
        return encode(Opcode.GATHER, object=object_, destination=destination, **fields)

    send = encode(
        Opcode.SEND, route=0, partial=0, slot=2, first_line=0, length=8, merge=0, object=0
    )  # fmt: skip
    await host.fill("PROGRAM", [send, gather(0, 1), gather(0, 2), encode(Opcode.HALT)])
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 100)
    assert [name for name, _ in units.issued] == ["send"]
    assert await host.get("COUNT_STALL_OBJECT") > 80
    units.absent = 0
    await ClockCycles(dut.clk, 100)
    assert [name for name, _ in units.issued] == ["send", "gather"]
    assert await host.get("COUNT_STALL_GATHER") > 20
    assert await host.get("COUNT_GATHER_BUSY") > 20
    units.work["gather"] = None
    await ClockCycles(dut.clk, 50)
    assert len(units.issued) == 2, "a slot is written that is being sent"
    assert await host.get("COUNT_STALL_HAZARD") > 30
    units.work["send"], units.hang = None, set()
    await host.wait()
    assert [name for name, _ in units.issued] == ["send", "gather", "gather"]

    # A window of slots waits until they are written, RELEASE until the window has been read.
    units.hang, units.gathered = {"post", "gather"}, 0b1
    units.issued.clear()
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    activate = encode(
        Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0, function=1,
        shift=0, affine=0, table=0, destination=3, destination_line=0,
    )  # fmt: skip
    release = encode(Opcode.RELEASE, objects=1)
    await host.fill("PROGRAM", [activate, gather(0, 1), release, encode(Opcode.HALT)])
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 100)
    assert [name for name, _ in units.issued] == ["post"]
    units.work["post"] = None
    await ClockCycles(dut.clk, 100)
    assert [name for name, _ in units.issued] == ["post", "gather"]
    units.work["gather"] = None
    await host.wait()
    assert [name for name, _ in units.issued] == ["post", "gather", "release"]

    units.hang, units.without_window = set(), {0}
    units.issued.clear()
    await host.set("CONTROL", 4)
    await host.fill("PROGRAM", [gather(1, 1), gather(0, 1), gather(1, 2), encode(Opcode.HALT)])
    await host.run()
    assert [payload["destination"] for _, payload in units.issued] == [1, 2]
    assert await host.get("FAULT_CODE") == FaultCode.OBJECT
    assert await host.get("FAULT_ADDRESS") == 1


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not CONFIG.sum_words)
async def sums_are_taken_when_all_is_added(dut):
    """NORMALISE waits for the window unit, which may have chunks of SCATTER."""
    host, units = await start(dut, duty=1.0)
    units.hang = {"gather"}
    program = [
        encode(Opcode.SCATTER, object=0, slot=1, block=0, block_row=0, block_col=0),
        encode(Opcode.NORMALISE, object=0, destination=2, destination_line=0),
        encode(Opcode.HALT),
    ]  # fmt: skip
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    assert [name for name, _ in units.issued] == ["gather"]
    assert await host.get("COUNT_STALL_GATHER") > 100
    units.work["gather"] = None
    await host.wait()
    assert [name for name, _ in units.issued] == ["gather", "post"]


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not NETWORKED)
@cocotb.parametrize(partial=[0, 1])
async def sends_go_on_beside_the_program(dut, partial):
    """A SEND of a slot holds up what writes the slot, one of sums what touches accumulators."""
    host, units = await start(dut, duty=1.0)
    units.hang = {"send"}
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "destination_line": 0,
    }  # fmt: skip
    send = {"route": 0, "partial": partial, "slot": 1, "first_line": 0, "length": 8}
    program = [
        encode(Opcode.SEND, **send, merge=0, object=0),
        encode(Opcode.OUTER, segment=0, slot=1, delta=2, transfer=0),
        *([] if partial else [encode(Opcode.ACTIVATE, **activate, destination=2)]),
        encode(Opcode.ACTIVATE, **activate, destination=1),
        encode(Opcode.HALT),
    ]  # fmt: skip
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    names = [name for name, _ in units.issued]
    assert names == (["send", "update"] if partial else ["send", "update", "post"])
    units.work["send"] = None
    await host.wait()
    assert [name for name, _ in units.issued] == [*names, "post"]
