# SPDX-License-Identifier: Apache-2.0
"""A mapping that no module of the compiler knows: it learns, and the RTL has its bits.

A layer of one perceptron per class, on rows and columns, slots and a segment of the test's own.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from phasecore.models.compiler.mapping import NONE_SENT, Job, Mapping, Sent
from phasecore.models.compiler.network import ONE, Layer, Network, Training, classes
from phasecore.models.compiler.program import (
    activate,
    delta,
    driven,
    loop,
    outer,
    product,
    target_packets,
)
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import vector_packet
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.learner import Learner, stretches
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import DeltaSource, Function, Opcode, encode
from phasecore.verification.cosim.machine import Machine
from phasecore.verification.cosim.simulation import Progress, Simulation

LAYER = Layer(inputs=6, outputs=3, row_start=8, col_start=8)
NETWORK = Network(
    name="own", dataset="stripes", layers=(LAYER,), config=TINY,
    training=Training(eta=2.0, eta_end=1.0, refresh_interval=15),
)  # fmt: skip
X, TARGET, OUTPUT, DELTA = 6, 1, 7, 4
SEGMENT = 2


class OwnMapping(Mapping):
    nodes = (0,)

    def __init__(self, profile):
        self.recipe, self.hardware = Recipe(NETWORK, TINY, profile), TINY

    def setup(self):
        return self.calibration()

    def training(self, images, labels, sent=NONE_SENT, *, refresh=True, read=True):
        targets = target_packets(self.recipe)
        packets = [
            packet
            for image, label in zip(self.images(images), labels, strict=True)
            for packet in (targets[label], image)
        ]
        words = [
            encode(Opcode.LOAD, affine=0, slot=TARGET),
            *self.forward(),
            *([self.read()] if read else []),
            delta(
                self.recipe, 0, segment=SEGMENT, source=DeltaSource.DIFFERENCE, slot=TARGET,
                output=OUTPUT, destination=DELTA,
            ),
            outer(SEGMENT, slot=X, delta=DELTA),
            *loop(len(images)),
            *([encode(Opcode.REFRESH, segment=SEGMENT, all_rows=0)] if refresh else []),
            encode(Opcode.HALT),
        ]  # fmt: skip
        return Job({0: words}, packets, Sent(len(images), len(images)))

    def inference(self, images, sent=NONE_SENT):
        words = [*self.forward(), self.read(), *loop(len(images)), encode(Opcode.HALT)]
        return Job({0: words}, self.images(images), Sent(len(images), 0))

    def segments(self, eta):
        layer = self.recipe.segment(0, eta)
        # The first ones are of no use, but must be there.
        return {0: [layer] * (SEGMENT + 1)}

    def weights(self, codes):
        rows, cols = slice(8, 15), slice(8, 11)
        return [codes[0][rows, cols] / self.recipe.weight_units[0]]

    def outputs(self, results):
        return [result.codes for result in results]

    def forward(self):
        yield encode(Opcode.LOAD, affine=0, slot=X)
        yield product(Opcode.FORWARD, self.config, segment=SEGMENT, slot=X)
        shift, start = self.recipe.shifts[0], LAYER.col_start
        yield activate(
            SEGMENT, Function.SIGMOID, shift=shift, destination=OUTPUT, destination_line=start
        )

    def read(self):
        return encode(Opcode.READ, slot=OUTPUT, first_line=LAYER.col_start, length=LAYER.outputs)

    def images(self, images):
        return [vector_packet(row, config=TINY, start=8) for row in driven(images, LAYER.inputs)]


def stripes(count, seed):
    """Images of which two neighbouring inputs are bright, those of the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.uint8)
    images = rng.integers(0, 40, (count, 6))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 80
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def data():
    return Dataset("stripes", *stripes(60, 1), *stripes(5, 2), *stripes(40, 3))


def learnt(mapping, data, *, epochs):
    """A learner after some epochs, and the outputs of all images before they were learnt."""
    learner, outputs = Learner(mapping, 5), []
    count = len(data.train_x)
    endless = stretches(NETWORK.training, count=count, seed=5, epochs=epochs, images=count)
    for _ in range(epochs * count // NETWORK.training.refresh_interval):
        chosen, eta = next(endless)
        learner.set_rate(eta)
        outputs += learner.learn(data.train_x[chosen], data.train_y[chosen])
    return learner, outputs


@pytest.mark.parametrize("profile", [IDEAL, PCM], ids=lambda profile: profile.name)
def test_it_learns(profile, data):
    learner, _ = learnt(OwnMapping(profile), data, epochs=8)
    assert np.mean(classes(learner.infer(data.test_x)) == data.test_y) > 0.9
    assert learner.weights()[0].shape == (7, 3)
    assert learner.state()["sent.images"] == 8 * 60 + 40


def test_a_restored_learner_goes_on_with_the_same_bits(data):
    first, _ = learnt(OwnMapping(PCM), data, epochs=1)
    second = Learner(OwnMapping(PCM), 5)
    second.restore({name: np.array(value) for name, value in first.state().items()})
    learners = (first, second)
    for learner in learners:
        learner.set_rate(1.5)
    assert np.array_equal(*(one.learn(data.train_x[:9], data.train_y[:9]) for one in learners))
    assert second.state()["sent.images"] == 69


def test_the_rtl_has_its_bits(data, tmp_path: Path):
    machine = Machine(OwnMapping(PCM), 5)
    simulation = Simulation(machine, data, seed=5, images=60, test=40)
    progress = Progress(simulation)
    for _ in progress.follow(tmp_path, sim="icarus", waves=False):
        pass
    figures = progress.figures(complete=True)
    assert figures["first_mismatches"] == []
    assert figures["values_compared"] > 60 * 6
    assert figures["weights"] == 21
    learner, outputs = learnt(OwnMapping(PCM), data, epochs=1)
    targets = NETWORK.training.targets(3)[data.train_y] / ONE
    assert len(outputs) == len(targets)
    right = classes(learner.infer(data.test_x)) == data.test_y
    assert figures["accuracy_rtl"] == figures["accuracy_model"] == np.mean(right)
    assert figures["set_pulses"] == learner.cores[0].programmer.set_pulses > 0


def test_hardware_without_a_model_is_refused():
    mapping = OwnMapping(IDEAL)
    mapping.hardware = dataclasses.make_dataclass("Abacus", ["beads"])(7)
    with pytest.raises(TypeError, match=r"^no golden model of Abacus$"):
        Learner(mapping, 1)


def test_a_core_does_not_go_on_from_a_state(data):
    with pytest.raises(ValueError, match=r"^the RTL of own cannot go on from a state$"):
        Machine(OwnMapping(IDEAL), 1).check_state({})
