# SPDX-License-Identifier: Apache-2.0
"""A planted fault: break one line of the RTL in a copy of the tree, and see a test notice.

`phasecore faults` does this for all faults of the files `verification/**/faults_*.toml`.
"""

from phasecore.paths import CHECKOUT
from phasecore.scripts.commands.faults import Fault, sweep

assert CHECKOUT is not None, "planted faults need the source tree"
fault = Fault(
    block="vector_memory",
    name="reads-in-reverse",
    why="the last client that reads wins instead of the first",
    file="rtl/core/digital/vector_memory.py",
    old="for index, port in reversed(list(enumerate(self.read, 1))):",
    new="for index, port in enumerate(self.read, 1):",
    test="verification/core/test_vector_memory.py",
)
(verdict,) = sweep(CHECKOUT, [fault]).values()
print(f"{fault.why}: {verdict}")
assert verdict == "caught"
