# SPDX-License-Identifier: Apache-2.0
"""Counters that hardware and golden model both keep."""

from collections.abc import Mapping

from phasecore.models.golden.core import Core

__all__ = ["COUNTERS", "compare_counters", "counted_by"]

COUNTERS = {
    "COUNT_CHI_SATURATIONS": lambda core: core.update.chi_saturations,
    "COUNT_TRANSFER_SATURATIONS": lambda core: core.update.transfer_saturations,
    "COUNT_ACCUMULATOR_SATURATIONS": lambda core: core.post.accumulator_saturations,
    "COUNT_CODE_SATURATIONS": lambda core: core.post.code_saturations,
    "COUNT_ADC_CLIPS": lambda core: core.adc.clipped,
    "COUNT_ADC_OVERRANGES": lambda core: core.adc.overranges,
    "COUNT_SET_PULSES": lambda core: core.programmer.set_pulses,
    "COUNT_RESET_PULSES": lambda core: core.programmer.reset_pulses,
    "COUNT_REFRESHED_PAIRS": lambda core: core.programmer.refreshed,
    "COUNT_UNVERIFIED": lambda core: core.programmer.unverified,
    "COUNT_CHI_WORDS_UPDATED": lambda core: core.update.products,
    "COUNT_MVMS": lambda core: core.crossbar.windows,
}
"""Counter registers, and where the model counts the same."""


def counted_by(core: Core) -> dict[str, int]:
    """What a golden core has counted so far."""
    return {name: value(core) for name, value in COUNTERS.items()}


def compare_counters(
    core: Core, before: Mapping[str, int], counted: Mapping[str, int]
) -> list[str]:
    """Mismatches of the counters that the model has, too, and any error of the core."""
    mismatches = ["the core counted errors"] if counted["FAULT_COUNT"] else []
    for name, value in counted_by(core).items():
        due = value - before[name]
        if counted[name] != due:
            mismatches.append(f"{name}: got {counted[name]}, expected {due}")
    return mismatches
