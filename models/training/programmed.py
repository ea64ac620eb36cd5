# SPDX-License-Identifier: Apache-2.0
"""Trained graphs on a chip whose devices have been programmed with their weights."""

import numpy as np

from phasecore.models.compiler.graph import Graph, Images, from_network
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.quantise import corrected, quantise
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.training.checkpoint import Checkpoint
from phasecore.models.training.learner import Learner
from phasecore.models.training.model import Model, make_model
from phasecore.models.training.state import Arrays, restore_devices, values
from phasecore.rtl.spec.chip import ChipConfig

__all__ = ["Programmed", "program", "trained_graph"]


class Programmed:
    """A graph on a chip whose devices have its weights.

    Attributes
    ----------
    mapping : with tables for the weights that the devices have got
    state : of the cores, as of a checkpoint
    unverified : columns of rows that did not reach their targets
    """

    def __init__(
        self, mapping: InferenceMapping, state: Arrays, unverified: int, seed: int,
        calibration: Images,
    ):  # fmt: skip
        self.mapping, self.state, self.unverified = mapping, state, unverified
        self._seed, self._calibration = seed, calibration

    def model(self) -> Model:
        """The golden chip, ready to infer."""
        model = make_model(self.mapping, self._seed)
        model.set_segments(self.mapping.segments(0))
        model.run(self.mapping.setup())
        restore_devices(model.cores, self.state)
        return model

    def recalibrated(self, model: Model) -> InferenceMapping:
        """The mapping with scales and biases for what the devices have become, and converters
        whose gains make up for what these cannot.

        As after programming, the host knows what the devices conduct, without noise.
        """
        mapping = self.mapping
        graph, layers = mapping.network, [one.quantised for one in mapping.stages if one.is_last]
        weights = mapping.weights({at: core.crossbar.weights for at, core in model.cores.items()})
        layers = corrected(graph, layers, self._calibration, weights, gains=True)
        found = InferenceMapping(graph, layers, mapping.hardware, mapping.profile)
        model.run(found.calibration("baseline"))
        for stage in found.stages:
            adc = model.cores[stage.node].adc
            adc.drift_baseline = round(stage.tile.gain * adc.drift_baseline)
        model.run(found.calibration("compensate"))
        return found


def trained_graph(checkpoint: Checkpoint) -> Graph:
    """The network of a checkpoint with its weights, those that its devices hold."""
    run = checkpoint.run()
    learner = Learner(run.mapping(), run.seed)
    learner.restore({k: v for k, v in checkpoint.state.items() if not k.startswith("twin.")})
    return from_network(run.network, learner.weights())


def program(
    graph: Graph, chip: ChipConfig, profile: DeviceProfile, calibration: Images, seed: int, *,
    iterative: bool = False,
) -> Programmed:  # fmt: skip
    """Quantise a graph and program its weights in the golden model.

    Parameters
    ----------
    calibration : images, shape (images, inputs), that choose ranges and correct biases
    iterative : devices get what iterative programming leaves
        (:meth:`~phasecore.models.golden.crossbar.Crossbar.write_verified`); otherwise PROGRAM sends
        every pulse, as in RTL
    """
    layers = quantise(graph, calibration, chip.core, profile, iterative=iterative)
    mapping = InferenceMapping(graph, layers, chip, profile)
    model = make_model(mapping, seed)
    model.set_segments(mapping.segments(0))
    model.run(mapping.setup())
    if iterative:
        for stage in mapping.stages:
            crossbar = model.cores[stage.node].crossbar
            wanted, part = np.zeros_like(crossbar.weights), stage.tile.weights
            wanted[: len(part), : part.shape[1]] = part
            crossbar.write_verified(wanted)
    else:
        for job in mapping.programming():
            model.run(job)
            model.forget_traces()
    weights = mapping.weights({node: core.crossbar.weights for node, core in model.cores.items()})
    layers = corrected(graph, layers, calibration, weights)
    unverified = sum(core.programmer.unverified for core in model.cores.values())
    state = {name: np.asarray(value) for name, value in values(model.parts()).items()}
    mapping = InferenceMapping(graph, layers, chip, profile)
    return Programmed(mapping, state, unverified, seed, calibration)
