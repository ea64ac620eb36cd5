# SPDX-License-Identifier: Apache-2.0
"""The host bridge on the way out: messages of the cores become packets to the host."""

import random

import cocotb

from phasecore.rtl.spec.instructions import CREDITS_MAX, MEMBERS
from phasecore.rtl.spec.messages import MessageKind, message_fields, message_head
from phasecore.rtl.spec.packets import HEADER as FLIT_HEADER
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.chip.bridge_bench import (
    CHANNELS,
    CHIP,
    LINES,
    NOC,
    STALLS,
    compare,
    credit_of,
    header_fields,
    messages,
    random_message,
    random_object,
    random_route,
    shown,
    start,
    vector,
)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def messages_become_results(dut, duty, pauses):
    """Of all channels at once, some cancelled; results in order of heads, credits for each last."""
    bench = await start(dut, duty=duty, pauses=pauses)
    for index in range(CHIP.host_objects):
        await bench.define(index, random_object())
    made, free = [[] for _ in CHANNELS], CHIP.bridge_flits
    credits, expected, cancelled = [], [], 0
    for _ in range(100):
        vc, number = random.choice(CHANNELS), random.randrange(CHIP.host_objects)
        words, result = random_message(vc, number, last=random.random() < 0.6)
        cancel = random.randint(1, len(words)) if random.random() < 0.2 else 0
        cancel = cancel if cancel < len(words) else 0
        while free < len(words):
            await bench.settle()
            free = CHIP.bridge_flits
        free -= len(words)
        bench.router.send(vc, words, cancel=cancel)
        made[vc].append(None if cancel else result)
        cancelled += bool(cancel)
        if message_fields(words[0])["last"] and not cancel:
            credits.append(credit_of(bench.objects[number]))
    await bench.settle()
    for vc, _ in bench.router.heads:
        result = made[vc].pop(0)
        expected += [] if result is None else [result]
    assert await bench.results() == expected
    assert sorted(bench.router.packets) == sorted(credits)
    assert bench.router.faults == [FaultCode.NOC_CANCELLED] * cancelled


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def bad_messages_are_dropped(dut, duty):
    """Every kind, with data behind the head; the messages around it arrive."""
    bench = await start(dut, duty=duty)
    await bench.define(0, random_object())
    await bench.define(1, random_object(enable=0))
    await bench.define(2, random_object(vc=3))
    await bench.define(0, random_route(credits=CREDITS_MAX - 5, consumers=2))
    await bench.define(3, random_route(consumers=MEMBERS + 1))
    expected = []
    wrong = list(bad_messages())
    random.shuffle(wrong)
    for code, vc, words in wrong:
        good, result = random_message(vc, 0)
        bench.router.send(vc, words)
        bench.router.send(vc, good)
        await bench.settle()
        expected.append(result)
        assert bench.router.faults == [code], f"{bench.router.faults} for {shown((vc, words))}"
        bench.router.faults.clear()
    assert await bench.results() == expected
    assert bench.router.packets == [credit_of(bench.objects[0])] * len(expected)
    # Nothing but the credits that were too many changed those of the route.
    bench.router.packets.clear()
    bench.credit(0, 7)
    await bench.settle()
    assert bench.router.faults == [FaultCode.NOC_CREDIT]
    bench.router.faults.clear()
    bench.credit(0, 5, member=1)
    await bench.settle()
    assert bench.router.faults == []
    bench.credit(0, 1, member=1)
    await bench.settle()
    assert bench.router.faults == [FaultCode.NOC_CREDIT]


def bad_messages():
    """(FaultCode, channel, words) of messages that the bridge must refuse."""

    def words(kind, number, *, start=0, data=1, trim=0, value=0, last=1):
        vc = random.choice(CHANNELS)
        fields = {
            "kind": kind, "object": number, "start": start, "trim": trim, "value": value,
            "last": last,
        }  # fmt: skip
        head = message_head(FLIT_HEADER.pack(**header_fields(vc), length=1 + data), **fields)
        return vc, [head, *(random.getrandbits(64) for _ in range(data))]

    vector_, partial = MessageKind.VECTOR, MessageKind.PARTIAL
    undefined = [1, CHIP.host_objects - 1, CHIP.host_objects % 16, 15]
    undefined += [2] if NOC.virtual_channels < 4 else []
    for number in undefined:
        yield FaultCode.NOC_OBJECT, *words(vector_, number)
    yield FaultCode.NOC_OBJECT, *words(partial, 0)
    yield FaultCode.NOC_OBJECT, *words(partial, 0, data=8)
    yield FaultCode.NOC_OBJECT, *words(MessageKind.AFFINE, 0, data=2)
    yield FaultCode.NOC_RANGE, *words(vector_, 0, data=0)
    yield FaultCode.NOC_RANGE, *words(vector_, 0, start=LINES // 8)
    yield FaultCode.NOC_RANGE, *words(vector_, 0, start=LINES // 8 - 1, data=2, trim=7)
    yield FaultCode.NOC_RANGE, *words(vector_, 0, start=255, data=8)
    yield FaultCode.NOC_OBJECT, *words(MessageKind.CREDIT, 1, data=0, value=3)
    yield FaultCode.NOC_OBJECT, *words(MessageKind.CREDIT, 15, data=0, value=3)
    yield FaultCode.NOC_OBJECT, *words(MessageKind.CREDIT, 3, data=0, value=3)
    for member in (2, MEMBERS, 255):
        yield FaultCode.NOC_OBJECT, *words(MessageKind.CREDIT, 0, data=0, value=3, start=member)
    yield FaultCode.NOC_RANGE, *words(MessageKind.CREDIT, 0, data=1, value=3)
    yield FaultCode.NOC_RANGE, *words(MessageKind.CREDIT, 0, data=5, value=3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_host_that_does_not_read_stops_its_producers_only(dut):
    """What fits is kept, the rest dropped; credits and the host's own packets pass."""
    bench = await start(dut)
    await bench.define(0, random_object())
    await bench.define(0, random_route(credits=0))
    bench.sink.pause = True
    kept, room, dropped = [], CHIP.bridge_flits, 0
    for _ in range(200):
        vc = random.choice(CHANNELS)
        words, result = random_message(vc, 0)
        bench.router.send(vc, words)
        await bench.settle(8)
        if len(words) <= room:
            room -= len(words)
            kept.append(result)
        else:
            dropped += 1
    assert room < 9
    assert bench.router.faults == [FaultCode.NOC_CREDIT] * dropped
    assert bench.router.packets == []
    for vc in CHANNELS:
        packet, codes = vector(0)
        bench.give(packet)
        bench.credit(0, vc=vc)
        await bench.settle()
        compare(bench.router.packets, messages(bench.routes[0], codes, 0))
        bench.router.packets.clear()
    bench.sink.pause = False
    await bench.settle()
    assert await bench.results() == kept
    assert bench.router.packets == [credit_of(bench.objects[0])] * len(kept)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def channels_do_not_wait_for_each_other(dut):
    """A packet that stops in its middle holds up later results; one that is dropped does not."""
    bench = await start(dut)
    for vc in CHANNELS:
        await bench.define(vc, random_object(vc=vc))
    if NOC.virtual_channels > 1:
        nobody, _ = random_message(0, 15)
        bench.router.queues[0].append((1, 0, nobody[0]))
        await bench.settle()
        words, result = random_message(1, 1)
        bench.router.send(1, words)
        await bench.settle()
        assert await bench.results() == [result]
        bench.router.queues[0].append((0, 1, 0))
        await bench.settle()
    words, result = random_message(0, 0)
    head, rest = words[:1], words[1:]
    bench.router.queues[0].append((1, 0, head[0]))
    await bench.settle()
    others = []
    for vc in CHANNELS[1:]:
        more, other = random_message(vc, vc)
        bench.router.send(vc, more)
        await bench.settle()
        others.append(other)
    assert bench.sink.empty(), "results come in order of their heads"
    for index, word in enumerate(rest):
        bench.router.queues[0].append((0, int(index == len(rest) - 1), word))
    await bench.settle()
    assert await bench.results() == [result, *others]
