# SPDX-License-Identifier: Apache-2.0
"""pytest options, the order of tests, and the ``simulate`` fixture of all benches."""

import os
from collections.abc import Callable

import pytest
from hypothesis import settings

from phasecore.rtl.lib.verilog import to_verilog
from phasecore.verification.support import build as harness

# Every run tries the same examples, so that two runs of one commit agree; `explore` looks for new
# ones (`--hypothesis-profile explore`).
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("fixed")

# Models of Verilator run for seconds here; for minutes with `--full`, still less than a build.
os.environ.setdefault(harness.QUICK_BUILDS, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("phasecore")
    group.addoption("--sim", choices=["icarus", "verilator"], help="simulator of all benches")
    group.addoption("--waves", action="store_true", help="trace every simulation")
    group.addoption("--seed", type=int, default=1, help="seed of all random stimuli (default 1)")
    group.addoption("--full", action="store_true", help="tests marked full, too: they are long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: long; only with --full, or by its name")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long; let two workers begin with different work.

    pytest-xdist gives the first of them the first eighth of the tests, and the second one the next.
    Both would compile all kernels of the golden model at the same time; the network has tests that
    need none and that take as long.
    """
    if not config.getoption("--full"):
        named = {argument.partition("::")[2] for argument in config.args}
        long = [
            item for item in items
            if item.get_closest_marker("full")
            and named.isdisjoint({item.name, getattr(item, "originalname", item.name)})
        ]  # fmt: skip
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    network = [item for item in items if item.path.parent.name == "noc"]
    others = [item for item in items if item.path.parent.name != "noc"]
    first = len(items) // 8
    items[:] = [*others[:first], *network, *others[first:]]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of random stimuli, from ``--seed``."""
    return request.config.getoption("--seed")


@pytest.fixture
def simulate(
    request: pytest.FixtureRequest, tmp_path, seed, record_property
) -> Callable[..., None]:
    """Function that simulates a component under a bench and fails with the bench's own messages.

    ``simulate(component, config, bench="verification.bench_x", top="x", sim="icarus", env={},
    sources=[], plusargs=[], verilog=None)``; ``verilog`` replaces the component's own conversion.
    ``--sim`` overrides ``sim``.
    """
    record_property("seed", seed)
    waves = request.config.getoption("--waves")

    def run(
        component, config, *, bench, top="dut", sim="icarus", env=None, sources=(), plusargs=(),
        verilog=None, build_args=None,
    ):  # fmt: skip
        sim = request.config.getoption("--sim") or sim
        text = verilog if verilog is not None else to_verilog(component, name=top)
        try:
            folder = harness.build(
                text, top=top, sim=sim, sources=sources, build_args=build_args, waves=waves
            )
            harness.run_bench(
                folder, top=top, sim=sim, bench=bench, test_dir=tmp_path, seed=seed,
                config=config, env=env or {}, plusargs=plusargs, waves=waves,
            )  # fmt: skip
        except harness.BenchError as error:
            notes = getattr(error, "__notes__", [])
            pytest.fail("\n".join([str(error), *notes]), pytrace=False)

    return run
