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
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    encode,
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


def both(objects, routes, *works):
    """Run works (programs, packets) on oracle and model; both chips, and the errors of the last."""
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    errors = []
    for chip in chips:
        configure(chip, objects, routes)
        for node, core in chip.cores.items():
            core.segments[0] = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
            core.slots[:] = np.random.default_rng(node).integers(-128, 128, core.slots.shape)
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


def test_everything_that_fabrics_drop():
    """Rings that are full, sums for vectors, undefined or unreachable consumers and producers."""
    vector, sums = ObjectDescriptor(**at(0, route=0)), ObjectDescriptor(**at(0, route=7))
    objects = {
        1: [vector, replace(sums, partial=1), ObjectDescriptor(x=7, y=7, route=0)],
        3: [ObjectDescriptor(**at(CHIP.host, route=0))],
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
    """By hand: a ring goes on at slot 0, channel 2 does not exist, `needed` must be there."""
    last = CHIP.core.slots - 1
    objects = {1: [ObjectDescriptor(**at(0, route=0), slot=last, depth=2)]}
    routes = {
        0: [
            RouteDescriptor(object=0, **at(1), credits=2),
            RouteDescriptor(object=0, **at(1), credits=2, vc=2),
        ],
        CHIP.host: [RouteDescriptor(object=0, **at(3), credits=1, needed=2)],
    }
    program = [send(0, slot=3), send(0, slot=4), send(1), HALT]
    packets = [vector_packet(np.arange(16), config=CHIP.core)]
    chips, errors = both(objects, routes, ({0: program}, packets))
    assert errors == ["deadlock: host waits for credits of route 0"] * 2
    sent = chips[0].cores[0].slots
    for chip in chips:
        assert np.array_equal(chip.cores[1].slots[last], sent[3])
        assert np.array_equal(chip.cores[1].slots[0], sent[4])
        assert chip.interfaces[0].faults[NocFault.NOC_OBJECT] == 1


def test_affine_tables_need_no_credits():
    routes = {CHIP.host: [RouteDescriptor(object=1, **at(3), credits=0)]}
    codes = np.arange(16)
    packet = affine_packet(codes + 240, codes - 8, config=CHIP.core)
    (one, _), errors = both({}, routes, ({}, [packet]))
    assert errors == ["", ""]
    assert one.cores[3].post.scales[1].tolist() == (codes + 240).tolist()
    assert one.cores[3].post.offsets[1].tolist() == (codes - 8).tolist()


def test_credits_beyond_the_counter():
    entry = ObjectDescriptor(
        **at(0, route=0), height=20, width=20, kernel_height=20, kernel_width=20, depth=31,
        arrived=31,
    )  # fmt: skip
    objects = {1: [replace(entry, arrived=400)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=3)]}
    (one, _), errors = both(objects, routes, ({1: [encode(Opcode.RELEASE, objects=1), HALT]}, []))
    assert errors == ["", ""]
    assert one.interfaces[0].routes.credits[0] == 255


def test_merging_and_waiting_sends():
    """Sums of three cores meet; a SEND that waits holds up what it must and nothing else.

    Consumers have the lower numbers, so that it is their turn before that of their producers.
    """
    objects = {
        1: [ObjectDescriptor(**at(4, route=0), partial=1)],
        0: [ObjectDescriptor(**at(1, route=0), partial=1, replace=1)],
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
            core.slots[:] = np.random.default_rng(node).integers(-128, 128, core.slots.shape)
    assert_same_results(*(chip.run(programs) for chip in chips))
    assert_same_chip(*chips)


def test_what_a_waiting_send_holds_up():
    """By hand: what follows the instructions that wait for a SEND without credits is not done."""
    objects = {0: [ObjectDescriptor(**at(1, route=0), arrived=1)]}
    routes = {0: [RouteDescriptor(object=0, **at(1), credits=0)]}
    outer = encode(Opcode.OUTER, segment=0, slot=3, delta=2, transfer=0)
    held = [
        send(0, slot=4), encode(Opcode.RELEASE, objects=1), encode(Opcode.CALIBRATE),
        encode(Opcode.REFRESH, segment=0, all_rows=1),
        encode(Opcode.PROGRAM, segment=0, row=1, slot=4), encode(Opcode.WAIT, units=1 << 5),
        error(from_slot=1, destination=2),
    ]  # fmt: skip
    free = [
        FORWARD, outer, encode(Opcode.TRANSFER, segment=0), encode(Opcode.AWAIT, objects=1),
        encode(Opcode.WAIT, units=0b11111), error(from_slot=1, destination=4),
    ]  # fmt: skip
    cases = [
        *((word, 0, True) for word in held), *((word, 0, False) for word in free),
        (error(from_slot=1, destination=4), 1, True), (outer, 1, False),
    ]  # fmt: skip
    for word, partial, waits in cases:
        program = [send(0, slot=2, partial=partial), word, FORWARD, HALT]
        chips, errors = both(objects, routes, ({0: program}, []))
        assert errors[0] == errors[1]
        assert errors[0].startswith("deadlock: core 0 waits for its SEND; SEND of core 0 waits for")
        assert all((chip.cores[0].crossbar.windows == 0) == waits for chip in chips), word
        assert all(chip.interfaces[0].local.dead[0] == 0 for chip in chips)


@pytest.mark.parametrize("number", range(8))
def test_pipelines(number, seed):
    """Windows over frames of vectors, through rings, forks and joins."""
    config = CHIP.replace(core=TINY.replace(objects=4, routes=4, slots=16))
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
    objects = {1: [ObjectDescriptor(**at(0, route=0))] * 2}
    routes = {
        0: [RouteDescriptor(object=0, **at(1))],
        CHIP.host: [RouteDescriptor(object=1, **at(1), credits=1)],
    }
    packet = vector_packet(np.arange(16), config=CHIP.core)
    _, (expected, found) = both(objects, routes, (programs, [packet] * packets))
    assert expected.startswith(("deadlock: ", "program of 1 instructions has no HALT"))
    assert found == expected
