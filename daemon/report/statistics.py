# SPDX-License-Identifier: Apache-2.0
"""What a recording says, in numbers. Pure.

A burst is a call whose memory rose by BURST_BYTES within BURST_S. Calling is the time in which at
least one call ran; all the rest of a session's time counts as thinking.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from agentcg.daemon.report.recording import RecordedCall, Recording

BURST_BYTES = 100 << 20
BURST_S = 1.0


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one category: seconds and bytes."""

    name: str
    calls: int
    total_s: float
    p50_s: float
    p95_s: float
    max_s: float
    p50_peak_bytes: int | None
    max_peak_bytes: int | None
    cpu_s: float | None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """One session over its recording."""

    session: str
    begun_at: float
    duration_s: float
    calls: int
    failed: int
    killed: int
    calling_s: float
    thinking_s: float
    calling_share: float
    parallel_max: int
    gap_p50_s: float | None
    gap_max_s: float | None
    memory_peak_bytes: int | None
    memory_average_bytes: int | None
    peak_to_average: float | None
    cpu_s: float | None
    bursts: int
    burst_max_bytes: int | None
    categories: list[Category]


def statistics(recording: Recording, session: str) -> Statistics:
    """The numbers of one session."""
    part = recording.of(session)
    calls = part.calls
    times = [one.time for one in part.samples]
    begun_at = min([*times, *(one.call.begun_at for one in calls)], default=0.0)
    ended_at = max([*times, *(one.end for one in calls)], default=0.0)
    busy = union([(one.call.begun_at, one.end) for one in calls])
    calling_s = sum(end - begin for begin, end in busy)
    duration_s = ended_at - begun_at
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(busy)]
    levels = [one.memory_bytes for one in part.samples if one.memory_bytes is not None]
    peaks = [*levels, *_known(one.call.account.memory_peak_bytes for one in calls)]
    average = sum(levels) / len(levels) if levels else None
    peak = max(peaks, default=None)
    rises = _known(rise(one) for one in calls)
    return Statistics(
        session=session,
        begun_at=begun_at,
        duration_s=duration_s,
        calls=len(calls),
        failed=sum(bool(one.call.exit_status) for one in calls),
        killed=sum(one.call.end_reason in ("oom", "killed") for one in calls),
        calling_s=calling_s,
        thinking_s=duration_s - calling_s,
        calling_share=calling_s / duration_s if duration_s > 0 else 0.0,
        parallel_max=most_at_once([(one.call.begun_at, one.end) for one in calls]),
        gap_p50_s=quantile(gaps, 0.5),
        gap_max_s=max(gaps, default=None),
        memory_peak_bytes=peak,
        memory_average_bytes=None if average is None else round(average),
        peak_to_average=peak / average if peak is not None and average else None,
        cpu_s=cpu_s(calls),
        bursts=sum(one >= BURST_BYTES for one in rises),
        burst_max_bytes=max(rises, default=None),
        categories=categories(calls),
    )


def categories(calls: Sequence[RecordedCall]) -> list[Category]:
    """Calls by category, the one that took longest first."""
    found: dict[str, list[RecordedCall]] = {}
    for one in calls:
        found.setdefault(one.call.category, []).append(one)
    rows = []
    for name, members in found.items():
        times = [one.end - one.call.begun_at for one in members]
        peaks = _known(one.call.account.memory_peak_bytes for one in members)
        middle = quantile(peaks, 0.5)
        rows.append(
            Category(
                name=name,
                calls=len(members),
                total_s=sum(times),
                p50_s=quantile(times, 0.5) or 0.0,
                p95_s=quantile(times, 0.95) or 0.0,
                max_s=max(times),
                p50_peak_bytes=None if middle is None else round(middle),
                max_peak_bytes=max(peaks, default=None),
                cpu_s=cpu_s(members),
            )
        )
    return sorted(rows, key=lambda row: (-row.total_s, row.name))


def cpu_s(calls: Iterable[RecordedCall]) -> float | None:
    """CPU seconds of all of them; None if none is known."""
    known = [
        account.cpu_user_us + account.cpu_system_us
        for account in (one.call.account for one in calls)
        if account.cpu_user_us is not None and account.cpu_system_us is not None
    ]
    return sum(known) / 1e6 if known else None


def rise(one: RecordedCall) -> int | None:
    """The most bytes by which its memory rose within BURST_S; None where it is not known."""
    points = [] if one.curve is None else one.curve.points
    known = [(p.t_s, p.memory_bytes) for p in points if p.memory_bytes is not None]
    if not known:
        return None
    best, first = 0, 0
    for index, (t_s, level) in enumerate(known):
        while t_s - known[first][0] > BURST_S:
            first += 1
        best = max(best, level - min(low for _, low in known[first : index + 1]))
    return best


def union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans with those that overlap made one, in order."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """How many of the spans overlap at most; one that ends as another begins does not."""
    changes = sorted(change for begin, end in spans for change in ((begin, 1), (end, -1)))
    now = most = 0
    for _, step in changes:
        now += step
        most = max(most, now)
    return most


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value that `share` of all do not exceed, interpolated; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    position = (len(ordered) - 1) * share
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
