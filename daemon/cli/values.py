# SPDX-License-Identifier: Apache-2.0
"""Values of options: read and bounded as the API has them. All raise `InvalidInput`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from agentcg.errors import InvalidInput
from agentcg.units import parse_duration, parse_size

MEMORY_MIN_BYTES = 1 << 20
WAIT_MAX_S = 600.0
TIME_MAX_S = 86400.0
CPU_LEVELS = ("low", "normal", "high")

_Value = TypeVar("_Value", int, float)


class Spread(Generic[_Value]):
    """One value, or three: the p50, p90 and p99. (A bare tuple typer would take for as many
    arguments.)"""

    def __init__(self, values: tuple[_Value, ...]) -> None:
        self.values: tuple[_Value, ...] = values


def memory_size(text: str) -> int:
    """A size of memory from 1M to 1024T, in bytes."""
    size_bytes = parse_size(text)
    if size_bytes < MEMORY_MIN_BYTES:
        raise InvalidInput("size", text, "at least 1M")
    return size_bytes


def wait_time(text: str) -> float:
    """A wait of up to ten minutes, in seconds."""
    return _at_most(parse_duration(text), text, WAIT_MAX_S, "10m")


def time_span(text: str) -> float:
    """A time of up to a day, in seconds."""
    return _at_most(parse_duration(text), text, TIME_MAX_S, "1d")


def cpu_level(text: str) -> str:
    """One of the three levels of CPU."""
    if text not in CPU_LEVELS:
        raise InvalidInput("cpu", text, "one of low, normal, high")
    return text


def one_or_three(text: str, parse: Callable[[str], _Value]) -> Spread[_Value]:
    """One value, or three with commas between."""
    parts = text.split(",")
    if len(parts) not in (1, 3):
        raise InvalidInput("value", text, "one, or three of which none is below the one before")
    return Spread(tuple(parse(part) for part in parts))


def _at_most(seconds: float, text: str, max_s: float, max_text: str) -> float:
    if seconds > max_s:
        raise InvalidInput("time", text, f"at most {max_text}")
    return seconds
