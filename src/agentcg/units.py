# SPDX-License-Identifier: Apache-2.0
"""Sizes and durations as people write them, and back.

Sizes are bytes in binary units (K = 1024), as in cgroup files and systemd's MemoryMax=.
"""

from __future__ import annotations

import math
import re

from agentcg.errors import InvalidInput

SIZE_MAX_BYTES = 1 << 50  # 1 PiB: beyond any host, far below the kernel's own "max"

_SIZE = re.compile(
    r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(?:(?P<unit>[KMGT])(?:i?B)?|B)?", re.IGNORECASE
)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_RULE = "a size such as 512M or 1.5G (K, M, G, T are powers of 1024)"
_DURATION_RULE = "a duration such as 500ms, 30s, 5m or 2h"


def parse_size(text: str, field: str = "size") -> int:
    """Bytes of `text` ("256M", "1.5G", "4096"); 0 to 1 PiB, fractions rounded down."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(field, text, _SIZE_RULE)
    number, factor = match["number"], _FACTORS[(match["unit"] or "").upper()]
    # Whole numbers stay whole: a float has 53 bits only.
    size_bytes = int(float(number) * factor) if "." in number else int(number) * factor
    if size_bytes > SIZE_MAX_BYTES:
        raise InvalidInput(field, text, "at most 1024T")
    return size_bytes


def parse_duration(text: str, field: str = "duration") -> float:
    """Seconds of `text` ("500ms", "30s", "5m", "2h", "1d"; a bare number is seconds)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(field, text, _DURATION_RULE)
    return float(match[1]) * _SECONDS[match[2] or ""]


def format_size(size_bytes: int | None) -> str:
    """`size_bytes` for people, three digits at most: "96M", "1.5G"; "-" for None."""
    if size_bytes is None:
        return "-"
    size, unit = float(size_bytes), "B"
    for larger in "KMGT":
        if size < 999.5:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f}{unit}" if unit == "B" or size >= 9.95 else f"{size:.1f}{unit}"


def format_duration(seconds: float | None) -> str:
    """`seconds` for people in at most six characters: "350ms", "4.2s", "12m", "3h"."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    if seconds < 5970:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 172800 else f"{seconds / 86400:.0f}d"
