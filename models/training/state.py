# SPDX-License-Identifier: Apache-2.0
"""State of golden hardware by name: what outlives a program, and checks of what is put back."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.golden.core import Core
from phasecore.models.golden.noc import Node
from phasecore.models.golden.state import SAVED
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import CREDITS_MAX

__all__ = [
    "Arrays",
    "Part",
    "check_state",
    "core_parts",
    "interface_parts",
    "restore_devices",
    "restore_state",
    "route_parts",
    "values",
]

Arrays = Mapping[str, NDArray[Any]]

_INTERFACE_STATE = {
    "local": ("arrived", "dead", "row", "col", "frame_number", "at", "lines"),
    "routes": ("credits",),
}
"""Likewise of its network interface."""

_COUNT_MAX = 2**63 - 1


class Part(NamedTuple):
    """Something with state: ``names`` are its attributes."""

    name: str
    owner: object
    names: tuple[str, ...]


def core_parts(node: int, core: Core) -> Iterator[Part]:
    """State of a core, its vectors first."""
    yield Part(f"core{node}", core, tuple(name for name in SAVED if "." not in name))
    yield from _device_parts(node, core)


def _device_parts(node: int, core: Core) -> Iterator[Part]:
    blocks: dict[str, list[str]] = {}
    for name in SAVED:
        block, dot, attribute = name.partition(".")
        if dot:
            blocks.setdefault(block, []).append(attribute)
    for block, names in blocks.items():
        yield Part(f"core{node}.{block}", getattr(core, block), tuple(names))


def interface_parts(node: int, interface: Node) -> Iterator[Part]:
    """State of a core's network interface."""
    for part, names in _INTERFACE_STATE.items():
        yield Part(f"core{node}.{part}", getattr(interface, part), names)


def route_parts(host: Node) -> Iterator[Part]:
    """State of the host's routes."""
    yield Part("host.routes", host.routes, _INTERFACE_STATE["routes"])


def values(parts: Iterable[Part]) -> dict[str, Any]:
    """Present values by name."""
    return {
        f"{part.name}.{name}": getattr(part.owner, name) for part in parts for name in part.names
    }


def restore_state(parts: Iterable[Part], state: Arrays, config: CoreConfig) -> None:
    """Give parts what ``state`` holds of them, once all of it is checked.

    Raises ``ValueError``, and changes nothing, where an array is missing or none that cores of
    ``config`` could have left.
    """
    for owner, name, old, value in _checked_parts(parts, state, config):
        if isinstance(old, np.ndarray):
            old[...] = value
        else:
            setattr(owner, name, type(old)(value.tolist()))


def restore_devices(cores: Mapping[int, Core], state: Arrays) -> None:
    """Give cores, by node, what ``state`` holds of them, but no vectors."""
    for node, core in cores.items():
        restore_state(_device_parts(node, core), state, core.config)
        core.crossbar.refresh_weights()


def check_state(cores: Mapping[int, Core], state: Arrays) -> None:
    """Raise ``ValueError`` unless :func:`restore_devices` can take ``state``."""
    for node, core in cores.items():
        _checked_parts(core_parts(node, core), state, core.config)


def _ranges(config: CoreConfig) -> Mapping[str, tuple[int, int]]:
    """Least and greatest values of what is no plain count."""
    interface = {"local.arrived": (-(2**31), 2**31 - 1), "routes.credits": (0, CREDITS_MAX)}
    return {name: declared.bounds(config) for name, declared in SAVED.items()} | interface


def _checked(name: str, state: Arrays, old: object, low: int, high: int) -> NDArray[Any]:
    """Array of ``state`` in the place of ``old``; ``ValueError`` if it is none."""
    if name not in state:
        raise ValueError(f"{name} is missing")
    found, present = state[name], np.asarray(old)
    if found.shape != present.shape:
        raise ValueError(f"{name} has shape {found.shape}, not {present.shape}")
    if found.dtype.kind not in ("b" if present.dtype.kind == "b" else "iu"):
        raise ValueError(f"{name} has type {found.dtype}, not {present.dtype}")
    for value in (found.min(), found.max()) if found.size else ():
        if not low <= value <= high:
            raise ValueError(f"{name} has a value {value}, outside {low}..{high}")
    return found


def _checked_parts(
    parts: Iterable[Part], state: Arrays, config: CoreConfig
) -> list[tuple[object, str, Any, NDArray[Any]]]:
    """Owner, attribute, present and stored value of everything in ``parts``."""
    ranges, found = _ranges(config), []
    for part, owner, names in parts:
        for name in names:
            where = f"{part}.{name}"
            low, high = ranges.get(where.partition(".")[2], (0, _COUNT_MAX))
            old = getattr(owner, name)
            found.append((owner, name, old, _checked(where, state, old, low, high)))
    return found
