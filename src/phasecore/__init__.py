# SPDX-License-Identifier: Apache-2.0
"""PhaseCore: an open in-memory-computing chip that trains neural networks.

>>> import phasecore
>>> result = phasecore.train("mlp-64-50-10", profile="pcm", images=200, epochs=1, seed=3)
>>> result.images, result.config == phasecore.NETWORKS["mlp-64-50-10"].config
(200, True)

Functions: :func:`train` (golden model), :func:`infer` (a trained ONNX network), :func:`simulate`
(RTL against the golden model), :func:`generate` (Verilog). Configurations: :class:`CoreConfig`
with ``PRESETS``, :class:`ChipConfig` with ``CHIPS``. Devices: :class:`DeviceProfile` with
``PROFILES``. Networks: :class:`Network` of :class:`Layer`, :class:`Training`, with ``NETWORKS``.
Data: :class:`Dataset`.
``help(phasecore.train)`` and so on say more.

Names are imported when they are first used: ``import phasecore`` alone takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasecore.api import (
        GeneratedFiles,
        InferenceResult,
        SimulationResult,
        TrainingResult,
        generate,
        infer,
        simulate,
        train,
    )
    from phasecore.models.compiler.network import Layer, Network, Training
    from phasecore.models.compiler.networks import NETWORKS
    from phasecore.models.golden.device import PROFILES, DeviceProfile
    from phasecore.models.training.datasets import Dataset
    from phasecore.rtl.spec.chip import CHIPS, ChipConfig
    from phasecore.rtl.spec.core import PRESETS, CoreConfig

__all__ = [
    "CHIPS", "NETWORKS", "PRESETS", "PROFILES", "ChipConfig", "CoreConfig", "Dataset",
    "DeviceProfile", "GeneratedFiles", "InferenceResult", "Layer", "Network", "SimulationResult",
    "Training", "TrainingResult", "generate", "infer", "simulate", "train",
]  # fmt: skip

_PLACES = {
    "api": (
        "GeneratedFiles", "InferenceResult", "SimulationResult", "TrainingResult", "generate",
        "infer", "simulate", "train",
    ),
    "models.compiler.network": ("Layer", "Network", "Training"),
    "models.golden.device": ("PROFILES", "DeviceProfile"),
    "models.compiler.networks": ("NETWORKS",),
    "models.training.datasets": ("Dataset",),
    "rtl.spec.chip": ("CHIPS", "ChipConfig"),
    "rtl.spec.core": ("PRESETS", "CoreConfig"),
}  # fmt: skip
"""Names by the module that has them."""


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            module = importlib.import_module(f"phasecore.{place}")
            value = getattr(module, name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'phasecore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
