# SPDX-License-Identifier: Apache-2.0
"""The whole core against the golden model: random programs, every observable result."""

import random
from pathlib import Path

import pytest

from models.core import Core
from models.device import DeviceProfile
from rtl.config import SMALL, TINY
from verification import harness
from verification.core_session import Batch, compare, compare_state, read_trace
from verification.random_programs import COUNTERS, RandomProgram

TOP = Path(__file__).parent / "tops" / "core_top.sv"


def check(config, folder, *, sim, seed, batches, length, profile):
    """Run random programs on hardware and model; return the number of compared ADC codes."""
    rng = random.Random(seed)
    core = Core(config, DeviceProfile.load(profile), seed)
    core.crossbar.write_macro_files(folder / "macro")
    core.refresh_high, core.refresh_low = 40, 5
    expected = []
    for index in range(batches):
        program = RandomProgram(config, rng, length)
        batch = Batch(config, packets=program.packets)
        batch.write("REFRESH_HIGH", core.refresh_high)
        batch.write("REFRESH_LOW", core.refresh_low)
        batch.load(program.words, program.segments)
        batch.run()
        batch.read("ERROR_COUNT", *COUNTERS)
        batch.dump()
        batch.save(folder, index)
        expected.append(program)
    build = harness.build(
        harness.core_verilog(config), top="core_top", sim=sim, sources=[TOP],
        build_args=harness.VERILATOR_FAST if sim == "verilator" else None,
        parameters={"POST_LANES": config.post_lanes},
    )  # fmt: skip
    harness.run_bench(
        build, top="core_top", sim=sim, bench="verification.bench_core", test_dir=folder,
        seed=seed, config=config, env={"PHASECORE_BATCHES": str(batches)},
        plusargs=[f"+phasecore_macro={folder / 'macro'}"],
    )  # fmt: skip
    codes = 0
    for index, program in enumerate(expected):
        core.segments = list(program.segments)
        results = core.run(program.words, program.packets)
        hardware = read_trace(folder / f"trace_{index}.txt", config)
        mismatches = compare(hardware, core.trace, results, config.lines)
        for name, value in COUNTERS.items():
            if hardware.register(config, name) != value(core):
                mismatches.append(f"{name}: {hardware.register(config, name)}, not {value(core)}")
        if hardware.register(config, "ERROR_COUNT"):
            mismatches.append("the hardware counted errors")
        mismatches += compare_state(folder, index, core)
        assert not mismatches, f"batch {index}, seed {seed}: " + "; ".join(mismatches[:5])
        codes += len(hardware.codes)
        core.trace = type(core.trace)()
    return codes


@pytest.mark.parametrize("profile", ["ideal", "pcm"])
@pytest.mark.parametrize("devices", [1, 2])
def test_random_programs_in_icarus(tmp_path, seed, profile, devices):
    config = TINY.replace(devices_per_polarity=devices)
    codes = check(
        config, tmp_path, sim="icarus", seed=seed, batches=6, length=50, profile=profile
    )
    assert codes > 100


@pytest.mark.parametrize("config", [TINY, SMALL], ids=["tiny", "small"])
def test_random_programs_in_verilator(tmp_path, seed, config):
    codes = check(
        config, tmp_path, sim="verilator", seed=seed + 1, batches=30, length=50, profile="pcm"
    )
    assert codes > 500
