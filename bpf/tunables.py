# SPDX-License-Identifier: Apache-2.0
"""Sizes of the programs, fixed when they are compiled."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agentcg.errors import InvalidInput

_BOUNDS = {
    "accounts": (1, 1 << 20),
    "ring_pages": (1, 1 << 14),
    "depth": (0, 8),
    "watched": (1, 1 << 16),
    "origins": (64, 1 << 20),
    "news_pages": (1, 1 << 14),
    "tick_ms": (1, 1000),
}


@dataclass(frozen=True)
class Tunables:
    """What may be chosen; InvalidInput outside of the bounds."""

    accounts: int = 16384
    """Leaves tracked at once, 1 to 1048576. An entry takes kernel memory only while in use."""
    ring_pages: int = 256
    """Pages of the event ring, a power of two up to 16384: 256 hold 3,000 commands."""
    depth: int = 4
    """Levels of cgroups below a leaf that still count to it, 0 to 8."""
    watched: int = 8192
    """Runtime leaves whose processes are reported at once, 1 to 65536."""
    origins: int = 65536
    """Processes in them of which it is kept who forked them, 64 to 1048576; the ones seen
    longest ago are forgotten first."""
    news_pages: int = 256
    """Pages of the ring of detection, a power of two up to 16384: 256 hold 600 executions,
    which are read as they come. What is mapped counts twice in the daemon's memory."""

    tick_ms: int = 10
    """CPU time between two samples of a curve, 1 to 1000."""

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(name, value, f"{low} to {high}")
        for name in ("ring_pages", "news_pages"):
            pages = getattr(self, name)
            if pages & (pages - 1):
                raise InvalidInput(name, pages, "a power of two")

    def definitions(self) -> dict[str, int]:
        """As -D definitions of the program."""
        return {field.name.upper(): getattr(self, field.name) for field in fields(self)}
