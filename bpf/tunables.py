# SPDX-License-Identifier: Apache-2.0
"""Sizes of the accounting program, fixed when it is compiled."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agentcg.errors import InvalidInput

_BOUNDS = {"accounts": (1, 1 << 20), "ring_pages": (1, 1 << 14), "depth": (0, 8)}


@dataclass(frozen=True)
class Tunables:
    """What may be chosen; InvalidInput outside of the bounds."""

    accounts: int = 16384
    """Leaves tracked at once, 1 to 1048576. An entry takes kernel memory only while in use."""
    ring_pages: int = 256
    """Pages of the event ring, a power of two up to 16384: 256 hold 3,000 commands."""
    depth: int = 4
    """Levels of cgroups below a leaf that still count to it, 0 to 8."""

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(name, value, f"{low} to {high}")
        if self.ring_pages & (self.ring_pages - 1):
            raise InvalidInput("ring_pages", self.ring_pages, "a power of two")

    def definitions(self) -> dict[str, int]:
        """As -D definitions of the program."""
        return {field.name.upper(): getattr(self, field.name) for field in fields(self)}
