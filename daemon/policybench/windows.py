# SPDX-License-Identifier: Apache-2.0
"""A part of a trace around its peak, so that many mixes can be played in little time. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from msgspec.structs import replace

from agentcg.daemon.replay.trace import Samples, ToolCall, Trace

SAMPLES_LEAST = 8


def around_peak(trace: Trace, length_s: float, peak_at: float) -> Trace:
    """`length_s` recorded seconds of `trace`, its peak at `peak_at` (0 to 1) of them.

    The whole trace where it is not longer. Windows do not run over its ends.
    """
    if trace.duration_s <= length_s:
        return trace
    memory, times_s = trace.samples.memory_mib, trace.samples.t_s
    peak_s = times_s[memory.index(max(memory))]
    start_s = min(max(0.0, peak_s - peak_at * length_s), trace.duration_s - length_s)
    return window(trace, start_s, start_s + length_s)


def window(trace: Trace, start_s: float, end_s: float) -> Trace:
    """`trace` from `start_s` to `end_s`; calls that lie across an end are cut there.

    The agent begins with what it held at the start (the base is that of the window).
    """
    times_s = trace.samples.t_s
    first, last = bisect_left(times_s, start_s), bisect_right(times_s, end_s)
    if last - first < SAMPLES_LEAST:
        return trace
    part = slice(first, last)
    samples = Samples(
        t_s=[time_s - start_s for time_s in times_s[part]],
        memory_mib=trace.samples.memory_mib[part],
        cpu_percent=trace.samples.cpu_percent[part],
    )
    calls = [_shifted(call, start_s, end_s) for call in trace.tool_calls]
    return replace(
        trace,
        duration_s=end_s - start_s,
        samples=samples,
        tool_calls=[call for call in calls if call is not None],
    )


def _shifted(call: ToolCall, start_s: float, end_s: float) -> ToolCall | None:
    """A call as the window has it; None where it lies outside."""
    ended_s = end_s if call.end_s is None else min(call.end_s, end_s)
    if ended_s <= start_s or call.start_s >= end_s:
        return None
    active = call.active_from_s
    if active is not None:
        active = min(max(0.0, active - start_s), ended_s - start_s)
    return replace(
        call,
        start_s=max(0.0, call.start_s - start_s),
        end_s=ended_s - start_s,
        active_from_s=active,
    )
