# SPDX-License-Identifier: Apache-2.0
"""The units around a controller, and its host, as a bench plays them."""

import random

import cocotb
from amaranth.hdl import unsigned
from cocotb.triggers import RisingEdge

from phasecore.rtl.core.control.load_unit import LoadCommand
from phasecore.rtl.core.control.read_unit import ReadCommand
from phasecore.rtl.core.interfaces import (
    GatherCommand,
    MvmCommand,
    PostCommand,
    RowCommand,
    SendCommand,
    SumPixel,
    UpdateCommand,
)
from phasecore.rtl.spec.instructions import Unit
from phasecore.rtl.spec.registers.core import offsets, windows
from phasecore.verification.support.build import config_from_env
from phasecore.verification.support.streams import reset

__all__ = [
    "CAUSES",
    "CONFIG",
    "LAYOUTS",
    "NETWORKED",
    "PIXELS",
    "start",
]

CONFIG = config_from_env()
OFFSETS = offsets(CONFIG)
WINDOWS = windows(CONFIG)
NETWORKED = CONFIG.objects > 0
FAR_LAYOUTS = (
    {
        "send": SendCommand(CONFIG),
        "release": unsigned(CONFIG.objects),
        "gather": GatherCommand(),
    }
    if NETWORKED
    else {"load": LoadCommand(CONFIG), "read": ReadCommand(CONFIG)}
)
LAYOUTS = {
    "mvm": MvmCommand(CONFIG), "post": PostCommand(CONFIG), "update": UpdateCommand(CONFIG),
    "rows": RowCommand(CONFIG), **FAR_LAYOUTS,
}  # fmt: skip
_rng = random.Random(1)
PIXELS = [
    {
        "first_line": _rng.randrange(CONFIG.accumulator_lines),
        "count": _rng.randint(1, CONFIG.lines), "unit": _rng.randint(-128, 127),
    }
    for _ in range(16)
]  # fmt: skip
"""What the network says of the sums of each object."""
SINGLE = ("post", "update", "rows", *FAR_LAYOUTS)
UNITS = {
    "mvm": Unit.CROSSBAR, "post": Unit.POST, "update": Unit.UPDATE, "rows": Unit.PROGRAMMER,
    "load": Unit.LOAD, "read": Unit.READ, "send": Unit.READ,
    "release": Unit.READ, "gather": Unit.WINDOW,
}  # fmt: skip
CAUSES = (
    "CROSSBAR", "POST", "UPDATE", "PROGRAMMER", "LOAD", "READ",
    *(["GATHER"] if NETWORKED else []), "HAZARD", "OBJECT",
)  # fmt: skip
"""What an instruction waits for; a cycle counts for one of them."""


class Units:
    """Mock units: show a command from the next cycle on and finish it after a random time.

    Checks at every acceptance, from what is really in work, that the command may start, and keeps
    ``issued``: route, payload, and for CALIBRATE its drift. Objects of a networked core become
    ready at random (but for those of ``absent``) until they are released; ``ready`` has the mask of
    them at every acceptance. Only the window unit reads those of ``gathered``; ``rings`` has the
    slots of every object's ring, and those of ``without_window`` have none.
    """

    def __init__(self, dut, *, longest=20, duty=0.7):
        self.dut, self.longest, self.duty = dut, longest, duty
        self.issued = []
        self.windows = 0
        self.crossbar = []  # [slot, cycles until read, cycles until done]
        # [cycles left, reads, writes, special: a table, partial sums, a transfer]
        self.work = dict.fromkeys(SINGLE)
        self.queue = 0  # cycles until the pulse queue is empty
        self.calibrating = 0
        self.refuse = set()  # routes that are never ready
        self.hang = set()  # routes whose commands never end
        self.waited = {}
        self.cancels = 0
        self.objects = 0
        self.absent = 0
        self.gathered = random.getrandbits(CONFIG.objects) if NETWORKED else 0
        self.rings = [random.sample(range(4), random.randint(0, 2)) for _ in range(16)]
        self.without_window = set()
        self.looked_up = 0
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
        sources, destinations, special = set(), set(), False
        everything = (*LAYOUTS, "calibrating")
        assert self.idle("calibrating"), f"{name} during calibration"
        if name == "mvm":
            update = self.work["update"]
            assert not (update and update[3]), "MVM while thresholds are transferred"
            assert self.idle("rows"), "MVM while weights change"
            sources = {payload["slot"]}
        elif name == "post":
            if payload["from_slot"]:
                sources |= {payload["slot"]}
            if payload["delta"]:
                sources |= {payload["output"]}
            if payload["delta"] or payload["function"]:
                destinations = {payload["destination"]}
            if payload["normalise"]:
                assert self.idle("gather"), "sums taken while they are made"
            else:
                assert payload["tag"] == self.windows % 4, "wrong tag"
            special = payload["affine"] and not payload["delta"]
            loading = self.work.get("load")
            assert not (special and loading and loading[3]), "table read while it is loaded"
            assert not self.sending_sums(), "accumulators written while they are sent"
        elif name == "update":
            special = payload["transfer"]
            if payload["outer"]:
                sources = {payload["x_slot"], payload["d_slot"]}
        elif name == "rows":
            assert self.idle(*everything), "row command while a unit works"
            sources = {payload["slot"]} if payload["program"] else set()
        elif name == "load":
            special = payload["affine"]
            destinations = set() if special else {payload["slot"]}
            post = self.work["post"]
            assert not (special and post and post[3]), "table loaded while it is read"
        elif name == "read":
            sources = {payload["slot"]}
        elif name == "send":
            special = payload["partial"]
            sources = set() if payload["partial"] else {payload["slot"]}
            assert not payload["partial"] or self.idle("post"), "sums sent while they are made"
        elif name == "gather":
            sources, destinations = set(self.rings[payload["object"]]), {payload["destination"]}
            if payload["sums"]:
                sources, destinations = destinations, set()
            assert self.objects >> payload["object"] & 1, "window of an object that is not there"
        elif name == "release":
            assert self.idle("gather"), "object released while its window is read"
            if payload & ~self.gathered:
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
            self.work[name] = [cycles, sources, destinations, special]
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
            dut.network__gathered.value = self.gathered
            # What is looked up in a cycle is there in the next.
            if int(dut.lookup__en.value):
                self.looked_up = int(dut.lookup__object.value)
            dut.network__window.value = self.looked_up not in self.without_window
            dut.network__sources.value = sum(1 << slot for slot in self.rings[self.looked_up])
            pixel = PIXELS[self.looked_up]
            dut.network__pixel.value = SumPixel(CONFIG).const(pixel).as_value().value
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
        inputs |= {"network__ready": 0, "network__partial": 0, "network__pixel": 0}
    await reset(
        dut, **inputs, **{f"{name}__ready": 0 for name in LAYOUTS}, calibrating=0, windows=0,
        bus__valid=0, bus__w_strobe=15, bus__write=0, bus__address=0, bus__w_data=0,
    )  # fmt: skip
    return Host(dut), Units(dut, **options)
