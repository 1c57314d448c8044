# SPDX-License-Identifier: Apache-2.0
"""What the scheduler and memory delay did with a call or session, in words."""

from __future__ import annotations

from agentcg.daemon.messages import Delayed, Scheduled
from agentcg.units import format_duration, format_size


def words(scheduled: Scheduled | None, delayed: Delayed | None) -> str | None:
    """One line, without what did not happen; None where there is nothing to tell."""
    parts = [*_scheduled(scheduled), *_delayed(delayed)]
    return ", ".join(parts) or None


def _scheduled(scheduled: Scheduled | None) -> list[str]:
    if scheduled is None:
        return []
    parts = [f"ran {_time(scheduled.run_us)}"]
    if scheduled.wait_us:
        longest = f" ({_time(scheduled.longest_wait_us)} longest)" if scheduled.waits > 1 else ""
        parts.append(f"waited {_time(scheduled.wait_us)} for a CPU{longest}")
    if scheduled.boosts:
        parts.append(f"boosted {_times(scheduled.boosts)}")
    return parts


def _delayed(delayed: Delayed | None) -> list[str]:
    if delayed is None or not delayed.count:
        return []
    over = f"{format_size(delayed.overshoot_bytes)} over at most"
    if delayed.count == 1:
        return [f"held up once for memory: {_time(delayed.total_us)}, {over}"]
    return [
        f"held up {delayed.count} times for memory: {_time(delayed.total_us)} together, "
        f"{_time(delayed.longest_us)} longest, {over}"
    ]


def _time(us: int) -> str:
    return format_duration(us / 1e6)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
