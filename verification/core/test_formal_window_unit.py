# SPDX-License-Identifier: Apache-2.0
"""Proofs of the window unit."""

import pytest

from phasecore.rtl.core.digital.window_unit import WindowUnit
from phasecore.rtl.spec.core import TINY
from phasecore.verification.core.formal_window_unit import WindowLines, WindowWords, assume_sound
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

NARROW = TINY.replace(slots=4, objects=1, routes=1, vector_words=16)
FOUR_BLOCKS = NARROW.replace(cols=32)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_every_line_is_written_once(tmp_path, mode):
    """Any tile, padding, place and stall, from the command to the memory."""
    prove(WindowLines(NARROW), name="window_lines", tmp_path=tmp_path, depth=9, mode=mode)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_every_word_is_written_once(tmp_path, mode):
    """For longer, without the addresses: commands of up to four words."""
    prove(WindowWords(FOUR_BLOCKS), name="window_words", tmp_path=tmp_path, depth=14, mode=mode)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_offers_are_held(tmp_path, mode):
    dut = StreamContract(WindowUnit(NARROW), requests=("read", "write"), environment=assume_sound)
    prove(dut, name="window_unit", tmp_path=tmp_path, depth=12, mode=mode)
