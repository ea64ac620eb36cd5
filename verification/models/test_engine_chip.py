# SPDX-License-Identifier: Apache-2.0
"""Compiled chips have the bits of the oracle: messages between cores, deadlocks."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.noc import NocFault
from phasecore.models.golden.packets import affine_packet, header, vector_packet
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)
from phasecore.verification.cosim.random_chip import SEGMENT, Pipeline
from phasecore.verification.models.same import (
    FORWARD,
    HALT,
    assert_same_chip,
    assert_same_results,
    assert_same_traces,
    configure,
    error,
)
from phasecore.verification.oracle.chip import Chip as OracleChip

CHIP = CHIPS["tiny"]
LINES = CHIP.core.lines


def send(route, **values):
    defaults = {"partial": 0, "slot": 0, "first_line": 0, "length": LINES, "merge": 0, "object": 0}
    return encode(Opcode.SEND, route=route, **{**defaults, **values})


def fill_slots(core, seed):
    """Codes of any sign in all slots."""
    size = CHIP.core.slots, LINES
    core.slots[: size[0]] = np.random.default_rng(seed).integers(-128, 128, size)


def both(objects, routes, *works):
    """Run works (programs, packets) on oracle and model; both chips, and the errors of the last."""
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    errors = []
    for chip in chips:
        configure(chip, objects, routes)
        for node, core in chip.cores.items():
            core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
            fill_slots(core, node)
            core.post.accumulators[:] = 1 << 22
            core.exponents[:] = np.arange(len(core.exponents)) - 4
    for programs, packets in works:
        results = []
        for chip in chips:
            try:
                results.append(chip.run(programs, packets))
                errors.append("")
            except ValueError as error:
                errors.append(str(error))
        if len(results) == 2:
            assert_same_results(*results)
    assert_same_chip(*chips)
    return chips, errors[-2:]


def at(node, **values):
    x, y = CHIP.place(node)
    return {"x": x, "y": y, **values}


def ring(node, route, slot=0, depth=1, **values):
    """Object of vectors from a route of a node, on a ring of slots."""
    return ObjectDescriptor(**at(node, route=route), **slot_ring(CHIP.core, slot, depth), **values)


def test_everything_that_fabrics_drop():
    """Rings that are full, sums for vectors, undefined or unreachable consumers and producers."""
    vector, sums = ring(0, 0), ring(0, 7)
    objects = {
        1: [vector, replace(sums, partial=1), replace(vector, x=7, y=7)],
        3: [ring(CHIP.host, 0)],
        CHIP.host: [ObjectDescriptor(**at(0, route=2))],
    }
    routes = {
        0: [
            RouteDescriptor(object=0, **at(1), credits=9),
            RouteDescriptor(object=1, **at(1), credits=9),
            RouteDescriptor(object=3, x=7, y=0, credits=9),
            RouteDescriptor(object=2, multicast=1, cols=7, rows=1, credits=9, consumers=3),
        ],
        CHIP.host: [
            RouteDescriptor(object=0, **at(3), credits=3),
            RouteDescriptor(object=1, **at(3)),
            RouteDescriptor(object=6, **at(3)),
            RouteDescriptor(object=1, enable=0, **at(3)),
        ],
    }
    programs = {
        0: [
            send(0, slot=3), send(0), send(0, partial=1), send(1), send(1, partial=1, length=9),
            send(1, partial=1, first_line=8, length=8), send(2), send(3), send(2, partial=1), HALT,
        ],
    }  # fmt: skip
    codes = np.arange(16)
    affine = affine_packet(codes + 200, codes - 9, config=CHIP.core, slot=1)
    packets = [
        b"short", vector_packet(codes, config=CHIP.core), affine,
        affine_packet(codes, codes, config=CHIP.core, slot=2),
        vector_packet(codes, config=CHIP.core, slot=3),
        vector_packet(codes, config=CHIP.core, slot=200),
        header(PacketKind.VECTOR, start=8, length=16, slot=0) + bytes(16), affine[:-2],
    ]  # fmt: skip
    release = encode(Opcode.RELEASE, objects=0b0111)
    (one, _), errors = both(
        objects, routes, (programs, packets), ({1: [release, release, HALT]}, []),
        ({3: [encode(Opcode.RELEASE, objects=0b1111), HALT]}, []),
    )  # fmt: skip
    assert errors == ["", ""]
    assert one.undeliverable == 3
    assert one.host.malformed == 3
    counted = [node.faults for node in (*one.interfaces.values(), one.host)]
    found = {error.name for errors in counted for error, count in errors.items() if count}
    assert found == {"NOC_OBJECT", "NOC_CREDIT"}


def test_the_ends_of_slots_channels_and_credits():
    """By hand: a ring goes on behind the slots, channel 2 does not exist, a consumer has no credit.

    What lies behind the slots has no exponent.
    """
    last = CHIP.core.slots - 1
    objects = {1: [ring(0, 0, last, 2)]}
    routes = {
        0: [
            RouteDescriptor(object=0, **at(1), credits=2),
            RouteDescriptor(object=0, **at(1), credits=2, vc=2),
        ],
        CHIP.host: [RouteDescriptor(object=0, multicast=1, cols=7, rows=2, credits=1, consumers=3)],
    }
    program = [send(0, slot=3), send(0, slot=4), send(1), HALT]
    # One of three consumers gives its credit back.
    objects[5] = [ring(CHIP.host, 0, member=2)]
    release = [encode(Opcode.AWAIT, objects=1), encode(Opcode.RELEASE, objects=1), HALT]
    packets = [vector_packet(np.arange(16), config=CHIP.core)] * 2
    chips, errors = both(objects, routes, ({0: program, 5: release}, packets))
    assert errors == ["deadlock: host waits for credits of route 0"] * 2
    for chip in chips:
        assert list(chip.host.routes.credits[0][:4]) == [0, 0, 1, 0]
    sent = chips[0].cores[0].slots
    for chip in chips:
        memory = chip.cores[1].memory if chip is chips[0] else chip.cores[1].slots
        memory = memory.reshape(-1, LINES)
        assert np.array_equal(memory[last], sent[3])
        assert np.array_equal(memory[last + 1], sent[4])
        expected = [*range(-4, CHIP.core.slots - 5), chips[0].cores[0].exponents[3]]
        assert chip.cores[1].exponents.tolist() == expected
        assert chip.interfaces[0].faults[NocFault.NOC_OBJECT] == 1


def test_a_route_must_have_consumers():
    chip = Chip(CHIP, IDEAL, 1)
    with pytest.raises(ValueError, match=r"^consumers must be in 1\.\.16, not 0$"):
        chip.define_route(0, 0, RouteDescriptor(object=0, consumers=0))


def test_affine_tables_need_no_credits():
    routes = {CHIP.host: [RouteDescriptor(object=1, **at(3), credits=0)]}
    codes = np.arange(16)
    packet = affine_packet(codes + 240, codes - 8, config=CHIP.core)
    (one, _), errors = both({}, routes, ({}, [packet]))
    assert errors == ["", ""]
    assert one.cores[3].post.scales[1].tolist() == (codes + 240).tolist()
    assert one.cores[3].post.offsets[1].tolist() == (codes - 8).tolist()


def test_credits_beyond_the_counter():
    entry = ring(0, 0, height=20, width=20, kernel_height=20, kernel_width=20, arrived=400)
    objects = {1: [entry, replace(entry, member=1), replace(entry, member=2)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=4000, consumers=2)]}
    (one, _), errors = both(objects, routes, ({1: [encode(Opcode.RELEASE, objects=7), HALT]}, []))
    assert errors == ["", ""]
    assert one.interfaces[0].routes.credits[0] == [4095, 4095] + [0] * 14
    # Both of a member's messages are too much; member 2 does not exist.
    faults = one.interfaces[0].faults
    assert (faults[NocFault.NOC_CREDIT], faults[NocFault.NOC_OBJECT]) == (4, 2)


def test_merging_and_waiting_sends():
    """Sums of three cores meet; a SEND that waits holds up what it must and nothing else.

    Consumers have the lower numbers, so that it is their turn before that of their producers.
    """
    objects = {
        1: [ring(4, 0, partial=1)],
        0: [ring(1, 0, partial=1, replace=1)],
        CHIP.host: [ObjectDescriptor(**at(0, route=0))],
    }
    routes = {
        4: [RouteDescriptor(object=0, **at(1))],
        1: [RouteDescriptor(object=0, **at(0))],
        0: [RouteDescriptor(object=0, **at(CHIP.host))],
    }
    none = encode(
        Opcode.ACTIVATE, segment=0, axis=Axis.COLS, from_slot=1, slot=1, accumulate=1,
        function=Function.IDENTITY, shift=7, affine=0, table=0, destination=2, destination_line=3,
    )  # fmt: skip
    wait = encode(Opcode.WAIT, units=1 << 5)
    released = encode(Opcode.RELEASE, objects=1)
    merge = send(0, partial=1, merge=1)
    programs = {
        4: [send(0, partial=1), none, send(0, partial=1), HALT],
        1: [merge, none, released, merge, wait, released, HALT],
        0: [
            encode(Opcode.AWAIT, objects=1), none, send(0, slot=2), none, released,
            encode(Opcode.AWAIT, objects=1), send(0), released, HALT,
        ],
    }  # fmt: skip
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    for chip in chips:
        configure(chip, objects, routes)
        for node, core in chip.cores.items():
            core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
            fill_slots(core, node)
    assert_same_results(*(chip.run(programs) for chip in chips))
    assert_same_chip(*chips)


def test_what_a_waiting_send_holds_up():
    """By hand: what follows the instructions that wait for a SEND without credits is not done."""
    sums = ObjectDescriptor(sums=1, cursor=1, base=2, arrived=1)
    objects = {0: [ring(1, 0, arrived=1), sums]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=0)]}
    scatter = encode(Opcode.SCATTER, object=1, slot=2, block=0, block_row=0, block_col=0)
    normalise = {"object": 1, "destination_line": 0}
    outer = encode(Opcode.OUTER, segment=0, slot=3, delta=2, transfer=0)
    held = [
        send(0, slot=4), encode(Opcode.RELEASE, objects=1), encode(Opcode.CALIBRATE),
        encode(Opcode.REFRESH, segment=0, all_rows=1),
        encode(Opcode.PROGRAM, segment=0, row=1, slot=4), encode(Opcode.WAIT, units=1 << 5),
        error(source=1, destination=2), encode(Opcode.NORMALISE, destination=2, **normalise),
    ]  # fmt: skip
    free = [
        FORWARD, outer, encode(Opcode.TRANSFER, segment=0), encode(Opcode.AWAIT, objects=1),
        encode(Opcode.WAIT, units=0b11111), error(source=1, destination=4), scatter,
        encode(Opcode.NORMALISE, destination=4, **normalise), encode(Opcode.RELEASE, objects=2),
    ]  # fmt: skip
    cases = [
        *((word, 0, True) for word in held), *((word, 0, False) for word in free),
        (error(source=1, destination=4), 1, True), (outer, 1, False), (scatter, 1, False),
        (encode(Opcode.NORMALISE, destination=4, **normalise), 1, True),
    ]  # fmt: skip
    for word, partial, waits in cases:
        program = [send(0, slot=2, partial=partial), word, FORWARD, HALT]
        chips, errors = both(objects, routes, ({0: program}, []))
        assert errors[0] == errors[1]
        assert errors[0].startswith("deadlock: core 0 waits for its SEND; SEND of core 0 waits for")
        assert all((chip.cores[0].crossbar.windows == 0) == waits for chip in chips), word
        assert all(chip.interfaces[0].local.dead[0] == 0 for chip in chips)


def behind(node, route, **values):
    """Object on a ring behind the slots: three vectors of eight lines, two of which are there."""
    return ObjectDescriptor(
        **at(node, route=route), base=CHIP.core.slot_words, size=3, depth=3, arrived=2, **values
    )


def gather(object_, destination=0, **values):
    fields = dict.fromkeys(("block", "block_row", "block_col", "largest"), 0)
    return encode(
        Opcode.GATHER, object=object_, destination=destination, **{**fields, **values}
    )  # fmt: skip


def test_a_release_waits_for_the_sender_where_units_read_its_objects():
    """Of partial sums and of rings in the slots; only the window unit reads the others."""
    objects = {0: [ring(1, 0, arrived=1), behind(1, 1, partial=1), behind(1, 2)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=0)]}
    for mask in range(16):
        program = [send(0, slot=2), encode(Opcode.RELEASE, objects=mask), FORWARD, HALT]
        chips, errors = both(objects, routes, ({0: program}, []))
        assert errors[0] == errors[1]
        assert errors[0].startswith("deadlock: core 0 waits for its SEND; SEND of core 0 waits for")
        assert all((chip.cores[0].crossbar.windows == 0) == bool(mask & 3) for chip in chips), mask


def test_what_gathers_wait_for():
    """Their object, and a SEND of the slot that they write."""
    objects = {0: [behind(1, 0), replace(behind(1, 0), arrived=0)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=0)]}
    sends = " SEND of core 0 waits for credits of route 0"
    for program, reason, windows in (
        ([send(0, slot=2), gather(0, 2), FORWARD, HALT], f"its SEND;{sends}", 0),
        ([send(0, slot=2), gather(1, 2), FORWARD, HALT], f"its SEND;{sends}", 0),
        ([send(0, slot=2), gather(1, 3), FORWARD, HALT], f"objects 1;{sends}", 0),
        ([gather(1, 2), FORWARD, HALT], "objects 1", 0),
        ([send(0, slot=2), gather(0, 3), FORWARD, HALT], f"its SEND;{sends}", 1),
        ([send(0, slot=2, partial=1), gather(0, 2), FORWARD, HALT], f"its SEND;{sends}", 1),
    ):
        chips, errors = both(objects, routes, ({0: program}, []))
        assert errors == [f"deadlock: core 0 waits for {reason}"] * 2
        assert all(chip.cores[0].crossbar.windows == windows for chip in chips)


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({"enable": 0}, gather(0), "it is not enabled"),
        ({}, gather(3), "it is not enabled"),
        ({"partial": 1}, gather(0), "it has partial sums, which have no window"),
        (
            {}, gather(0, block_row=1),
            "window at (1, 0) of a block has 2 pixels of its height, beyond kernel_height = 1",
        ),
        (
            {}, gather(0, block_col=7),
            "window at (0, 7) of a block has 8 pixels of its width, beyond kernel_width = 1",
        ),
        (
            {"kernel_width": 4, "pixel_pitch": 8}, gather(0, block_col=3),
            "window at (0, 3) of a block begins 24 bytes on, beyond the ring of 24",
        ),
        ({"segment": 4, "count": 3, "skip": 1}, gather(0, largest=1), ""),
        ({"segment": 4, "count": 4, "skip": 1, "cols": 2, "kernel_width": 2}, gather(0, largest=1),
         "the largest of pixels has first_col 0 and count at most 3, not 0 and 4"),
        ({"cols": 2, "first_col": 1, "kernel_width": 2}, gather(0, largest=1),
         "the largest of pixels has first_col 0 and count at most 1, not 1 and 1"),
        ({"base": 3}, gather(0, 1), "destination 1 is in its ring, slots 1..2"),
        ({"base": 3}, gather(0, 2), "destination 2 is in its ring, slots 1..2"),
        ({"base": 3}, gather(0, 3), ""),
    ],
)  # fmt: skip
def test_windows_that_an_object_does_not_have(changes, word, reason):
    """They are refused before anything is done."""
    objects = {1: [replace(behind(0, 0), **changes)]}
    program = [encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3)]
    chips, errors = both(objects, {}, ({1: [*program, word, HALT]}, []))
    index = 3 if "not enabled" in reason and not changes else 0
    assert errors == [f"GATHER of object {index} of core 1: {reason}" if reason else ""] * 2
    assert all(chip.cores[1].crossbar.windows == (not reason) for chip in chips)


def test_cursors_take_no_messages():
    """By hand: a message to one is dropped, its RELEASE gives nothing back."""
    first = behind(0, 0, segment=8, count=8)
    objects = {1: [replace(first, arrived=0), replace(first, arrived=0, cursor=1, source=0)]}
    routes = {
        0: [RouteDescriptor(object=0, **at(1)), RouteDescriptor(object=1, **at(1))],
    }
    programs = {
        0: [send(1, slot=4, length=8), send(0, slot=3, length=8), HALT],
        1: [gather(1, 2), encode(Opcode.RELEASE, objects=2), gather(0, 4), HALT],
    }
    chips, errors = both(objects, routes, (programs, []))
    assert errors == ["", ""]
    for chip in chips:
        for slot in (2, 4):
            assert np.array_equal(chip.cores[1].slots[slot, :8], chips[0].cores[0].slots[3, :8])
        assert chip.interfaces[1].faults[NocFault.NOC_OBJECT] == 1
        assert [list(credits[:2]) for credits in chip.interfaces[0].routes.credits[:2]] == [
            [0, 0], [0, 0],
        ]  # fmt: skip
        assert [list(numbers[:2]) for numbers in (
            chip.interfaces[1].local.arrived, chip.interfaces[1].local.at,
        )] == [[1, 0], [8, 0]]  # fmt: skip


def test_vectors_that_are_longer_than_the_pitch():
    objects = {1: [replace(behind(0, 0), arrived=0)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=9)]}
    program = [send(0, length=9), send(0, first_line=8, length=1), send(0, length=8), HALT]
    chips, errors = both(objects, routes, ({0: program}, []))
    assert errors == ["", ""]
    for chip in chips:
        # The first one has two packets.
        assert chip.interfaces[1].faults[NocFault.NOC_RANGE] == 3
        assert chip.interfaces[1].local.arrived[0] == 1


@pytest.mark.parametrize("number", range(8))
def test_pipelines(number, seed):
    """Windows over frames of vectors, through rings, forks and joins."""
    config = CHIP.replace(core=CHIP.core.replace(slots=16))
    chips = [kind(config, IDEAL, 1) for kind in (OracleChip, Chip)]
    pipelines = [Pipeline(config, 100 * seed + number) for _ in chips]
    for chip, pipeline in zip(chips, pipelines, strict=True):
        configure(chip, pipeline.objects, pipeline.routes)
        for stage in pipeline.stages:
            chip.cores[stage.node].segments[SEGMENT] = pipeline.segment
    for _ in range(4):
        results = [
            chip.run(pipeline.programs(), pipeline.packets())
            for chip, pipeline in zip(chips, pipelines, strict=True)
        ]
        assert results[0]
        assert_same_results(*results)
        assert_same_chip(*chips)
        for node, core in chips[0].cores.items():
            assert_same_traces(core, chips[1].cores[node])


@pytest.mark.parametrize(
    ("programs", "packets"),
    [
        ({1: [encode(Opcode.AWAIT, objects=0b11), HALT], 3: [HALT]}, 0),
        ({0: [send(0), send(0), send(0), HALT]}, 0),
        ({0: [send(0, partial=1, merge=1), HALT]}, 0),
        ({3: [HALT]}, 3),
        ({1: [encode(Opcode.WAIT, units=1)]}, 0),
    ],
)
def test_deadlocks_have_the_same_reasons(programs, packets):
    objects = {1: [ring(0, 0)] * 2}
    routes = {
        0: [RouteDescriptor(object=0, **at(1))],
        CHIP.host: [RouteDescriptor(object=1, **at(1), credits=1)],
    }
    packet = vector_packet(np.arange(16), config=CHIP.core)
    _, (expected, found) = both(objects, routes, (programs, [packet] * packets))
    assert expected.startswith(("deadlock: ", "program of 1 instructions has no HALT"))
    assert found == expected
