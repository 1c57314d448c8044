# SPDX-License-Identifier: Apache-2.0
"""Sizes and durations as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.errors import InvalidInput
from agentcg.units import (
    SIZE_MAX_BYTES,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64k", 64 << 10),
        ("256M", 256 << 20),
        ("256MB", 256 << 20),
        ("256MiB", 256 << 20),
        ("1.5G", 3 << 29),
        (" 2 G ", 2 << 30),
        ("1024T", SIZE_MAX_BYTES),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size_bytes: int) -> None:
    """Every way to write a size means binary units, as in cgroup files."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1.5X", "NaN", "inf", "1e9", "0x10", "1,5G", "M", "12iB", "1 2", "٣M", "max"],
)
def test_what_is_not_a_size_is_refused_with_the_rule(text: str) -> None:
    """Signs, exponents, other digits and unknown units are mistakes, not guesses."""
    with pytest.raises(InvalidInput, match=r"a size such as 512M") as caught:
        parse_size(text, "memory_bytes")
    assert caught.value.field == "memory_bytes"


@pytest.mark.parametrize("text", ["1025T", "9" * 18, "999999T"])
def test_sizes_beyond_any_host_are_refused(text: str) -> None:
    """A size above 1 PiB is a mistake of the caller, and the error says the bound."""
    with pytest.raises(InvalidInput, match="at most 1024T"):
        parse_size(text)


def test_a_long_wrong_size_is_quoted_in_part() -> None:
    """An error message stays short and printable whatever came in."""
    with pytest.raises(InvalidInput) as caught:
        parse_size("\x1b[2J" + "9" * 10_000)
    assert len(str(caught.value)) < 250
    assert "\x1b" not in str(caught.value)


@given(st.integers(0, SIZE_MAX_BYTES))
def test_whole_numbers_of_bytes_are_exact(size_bytes: int) -> None:
    """No byte is lost to floating point."""
    assert parse_size(str(size_bytes)) == size_bytes


@given(st.integers(0, SIZE_MAX_BYTES))
def test_formatted_sizes_are_short_and_near(size_bytes: int) -> None:
    """What is shown has at most five characters and is within 6% of the truth."""
    shown = format_size(size_bytes)
    assert len(shown) <= 5
    assert parse_size(shown) == pytest.approx(size_bytes, rel=0.06)


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1536, "1.5K"), (100 << 20, "100M"), (3 << 29, "1.5G")],
)
def test_sizes_as_shown(size_bytes: int | None, shown: str) -> None:
    """Three digits at most; what is not known is a dash, never a zero."""
    assert format_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30", 30), ("30s", 30), ("5m", 300), ("2h", 7200), ("1.5d", 129600)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration has a unit; a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1s", "5 minutes", "1e3", "nan", "inf", "5M", "1h30m"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """Nothing is guessed, so that "5M" is not five minutes by accident."""
    with pytest.raises(InvalidInput, match="a duration such as 500ms"):
        parse_duration(text)


@given(st.floats(0.001, 1e7))
def test_formatted_durations_are_short_and_near(seconds: float) -> None:
    """What is shown has at most six characters and is within half of its last digit."""
    shown = format_duration(seconds)
    assert len(shown) <= 6
    assert parse_duration(shown) == pytest.approx(seconds, rel=0.35)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (math.nan, "-"),
        (0.0, "0ms"),
        (0.35, "350ms"),
        (4.2, "4.2s"),
        (59.6, "60s"),
        (720, "12m"),
        (10_800, "3h"),
        (172_800, "2d"),
    ],
)
def test_durations_as_shown(seconds: float | None, shown: str) -> None:
    """The unit is the largest that leaves a digit to tell durations apart."""
    assert format_duration(seconds) == shown
