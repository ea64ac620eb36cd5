# SPDX-License-Identifier: Apache-2.0
"""Flits, and the links that carry them between routers."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.noc import NocConfig

__all__ = ["Flit", "Link"]


class Flit(data.StructLayout):
    """A flit in a buffer; ``birth`` (time of injection) only with ``arbiter = "age"``.

    A flit with ``head`` and ``tail`` inside a packet ends and cancels it: the receiver drops what
    has come.
    """

    def __init__(self, config: NocConfig, bits: int | None = None):
        birth = {"birth": config.age_bits} if config.arbiter == "age" else {}
        super().__init__({"head": 1, "tail": 1, "data": bits or config.flit_bits, **birth})


class Link(wiring.Signature):
    """One direction of a link, seen from the sender.

    ``flit`` is sent on channel ``vc`` in every cycle with ``valid``; the sender has a credit for
    it. Bit v of ``credit`` returns one credit of channel v; a sender starts with ``depth`` each.
    """

    def __init__(self, config: NocConfig, bits: int | None = None):
        super().__init__(
            {
                "valid": Out(1),
                "vc": Out(config.vc_bits),
                "flit": Out(Flit(config, bits)),
                "credit": In(config.virtual_channels),
            }
        )
