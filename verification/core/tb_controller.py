# SPDX-License-Identifier: Apache-2.0
"""Controller among mock units that take random times, against a sequential interpreter."""

import random

import cocotb
from amaranth.hdl import unsigned
from cocotb.triggers import ClockCycles, RisingEdge

from phasecore.rtl.core.control.load_unit import LoadCommand
from phasecore.rtl.core.control.read_unit import StoreCommand
from phasecore.rtl.core.interfaces import (
    MvmCommand,
    PostCommand,
    RowCommand,
    SendCommand,
    UpdateCommand,
)
from phasecore.rtl.spec.instructions import Drift, Function, Opcode, Segment, Unit, encode
from phasecore.rtl.spec.registers.core import offsets, windows
from phasecore.rtl.spec.registers.table import ErrorCode, ErrorCounter, error_counter
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

CONFIG = config_from_env()
OFFSETS = offsets(CONFIG)
WINDOWS = windows(CONFIG)
NETWORKED = CONFIG.objects > 0
FAR_LAYOUTS = (
    {"send": SendCommand(CONFIG), "release": unsigned(CONFIG.objects)}
    if NETWORKED
    else {"load": LoadCommand(CONFIG), "store": StoreCommand(CONFIG)}
)
LAYOUTS = {
    "mvm": MvmCommand(CONFIG), "post": PostCommand(CONFIG), "update": UpdateCommand(CONFIG),
    "rows": RowCommand(CONFIG), **FAR_LAYOUTS,
}  # fmt: skip
SINGLE = ("post", "update", "rows", *FAR_LAYOUTS)
UNITS = {
    "mvm": Unit.CROSSBAR, "post": Unit.POST, "update": Unit.UPDATE, "rows": Unit.PROGRAMMER,
    "load": Unit.STREAM_IN, "store": Unit.STREAM_OUT, "send": Unit.STREAM_OUT,
    "release": Unit.STREAM_OUT,
}  # fmt: skip
CAUSES = ("CROSSBAR", "POST", "UPDATE", "PROGRAMMER", "LOAD", "STORE", "HAZARD", "OBJECT")
"""What an instruction waits for; a cycle counts for one of them."""
FOREIGN = (Opcode.LOAD, Opcode.READ) if NETWORKED else (Opcode.SEND, Opcode.AWAIT, Opcode.RELEASE)
"""Opcodes of the other kind of core: illegal here."""


class Units:
    """Mock units: show a command from the next cycle on and finish it after a random time.

    Checks at every acceptance, from what is really in work, that the command may start, and keeps
    ``issued``: stream, payload, and for CALIBRATE its drift. Objects of a networked core become
    ready at random (but for those of ``absent``) until they are released; ``ready`` has the mask of
    them at every acceptance.
    """

    def __init__(self, dut, *, longest=20, duty=0.7):
        self.dut, self.longest, self.duty = dut, longest, duty
        self.issued = []
        self.windows = 0
        self.crossbar = []  # [slot, cycles until read, cycles until done]
        self.work = dict.fromkeys(SINGLE)  # [cycles left, reads, writes, affine]
        self.queue = 0  # cycles until the pulse queue is empty
        self.calibrating = 0
        self.refuse = set()  # streams that are never ready
        self.hang = set()  # streams whose commands never end
        self.waited = {}
        self.cancels = 0
        self.objects = 0
        self.absent = 0
        self.ready = []
        cocotb.start_soon(self._run())

    def in_use(self):
        works = [work for work in self.work.values() if work]
        reads = {slot for slot, until, _ in self.crossbar if until > 0}
        reads |= {slot for work in works for slot in work[1]}
        return reads, {slot for work in works for slot in work[2]}

    def idle(self, *names):
        checks = {
            "mvm": not self.crossbar, "rows": not self.work["rows"] and not self.queue,
            "calibrating": not self.calibrating,
        }  # fmt: skip
        return all(checks.get(name, not self.work.get(name)) for name in names)

    def _take(self, name, payload):
        reads, writes = self.in_use()
        sources, destinations, affine = set(), set(), False
        everything = (*LAYOUTS, "calibrating")
        assert self.idle("calibrating"), f"{name} during calibration"
        if name == "mvm":
            assert self.idle("update", "rows"), "MVM while weights change"
            sources = {payload["slot"]}
        elif name == "post":
            if payload["from_slot"]:
                sources |= {payload["slot"]}
            if payload["error"]:
                sources |= {payload["output"]}
            if payload["error"] or payload["function"]:
                destinations = {payload["destination"]}
            assert payload["tag"] == self.windows % 4, "wrong tag"
            affine = payload["affine"] and not payload["error"]
            loading = self.work.get("load")
            assert not (affine and loading and loading[3]), "table read while it is loaded"
            assert not self.sending_sums(), "accumulators written while they are sent"
        elif name == "update":
            if payload["outer"]:
                sources = {payload["x_slot"], payload["d_slot"]}
        elif name == "rows":
            assert self.idle(*everything), "row command while a unit works"
            sources = {payload["slot"]} if payload["program"] else set()
        elif name == "load":
            affine = payload["affine"]
            destinations = set() if affine else {payload["slot"]}
            post = self.work["post"]
            assert not (affine and post and post[3]), "table loaded while it is read"
        elif name == "store":
            sources = {payload["slot"]}
        elif name == "send":
            affine = payload["partial"]
            sources = set() if payload["partial"] else {payload["slot"]}
            assert not payload["partial"] or self.idle("post"), "sums sent while they are made"
        elif name == "release":
            assert not reads, "object released while slots are read"
            assert self.idle("post"), "sums released while they are made"
            assert not self.sending_sums(), "sums released while they are sent"
            self.objects &= ~payload
        assert not sources & writes, f"{name} reads a slot that is being written"
        assert not destinations & (reads | writes), f"{name} writes a slot in use"
        # One more cycle, because the cycle of the acceptance counts at once.
        cycles = 10**9 if name in self.hang else random.randint(1, self.longest) + 1
        if name == "mvm":
            self.windows += 1
            self.crossbar.append([payload["slot"], random.randint(1, self.longest) + 1, cycles])
        else:
            assert self.work[name] is None, f"{name} is not idle"
            self.work[name] = [cycles, sources, destinations, affine]
        self.issued.append((name, payload))

    def sending_sums(self):
        """A partial SEND is in work."""
        send = self.work.get("send")
        return bool(send and send[3])

    def _advance(self):
        for entry in self.crossbar:
            entry[1] -= 1
        if self.crossbar and self.crossbar[0][1] <= 0:
            self.crossbar[0][2] -= 1
            if self.crossbar[0][2] <= 0:
                self.crossbar.pop(0)
        self.queue = max(0, self.queue - 1)
        self.calibrating = max(0, self.calibrating - 1)
        for name, work in self.work.items():
            if work:
                work[0] -= 1
                if work[0] <= 0:
                    self.work[name] = None
                    if name == "update":
                        self.queue = random.randint(0, self.longest)

    def _show(self):
        dut = self.dut

        busy = dict.fromkeys(Unit, False)
        slots = {(unit, part): set() for unit in Unit for part in ("reads", "writes")}
        busy[Unit.CROSSBAR] = bool(self.crossbar)
        busy[Unit.PROGRAMMER] = self.queue > 0
        slots[Unit.CROSSBAR, "reads"] = {slot for slot, until, _ in self.crossbar if until > 0}
        for name, work in self.work.items():
            if work:
                busy[UNITS[name]] = True
                slots[UNITS[name], "reads"] |= work[1]
                slots[UNITS[name], "writes"] |= work[2]
        for unit in Unit:
            getattr(dut, f"units__{unit.name.lower()}__busy").value = busy[unit]
        for (unit, part), used in slots.items():
            getattr(dut, f"units__{unit.name.lower()}__{part}").value = sum(
                1 << slot for slot in used
            )
        dut.windows.value = self.windows % 4
        dut.calibrating.value = self.calibrating > 0
        if NETWORKED:
            dut.network__partial.value = self.sending_sums()
            for index in range(CONFIG.objects):
                if random.random() < 0.2:
                    self.objects |= 1 << index
            self.objects &= ~self.absent
            dut.network__ready.value = self.objects
        for name in LAYOUTS:
            room = len(self.crossbar) < 2 if name == "mvm" else self.work[name] is None
            ready = room and name not in self.refuse and random.random() < self.duty
            getattr(dut, f"{name}__ready").value = ready

    async def _run(self):
        self._show()
        while True:
            await RisingEdge(self.dut.clk)
            taken = []
            for name, layout in LAYOUTS.items():
                port = {part: getattr(self.dut, f"{name}__{part}") for part in ("valid", "ready")}
                word = int(getattr(self.dut, f"{name}__payload").value)
                held = self.waited.pop(name, None)
                if not int(port["valid"].value):
                    assert held is None, f"{name} withdrawn"
                    continue
                assert held in (None, word), f"{name} changed while it waited"
                if int(port["ready"].value):
                    if name == "release":
                        taken.append((name, word))
                    else:
                        constant = layout.from_bits(word)
                        taken.append((name, {key: constant[key] for key, _ in layout}))
                else:
                    self.waited[name] = word
            calibrate = int(self.dut.calibrate.value)
            assert len(taken) + calibrate <= 1, "two commands in one cycle"
            self.cancels += int(self.dut.cancel.value)
            for name, payload in taken:
                self.ready.append(self.objects)
                self._take(name, payload)
            if calibrate:
                assert self.idle(*LAYOUTS, "calibrating"), "CALIBRATE while a unit works"
                self.ready.append(self.objects)
                self.issued.append(("calibrate", {"drift": int(self.dut.drift.value)}))
                self.calibrating = random.randint(1, self.longest) + 1
            self._advance()
            self._show()


class Host:
    """Register bus without AXI."""

    def __init__(self, dut):
        self.dut = dut

    async def access(self, address, value=None):
        dut = self.dut
        dut.bus__valid.value = 1
        dut.bus__address.value = address >> 2
        dut.bus__write.value = value is not None
        dut.bus__w_data.value = value or 0
        await RisingEdge(dut.clk)
        while not int(dut.bus__ready.value):
            await RisingEdge(dut.clk)
        dut.bus__valid.value = 0
        result = int(dut.bus__r_data.value), int(dut.bus__error.value)
        await RisingEdge(dut.clk)
        return result

    async def get(self, name):
        value, error = await self.access(OFFSETS[name])
        assert not error, name
        return value

    async def set(self, name, value):
        _, error = await self.access(OFFSETS[name], value)
        assert not error, name

    async def fill(self, name, entries, first=0):
        window = WINDOWS[name]
        for index, entry in enumerate(entries, first):
            for word in range(window.words):
                address = window.address(index, word)
                _, error = await self.access(address, entry >> 32 * word & 0xFFFFFFFF)
                assert not error, hex(address)

    async def wait(self, bit=0, value=0):
        """Wait until a STATUS bit has a value."""
        while (await self.get("STATUS") >> bit & 1) != value:
            pass

    async def run(self, start=0):
        await self.set("START", start)
        await self.set("CONTROL", 1)
        await self.wait()


async def start(dut, **options):
    inputs = {
        f"units__{unit.name.lower()}__{part}": 0
        for unit in Unit
        for part in ("busy", "reads", "writes")
    }
    if NETWORKED:
        inputs |= {"network__ready": 0, "network__partial": 0}
    await reset(
        dut, **inputs, **{f"{name}__ready": 0 for name in LAYOUTS}, calibrating=0, windows=0,
        bus__valid=0, bus__w_strobe=15, bus__write=0, bus__address=0, bus__w_data=0,
    )  # fmt: skip
    return Host(dut), Units(dut, **options)


def random_segments():
    segments = []
    for _ in range(CONFIG.segments):
        area = {}
        for axis, size in (("row", CONFIG.rows), ("col", CONFIG.cols)):
            first = random.randrange(size)
            area[f"{axis}_start"] = first
            room = size - first
            area[f"{axis}_count"] = random.choice([1, room, random.randint(1, room)])
        segment = Segment(
            **area, threshold=random.choice([1, 2 ** (CONFIG.chi_bits - 1) - 1]),
            chi_shift=random.randint(-128, 127),
            range_forward=random.choice([CONFIG.range_min, CONFIG.range_max]),
            range_backward=random.randint(CONFIG.range_min, CONFIG.range_max),
        )  # fmt: skip
        segment.check(CONFIG)
        segments.append(segment)
    return segments


OPCODES = [code for code in Opcode if code not in (Opcode.HALT, Opcode.LOOP, *FOREIGN)]


def random_fields(opcode, segments):
    """Legal fields of an instruction; few slots, so that hazards are frequent."""
    index = random.randrange(CONFIG.segments)
    segment = segments[index]

    def slot():
        return random.choice([0, 1, 2, CONFIG.slots - 1])

    post = {
        "segment": index, "side": random.randrange(2), "from_slot": random.randrange(2),
        "slot": slot(), "destination": slot(), "start": random.randrange(CONFIG.lines),
    }  # fmt: skip
    mvm = {
        "segment": index, "slot": slot(), "precision": random.randint(5, CONFIG.input_bits),
        "input_signs": random.randrange(4), "polarities": random.randrange(4),
    }  # fmt: skip
    first = 8 * random.randrange(CONFIG.lines // 8)
    affine = random.randrange(2)
    return {
        Opcode.LOAD: lambda: {
            "affine": affine,
            "slot": random.randrange(CONFIG.affine_tables) if affine else slot(),
        },
        Opcode.READ: lambda: {
            "slot": slot(), "start": first,
            "length": random.choice([1, CONFIG.lines - first]),
        },
        Opcode.FORWARD: lambda: mvm,
        Opcode.BACKWARD: lambda: mvm,
        Opcode.ACTIVATE: lambda: post | {
            "accumulate": random.randrange(2), "function": random.choice(list(Function)),
            "shift": random.randrange(16), "affine": random.randrange(2),
            "table": random.randrange(CONFIG.affine_tables),
        },
        Opcode.ERROR: lambda: post | {
            "output": slot(), "function": random.choice(list(Function)[1:]),
            "fixed": random.randrange(2), "shift": random.randrange(32),
            "bias": random.randint(-64, 63),
        },
        Opcode.OUTER: lambda: {
            "segment": index, "slot": slot(), "error": slot(), "transfer": random.randrange(2),
        },
        Opcode.TRANSFER: lambda: {"segment": index},
        Opcode.REFRESH: lambda: {"segment": index, "all_rows": random.randrange(2)},
        Opcode.PROGRAM: lambda: {
            "segment": index, "slot": slot(),
            "row": random.randrange(segment.row_start, segment.row_start + segment.row_count),
        },
        Opcode.CALIBRATE: lambda: {"drift": random.choice(list(Drift))},
        Opcode.WAIT: lambda: {"units": random.randrange(1 << len(Unit))},
        Opcode.SEND: lambda: {
            "stream": random.randrange(CONFIG.streams), "partial": random.randrange(2),
            "slot": slot(), "start": first, "length": random.choice([1, CONFIG.lines - first]),
            "merge": random.randrange(2), "object": random.randrange(CONFIG.objects),
        },
        Opcode.AWAIT: lambda: {"objects": random.randrange(1 << CONFIG.objects)},
        Opcode.RELEASE: lambda: {"objects": random.randrange(1 << CONFIG.objects)},
    }[opcode]()  # fmt: skip


def expected_command(opcode, values, segments, windows_issued):
    """Stream and the payload fields that matter, or None."""
    segment = segments[values["segment"]] if "segment" in values else None
    area = ("row_start", "row_count", "col_start", "col_count")
    if opcode in (Opcode.FORWARD, Opcode.BACKWARD):
        back = opcode is Opcode.BACKWARD
        return "mvm", {
            **{key: values[key] for key in ("slot", "precision", "input_signs", "polarities")},
            "source": 0, "backward": int(back),
            "start": segment.col_start if back else segment.row_start,
            "count": segment.col_count if back else segment.row_count,
            "range": segment.range_backward if back else segment.range_forward,
        }  # fmt: skip
    if opcode in (Opcode.ACTIVATE, Opcode.ERROR):
        kept = {key: value for key, value in values.items() if key not in ("segment", "side")}
        side = values["side"]
        return "post", {
            **kept, "error": int(opcode is Opcode.ERROR), "tag": windows_issued % 4,
            "first": values["start"],
            "start": segment.row_start if side else segment.col_start,
            "count": segment.row_count if side else segment.col_count,
        }  # fmt: skip
    if opcode is Opcode.OUTER or opcode is Opcode.TRANSFER:
        fields = {key: getattr(segment, key) for key in (*area, "threshold", "chi_shift")}
        if opcode is Opcode.TRANSFER:
            return "update", {**fields, "outer": 0, "transfer": 1}
        return "update", {
            **fields, "outer": 1, "transfer": values["transfer"], "x_slot": values["slot"],
            "d_slot": values["error"],
        }  # fmt: skip
    if opcode in (Opcode.REFRESH, Opcode.PROGRAM):
        fields = {key: getattr(segment, key) for key in area}
        if opcode is Opcode.REFRESH:
            return "rows", {**fields, "program": 0, "all_rows": values["all_rows"]}
        return "rows", {**fields, "program": 1, "row": values["row"], "slot": values["slot"]}
    if opcode is Opcode.LOAD:
        return "load", values
    if opcode is Opcode.READ:
        return "store", values
    if opcode is Opcode.SEND:
        return "send", values
    if opcode is Opcode.RELEASE:
        return "release", values["objects"]
    return ("calibrate", values) if opcode is Opcode.CALIBRATE else None


def interpret(program, segments):
    """Commands of a program ((opcode, values) pairs, or None for an illegal one), in order.

    Each with the mask of the objects that were awaited and not released since.
    """
    loops, pc, windows_issued, count, awaited = [0, 0], 0, 0, 0, 0
    commands = []
    while True:
        item = program[pc]
        pc += 1
        if item is None:
            continue
        opcode, values = item
        count += 1
        if opcode is Opcode.HALT:
            return commands, count
        if opcode is Opcode.LOOP:
            loop = values["counter"]
            loops[loop] += 1
            if loops[loop] == values["count"]:
                loops[loop] = 0
            else:
                pc = values["target"]
            continue
        if opcode is Opcode.AWAIT:
            awaited |= values["objects"]
        command = expected_command(opcode, values, segments, windows_issued)
        if command:
            windows_issued += command[0] == "mvm"
            commands.append((*command, awaited))
        if opcode is Opcode.RELEASE:
            awaited &= ~values["objects"]


def compare(units, commands):
    for index, ((name, payload), ready, (wanted_name, wanted, awaited)) in enumerate(
        zip(units.issued, units.ready, commands, strict=False)
    ):
        assert name == wanted_name, f"command {index}: {name} {payload}, expected {wanted_name}"
        assert not awaited & ~ready, f"command {index}: {name} before {awaited & ~ready:#x} came"
        if name == "release":
            assert payload == wanted, f"command {index}: released {payload:#x}, not {wanted:#x}"
            continue
        for key, value in wanted.items():
            assert payload[key] == value, f"{name} {index}: {key} {payload[key]}, expected {value}"
    assert len(units.issued) == len(commands)


def words(program):
    return [
        random.choice([31, *FOREIGN]) if item is None else encode(item[0], **item[1])
        for item in program
    ]


HALT = (Opcode.HALT, {})


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
        body.insert(20, (Opcode.LOOP, {"counter": 0, "target": 12, "count": inner}))
        body.append((Opcode.LOOP, {"counter": 1, "target": 4, "count": outer}))
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
        sent = names.count("send" if NETWORKED else "store")
        assert await host.get("COUNT_READS") == sent
        # Fetch, check and issue; skipped in the check; one more after what runs alone.
        alone = names.count("rows") + names.count("calibrate")
        illegal = await host.get("ERROR_COUNT")
        stalls = sum([await host.get(f"COUNT_STALL_{cause}") for cause in CAUSES])
        assert await host.get("COUNT_CYCLES") == 3 * count + 2 * illegal + alone + stalls


def illegal_instructions():
    """(what, word, code) of every reason; segment 0 is legal, 1 and up are not."""
    slots, lines = CONFIG.slots, CONFIG.lines
    mvm = {"segment": 0, "slot": 0, "precision": 5, "input_signs": 3, "polarities": 3}
    activate = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "destination": 0, "start": 0,
    }  # fmt: skip
    error = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "output": 0, "function": 1, "fixed": 0,
        "shift": 0, "bias": 0, "destination": 0, "start": 0,
    }  # fmt: skip
    read = {"slot": 0, "start": 0, "length": 8}
    send = read | {"stream": 0, "partial": 0, "merge": 0, "object": 0}
    outer = {"segment": 0, "slot": 0, "error": 0, "transfer": 0}
    program = {"segment": 0, "row": 3, "slot": 0}
    loop = {"counter": 0, "target": 0, "count": 1}
    cases = [
        (Opcode.FORWARD, mvm, {"slot": slots}, ErrorCode.SLOT),
        (Opcode.FORWARD, mvm, {"precision": 4}, ErrorCode.PRECISION),
        (Opcode.BACKWARD, mvm, {"precision": CONFIG.input_bits + 1}, ErrorCode.PRECISION),
        (Opcode.ACTIVATE, activate, {"slot": slots}, ErrorCode.SLOT),
        (Opcode.ACTIVATE, activate, {"destination": slots}, ErrorCode.SLOT),
        (Opcode.ACTIVATE, activate, {"table": CONFIG.affine_tables}, ErrorCode.SLOT),
        (Opcode.ACTIVATE, activate, {"start": lines}, ErrorCode.LINE),
        (Opcode.ACTIVATE, activate, {"function": 5}, ErrorCode.FUNCTION),
        (Opcode.ERROR, error, {"function": 0}, ErrorCode.FUNCTION),
        (Opcode.ERROR, error, {"function": 7}, ErrorCode.FUNCTION),
        (Opcode.ERROR, error, {"output": slots}, ErrorCode.SLOT),
        (Opcode.ERROR, error, {"start": lines}, ErrorCode.LINE),
        (Opcode.OUTER, outer, {"error": slots}, ErrorCode.SLOT),
        (Opcode.CALIBRATE, {}, {"drift": 3}, ErrorCode.FUNCTION),
        (Opcode.LOAD, {"affine": 0, "slot": 0}, {"slot": slots}, ErrorCode.SLOT),
        (Opcode.LOAD, {"affine": 1, "slot": 0}, {"slot": CONFIG.affine_tables}, ErrorCode.SLOT),
        *((opcode, fields, change, code)
          for opcode, fields in ((Opcode.READ, read), (Opcode.SEND, send))
          for change, code in (
              ({"slot": slots}, ErrorCode.SLOT),
              ({"start": 4}, ErrorCode.LINE),
              ({"length": 0}, ErrorCode.LINE),
              ({"start": 8, "length": lines - 7}, ErrorCode.LINE),
          )),
        (Opcode.SEND, send, {"stream": CONFIG.streams}, ErrorCode.OBJECT),
        (Opcode.SEND, send, {"object": CONFIG.objects}, ErrorCode.OBJECT),
        (Opcode.AWAIT, {}, {"objects": 1 << CONFIG.objects}, ErrorCode.OBJECT),
        (Opcode.RELEASE, {}, {"objects": 1 << 15}, ErrorCode.OBJECT),
        (Opcode.PROGRAM, program, {"row": 2}, ErrorCode.LINE),
        (Opcode.PROGRAM, program, {"row": 5}, ErrorCode.LINE),
        (Opcode.LOOP, loop, {"count": 0}, ErrorCode.LOOP_COUNT),
        (Opcode.LOOP, loop, {"target": CONFIG.program_depth}, ErrorCode.TARGET),
        *((Opcode.TRANSFER, {"segment": 0}, {"segment": index}, ErrorCode.SEGMENT)
          for index in range(1, 16)),
        (Opcode.REFRESH, {"segment": 0, "all_rows": 0}, {"segment": 1}, ErrorCode.SEGMENT),
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
        yield f"foreign {opcode.name}", int(opcode), ErrorCode.OPCODE
    yield "opcode 31", 31, ErrorCode.OPCODE
    yield "HALT with a bit", encode(Opcode.HALT) | 1 << 63, ErrorCode.UNUSED_BITS
    yield "WAIT with a bit", encode(Opcode.WAIT, units=0) | 1 << 11, ErrorCode.UNUSED_BITS
    yield "FORWARD with a bit", encode(Opcode.FORWARD, **mvm) | 1 << 22, ErrorCode.UNUSED_BITS


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def illegal_instructions_are_skipped(dut):
    """Every reason: code, address and counter; the next instruction runs as if it were absent."""
    host, units = await start(dut, longest=2)
    good = Segment(row_start=3, row_count=2, col_start=0, col_count=CONFIG.cols)
    broken = [
        {"row_count": 0}, {"col_count": 0}, {"row_count": CONFIG.rows - 2},
        {"col_start": 1}, {"threshold": 0}, {"threshold": 2 ** (CONFIG.chi_bits - 1)},
        {"range_forward": CONFIG.range_min - 1}, {"range_backward": CONFIG.range_max + 1},
        {"row_start": 0xFFFF, "row_count": 0xFFFF},
    ]  # fmt: skip
    for first in range(0, len(broken), CONFIG.segments - 1):
        bad = [Segment(**vars(good) | change) for change in broken[first:][: CONFIG.segments - 1]]
        bad += [bad[0]] * (CONFIG.segments - 1 - len(bad))
        await host.fill("SEGMENT", [good.pack(), *(segment.pack() for segment in bad)])
        for what, word, code in illegal_instructions():
            if first and code is not ErrorCode.SEGMENT:
                continue
            await host.set("CONTROL", 1 << 2)
            units.issued.clear()
            transfer = encode(Opcode.TRANSFER, segment=0)
            await host.fill("PROGRAM", [transfer, word, transfer, encode(Opcode.HALT)])
            await host.run()
            names = [name for name, _ in units.issued]
            assert names == ["update", "update"], f"{what}: issued {names}"
            assert await host.get("ERROR_CODE") == code, what
            assert await host.get("ERROR_ADDRESS") == 1, what
            for counter in ErrorCounter:
                count = await host.get(f"ERRORS_{counter.name}")
                assert count == (counter == error_counter(code)), f"{what}: {counter.name}"


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
    units.hang = {"load", "mvm", "post", "store"}
    mvm = {"segment": 0, "slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
    activate = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 1, "table": 0, "destination": 1, "start": 0,
    }  # fmt: skip
    program = [
        encode(Opcode.FORWARD, **mvm), encode(Opcode.ACTIVATE, **activate),
        encode(Opcode.LOAD, affine=0, slot=2), encode(Opcode.READ, slot=3, start=0, length=8),
        encode(Opcode.FORWARD, **mvm | {"slot": 3}),
        encode(Opcode.OUTER, segment=0, slot=0, error=3, transfer=1),
        encode(Opcode.WAIT, units=1 << Unit.UPDATE),
        encode(Opcode.OUTER, segment=0, slot=0, error=1, transfer=1),
    ]  # fmt: skip
    await host.fill("PROGRAM", program)
    await host.set("CONTROL", 1)
    await ClockCycles(dut.clk, 200)
    names = [name for name, _ in units.issued]
    assert names == ["mvm", "post", "load", "store", "mvm", "update"], names
    assert await host.get("PC") == 7
    hazard = await host.get("COUNT_STALL_HAZARD")
    assert hazard > 100
    for cause, unit in (("POST", "post"), ("LOAD", "load"), ("STORE", "store")):
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
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "destination": 1, "start": 0,
    }  # fmt: skip
    program = [
        encode(Opcode.ACTIVATE, **activate),
        encode(Opcode.OUTER, segment=0, slot=2, error=3, transfer=0),
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
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 1, "table": 1, "destination": 1, "start": 0,
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
    assert await host.get("ERROR_COUNT") == 0
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
    assert await host.get("ERROR_CODE") == ErrorCode.WATCHDOG
    assert await host.get("ERROR_ADDRESS") == 3
    assert await host.get("ERRORS_WATCHDOG") == await host.get("ERROR_COUNT") == 1
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
        assert await host.get("ERROR_COUNT") == await host.get("ERRORS_ILLEGAL") == errors
        code = ErrorCode.PROGRAM_END if errors == 1 else ErrorCode.OPCODE
        assert await host.get("ERROR_CODE") == code
        assert await host.get("ERROR_ADDRESS") == last


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not NETWORKED)
async def await_holds_the_program(dut):
    """Nothing behind AWAIT starts before its last object is there; the watchdog ends the wait."""
    host, units = await start(dut, duty=1.0)
    units.absent = 0b10
    send = encode(
        Opcode.SEND, stream=0, partial=0, slot=0, start=0, length=8, merge=0, object=0
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
    assert await host.get("ERROR_CODE") == ErrorCode.WATCHDOG
    assert await host.get("ERROR_ADDRESS") == 0
    assert len(units.issued) == 1


@cocotb.test(timeout_time=5, timeout_unit="ms", skip=not NETWORKED)
@cocotb.parametrize(partial=[0, 1])
async def sends_go_on_beside_the_program(dut, partial):
    """A SEND of a slot holds up what writes the slot, one of sums what touches accumulators."""
    host, units = await start(dut, duty=1.0)
    units.hang = {"send"}
    segment = Segment(row_start=0, row_count=8, col_start=0, col_count=8)
    await host.fill("SEGMENT", [segment.pack()])
    activate = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0, "function": 1,
        "shift": 0, "affine": 0, "table": 0, "start": 0,
    }  # fmt: skip
    send = {"stream": 0, "partial": partial, "slot": 1, "start": 0, "length": 8}
    program = [
        encode(Opcode.SEND, **send, merge=0, object=0),
        encode(Opcode.OUTER, segment=0, slot=1, error=2, transfer=0),
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
