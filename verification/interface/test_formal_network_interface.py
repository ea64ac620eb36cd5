# SPDX-License-Identifier: Apache-2.0
"""Promises of the network interface and of local control, proved."""

import pytest
from amaranth.hdl import Assume, ResetSignal

from phasecore.rtl.interface.local_control import LocalControl
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.interface.formal_network_interface import NetworkContract
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

NARROW = TINY.replace(rows=8, cols=8, slots=4, objects=2, routes=2)
NOC = NocConfig(depth=2)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_links_of_the_network_interface(tmp_path, mode):
    dut = NetworkContract(NARROW, NOC)
    prove(dut, name="network", tmp_path=tmp_path, depth=9, mode=mode)


def test_credits_offered_are_held(tmp_path):
    def environment(m, component):
        m.d.comb += Assume(~ResetSignal())

    dut = StreamContract(LocalControl(NARROW), environment=environment)
    prove(dut, name="local_control", tmp_path=tmp_path, depth=12)
