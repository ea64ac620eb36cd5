# SPDX-License-Identifier: Apache-2.0
"""The ``phasecore`` command.

Every sub-command is a module of this package with

- ``add_parser(subparsers) -> argparse.ArgumentParser``: adds its parser, named like the command;
- ``run(args) -> dict``: does the work and returns what ``--json`` prints;
- ``OPTIONS`` (optional): which of the common options ``config``, ``seed``, ``out``, ``overwrite``
  it takes (default: all);
- ``report(result) -> str`` (optional): the text for people.

``args`` carries ``config`` (a ``CoreConfig``; ``config_name`` is None if it is the default),
``seed`` (``seed_given`` is None if it is the default), ``out`` (a ``Path`` or ``None``) and
``command`` (the command line for result files). A result with ``"ok": False`` makes the command
exit with 1. Modules are imported only when used.
Progress goes to ``logging``, i.e. to stderr.
"""

import argparse
import importlib
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from phasecore.paths import CHECKOUT
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands import COMMANDS, module_of, name_of

__all__ = ["main", "parsed"]

EPILOG = """\
examples:
  phasecore generate --config default --out build/core
  phasecore generate --config mine.json --out build/mine
  phasecore synth --config tiny --json
  phasecore faults --block update_unit

A configuration file is a JSON object with the fields of rtl/spec/core.py; missing ones keep their
defaults. `phasecore COMMAND --help` shows the options of one command.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        _complain(message)
        raise SystemExit(2)


class _Version(argparse.Action):
    """Prints the version of the installed package and the commit that is checked out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from phasecore.scripts.report.results import commit

        try:
            installed = version("phasecore")
        except PackageNotFoundError:
            installed = "(not installed)"
        print(f"phasecore {installed}, commit {commit()}")
        raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal without a sign must not cost the result of a long run.
        sys.stdout.reconfigure(errors="replace")
    try:
        with interrupts.raised():
            return _dispatch(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "interrupted")
        return stop.status if isinstance(stop, interrupts.Interrupted) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _complain(_in_words(error))
        return 1


def _in_words(error: Exception) -> str:
    """What is wrong; with the kind of error where nobody wrote the message for users."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error}: scripts/setup, or pip install -e ., installs it"
    if isinstance(error, ValueError | TypeError | OSError | RuntimeError | ImportError):
        return str(error) or type(error).__name__
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def _dispatch(arguments: list[str]) -> int:
    module, args = parsed(arguments)
    with _stdout_to_stderr(args.json):
        result: dict[str, Any] = module.run(args)
    if args.json:
        print(json.dumps(result))
    elif hasattr(module, "report"):
        print(module.report(result))
    else:
        for key, value in result.items():
            print(f"{key}: {value}")
    sys.stdout.flush()
    return 0 if result.get("ok", True) else 1


def parsed(arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Module of a command and its options, complete; ``SystemExit`` after a line on stderr."""
    chosen = name_of(arguments)
    parser = _Parser(
        prog="phasecore",
        description="Open in-memory-computing core that trains neural networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show version and commit")
    _add_debug(parser)
    subparsers = parser.add_subparsers(dest="name", metavar="COMMAND", title="commands")
    module: ModuleType | None = None
    for name, summary in COMMANDS.items():
        if name == chosen:
            module = importlib.import_module(module_of(name))
            _add_common(module.add_parser(subparsers), getattr(module, "OPTIONS", None))
        else:
            subparsers.add_parser(name, help=summary)
    args = parser.parse_args(_joined(arguments, chosen))
    if module is None:
        parser.error(f"a command is needed: {', '.join(COMMANDS)} (see phasecore --help)")
    _complete(args, arguments)
    return module, args


def _joined(arguments: Sequence[str], name: str) -> list[str]:
    """Arguments with the words of ``name`` as one, as the parser knows it."""
    found, rest = [], name.split()
    for word in arguments:
        if rest and word == rest[0]:
            rest.pop(0)
            if not rest:
                found.append(name)
        else:
            found.append(word)
    return found


def _add_common(parser: argparse.ArgumentParser, options: Sequence[str] | None) -> None:
    """Add the common options that a command takes (all if ``options`` is ``None``)."""
    group = parser.add_argument_group("common options")
    if options is None or "config" in options:
        group.add_argument(
            "--config", dest="config_name", metavar="NAME|FILE",
            help=f"configuration of a core: {', '.join(PRESETS)}, or a JSON file with fields of"
            " rtl/spec/core.py",
        )  # fmt: skip
    if options is None or "seed" in options:
        group.add_argument("--seed", type=_seed, help="seed of everything random (default: 1)")
    if options is None or "out" in options:
        group.add_argument("--out", type=Path, metavar="PATH", help="where results are written")
    if options is None or "overwrite" in options:
        group.add_argument(
            "--overwrite", action="store_true", help="replace the results of another run, too"
        )
    group.add_argument(
        "--json", action="store_true", help="print exactly one JSON object on standard output"
    )
    _add_debug(group)


def _add_debug(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _seed(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be in 0..{2**32 - 1}, not {text!r}")
    return value


def _complete(args: argparse.Namespace, arguments: list[str]) -> None:
    """Resolve the configuration and the command line for result files."""
    if hasattr(args, "config_name"):
        args.config = CoreConfig.load(args.config_name or "default")
    if hasattr(args, "seed"):
        args.seed_given, args.seed = args.seed, 1 if args.seed is None else args.seed
    args.command = shlex.join(["phasecore", *map(_portable, arguments)])


def _portable(word: str) -> str:
    """The argument without folders of this machine."""
    option, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return word
    inside = CHECKOUT is not None and path.is_relative_to(CHECKOUT)
    short = path.relative_to(CHECKOUT) if CHECKOUT and inside else Path(path.name)
    return f"{option}{equals}{short}"


@contextmanager
def _stdout_to_stderr(active: bool) -> Iterator[None]:
    """Send what the command and its child processes print to stderr."""
    if not active:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _complain(message: str) -> None:
    """One line on stderr."""
    print(f"phasecore: error: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
