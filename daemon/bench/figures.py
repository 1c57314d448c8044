# SPDX-License-Identifier: Apache-2.0
"""What a measurement gives, and how it is shown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Figure:
    """One figure under two conditions; None where it was not, or cannot be, measured."""

    name: str
    unit: str
    kernel: float | None
    """With the kernel's own scheduler, or without delay."""
    agentcg: float | None
    ideal: float | None = None


class Measured(NamedTuple):
    """One value under one condition."""

    name: str
    unit: str
    value: float
    ideal: float | None = None


def machine() -> dict[str, Any]:
    """On what it was measured."""
    release = os.uname().release
    load = Path("/proc/loadavg").read_text().split()[0]
    return {"kernel": release, "cpus": os.cpu_count(), "load_at_end": float(load)}


def document(figures: Iterable[Figure]) -> dict[str, Any]:
    """For --json."""
    return {"machine": machine(), "figures": list(figures)}


def table(figures: Iterable[Figure]) -> str:
    """For a terminal."""
    rows = [("figure", "unit", "kernel", "agentcg", "ideal")]
    rows += [
        (one.name, one.unit, _shown(one.kernel), _shown(one.agentcg), _shown(one.ideal))
        for one in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
