# SPDX-License-Identifier: Apache-2.0
"""Timelines and curves as SVG. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape

from agentcg.daemon.messages import Curve
from agentcg.daemon.report.recording import RecordedCall, Recording, Sample
from agentcg.units import format_duration, format_size

WIDTH = 1000
_MEMORY, _CPU, _LANE, _LANES_MAX = 140, 60, 12, 24
_TICKS = 6
COLOURS = {
    "test": "#b5443c", "build": "#c98a1b", "install": "#8a6bb8", "python": "#3b7dc4",
    "git": "#4a9a6a", "search": "#6aa8a8", "edit": "#9a9a4a", "lint": "#b06a9a",
    "fileop": "#7a8a9a", "web": "#5a6ac4", "other": "#999999",
}  # fmt: skip


def timeline(recording: Recording, begin: float, duration_s: float) -> str:
    """Memory and CPU of one session, and below them its calls, as many lanes as overlap."""
    scale = WIDTH / max(duration_s, 1e-9)
    lanes = _lanes(recording.calls)
    height = _MEMORY + _CPU + (max(lanes, default=0) + 1) * _LANE + 30
    parts = [f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img">']
    parts += _memory(recording.samples, begin, scale)
    parts += _cpu(recording.samples, begin, scale)
    top = _MEMORY + _CPU + 10
    for one, lane in zip(recording.calls, lanes, strict=True):
        x = (one.call.begun_at - begin) * scale
        width = max((one.end - one.call.begun_at) * scale, 1.0)
        parts.append(
            f'<rect class="call" x="{x:.1f}" y="{top + lane * _LANE}" width="{width:.1f}" '
            f'height="{_LANE - 2}" fill="{COLOURS.get(one.call.category, "#999999")}">'
            f"<title>{escape(told(one))}</title></rect>"
        )
    for number in range(_TICKS + 1):
        x, t_s = WIDTH * number / _TICKS, duration_s * number / _TICKS
        anchor = "end" if number == _TICKS else "middle" if number else "start"
        parts.append(
            f'<text x="{x:.0f}" y="{height - 4}" text-anchor="{anchor}">'
            f"{format_duration(t_s)}</text>"
        )
    return "".join([*parts, "</svg>"])


def curve(drawn: Curve | None) -> str:
    """Memory of one call over its life, small; CPU where memory is not known."""
    points = [] if drawn is None else drawn.points
    if len(points) < 2:
        return ""
    by_memory = all(point.memory_bytes is not None for point in points)
    levels = [float(p.memory_bytes or 0) if by_memory else p.cpu_s for p in points]
    highest, length = max(levels) or 1.0, points[-1].t_s or 1.0
    line = " ".join(
        f"{point.t_s / length * 160:.1f},{30 - level / highest * 28:.1f}"
        for point, level in zip(points, levels, strict=True)
    )
    kind = "memory" if by_memory else "cpu"
    return (
        f'<svg class="curve" viewBox="0 0 160 32"><polyline class="{kind}" points="{line}"/></svg>'
    )


def told(one: RecordedCall) -> str:
    """A call in a line."""
    peak = format_size(one.call.account.memory_peak_bytes)
    took = format_duration(one.end - one.call.begun_at)
    return f"{one.call.command or one.call.tool} ({took}, peak {peak})"


def _memory(samples: Sequence[Sample], begin: float, scale: float) -> list[str]:
    known = [(s.time, s.memory_bytes) for s in samples if s.memory_bytes is not None]
    if not known:
        return ['<text x="4" y="14">memory: not known</text>']
    highest = max(level for _, level in known) or 1
    return [
        _line("memory", [((t - begin) * scale, _MEMORY - level / highest * (_MEMORY - 20))
                         for t, level in known]),
        f'<text x="4" y="14">memory, up to {format_size(highest)}</text>',
    ]  # fmt: skip


def _cpu(samples: Sequence[Sample], begin: float, scale: float) -> list[str]:
    rates = [
        (after.time, (after.cpu_us - before.cpu_us) / 1e6 / (after.time - before.time))
        for before, after in itertools.pairwise(samples)
        if before.cpu_us is not None and after.cpu_us is not None and after.time > before.time
    ]
    if not rates:
        return []
    highest = max(1.0, *(rate for _, rate in rates))
    bottom = _MEMORY + _CPU
    return [
        _line("cpu", [((t - begin) * scale, bottom - max(rate, 0.0) / highest * (_CPU - 16))
                      for t, rate in rates]),
        f'<text x="4" y="{_MEMORY + 12}">CPU, up to {highest:.1f} cores</text>',
    ]  # fmt: skip


def _line(kind: str, points: Sequence[tuple[float, float]]) -> str:
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{text}"/>'


def _lanes(calls: Sequence[RecordedCall]) -> list[int]:
    """A lane for each call, in which nothing else runs then; beyond the last they overlap."""
    free_at: list[float] = []
    lanes = []
    for one in calls:
        lane = next((i for i, end in enumerate(free_at) if end <= one.call.begun_at), None)
        if lane is None:
            lane = min(len(free_at), _LANES_MAX - 1)
        free_at[lane : lane + 1] = [one.end]
        lanes.append(lane)
    return lanes
