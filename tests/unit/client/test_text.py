# SPDX-License-Identifier: Apache-2.0
"""Text from elsewhere cannot command a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.client.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 全角", "plain ünïcode 全角"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("bell\a", r"bell\x07"),
        ("\udcff", r"\udcff"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    """Letters stay; control, direction and undecodable characters become escapes."""
    assert printable(text) == shown


@given(st.text())
def test_result_is_printable(text: str) -> None:
    """Whatever goes in, one line of printable characters comes out, and stays as it is."""
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
