# SPDX-License-Identifier: Apache-2.0
"""Whose memory and CPU is it: the agent's or a call's? Pure.

A recording has one curve for the whole container. The rules by which it is divided:

Memory. While shell calls are open, the agent is held at the lower of its last level before them
and the lowest sample during them; what a sample shows above that belongs to the open calls, in
equal parts. At every sample the parts add up to the recording.

CPU of a sample interval goes to the calls open in it, at most one core each, then to the agent, at
most one core. What is left cannot be played by single-threaded processes: `cut_s`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from agentcg.daemon.replay.trace import Trace, shell_span

SAMPLE_LAG_S = 0.5  # a sample so soon after a call's end may still show the call (measured: 0.25 s)
BASE_QUANTILE = 0.05  # the idle agent process, "framework base"
STARTUP_S = 5.0  # left out of the base,
ENDING_S = 3.0  # and so are the last seconds


@dataclass(frozen=True)
class Span:
    """When the command of tool call number `index` ran."""

    start_s: float
    end_s: float
    index: int


@dataclass(frozen=True)
class Cluster:
    """Shell calls that overlap, ordered by start."""

    spans: list[Span]
    end_s: float

    @property
    def start_s(self) -> float:
        """When the first of them began."""
        return self.spans[0].start_s

    def open_at(self, time_s: float) -> list[Span]:
        """The calls running at `time_s`; if all have ended, the one that ended last."""
        running = [span for span in self.spans if span.start_s <= time_s <= span.end_s]
        return running or [max(self.spans, key=lambda span: span.end_s)]


@dataclass(frozen=True)
class MemorySplit:
    """MiB of each part; the recording is `agent_mib[i]` plus the calls' shares at sample i."""

    base_mib: float
    agent_mib: list[float]  # one per sample, never below the base
    held_mib: list[float]  # of the agent during each cluster
    calls_mib: dict[int, dict[int, float]]  # tool call -> sample -> share


@dataclass(frozen=True)
class CpuSplit:
    """Cores that each part keeps busy in the interval that ends with sample i."""

    times_s: list[float]
    call_rate: list[float]
    agent_rate: list[float]
    cut_s: float

    def burned_s(self, rates: list[float], start_s: float, end_s: float) -> float:
        """CPU seconds from `start_s` to `end_s`, which lie in one sample interval."""
        index = bisect_left(self.times_s, end_s)
        return rates[index] * (end_s - start_s) if 0 < index < len(rates) else 0.0


def clusters(trace: Trace) -> list[Cluster]:
    """The shell calls of `trace` in groups that overlap, ordered by time."""
    spans: list[Span] = []
    for index, call in enumerate(trace.tool_calls):
        ran = shell_span(trace, call)
        if ran is not None:
            spans.append(Span(*ran, index))
    spans.sort(key=lambda span: (span.start_s, span.end_s))
    found: list[Cluster] = []
    for span in spans:
        if found and span.start_s < found[-1].end_s:
            last = found.pop()
            found.append(Cluster([*last.spans, span], max(last.end_s, span.end_s)))
        else:
            found.append(Cluster([span], span.end_s))
    return found


def base_mib(trace: Trace) -> float:
    """What the idle agent holds: the 5th percentile of memory without start and end."""
    last_s = trace.duration_s - ENDING_S
    samples = trace.samples
    body = [
        memory for time_s, memory in zip(samples.t_s, samples.memory_mib, strict=True)
        if STARTUP_S < time_s < last_s
    ] or samples.memory_mib  # fmt: skip
    ordered = sorted(body)
    position = (len(ordered) - 1) * BASE_QUANTILE
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def split_memory(trace: Trace, groups: list[Cluster]) -> MemorySplit:
    """Divide the memory of every sample between the agent and the open calls."""
    base = base_mib(trace)
    times_s, memory = trace.samples.t_s, trace.samples.memory_mib
    agent: list[float] = []
    held_mib: list[float] = []
    calls: dict[int, dict[int, float]] = {}
    for cluster, inside in zip(groups, _samples_of(times_s, groups), strict=True):
        agent += [max(base, level) for level in memory[len(agent) : inside.start]]
        before = agent[-1] if agent else base
        held = max(base, min([before, *memory[inside.start : inside.stop]]))
        held_mib.append(held)
        agent += [held] * len(inside)
        for i in inside:
            running = cluster.open_at(times_s[i])
            for span in running:
                share = max(0.0, memory[i] - held) / len(running)
                calls.setdefault(span.index, {})[i] = share
    agent += [max(base, level) for level in memory[len(agent) :]]
    return MemorySplit(base, agent, held_mib, calls)


def split_cpu(trace: Trace, groups: list[Cluster]) -> CpuSplit:
    """Divide the CPU of every sample interval between the open calls and the agent."""
    times_s, percent = trace.samples.t_s, trace.samples.cpu_percent
    call_time = [0.0] * len(times_s)  # summed over the calls open in the interval
    covered = [0.0] * len(times_s)  # with any call open
    for cluster in groups:
        _add_overlap(covered, times_s, cluster.start_s, cluster.end_s)
        for span in cluster.spans:
            _add_overlap(call_time, times_s, span.start_s, span.end_s)
    call_rate, agent_rate, cut_s = [0.0], [0.0], 0.0
    for i in range(1, len(times_s)):
        length_s = times_s[i] - times_s[i - 1]
        left_s = percent[i] / 100 * length_s
        call_rate.append(min(1.0, left_s / call_time[i]) if call_time[i] > 0 else 0.0)
        left_s = max(0.0, left_s - call_rate[i] * call_time[i])
        free_s = max(0.0, length_s - covered[i])
        agent_rate.append(min(1.0, left_s / free_s) if free_s > 1e-9 else 0.0)
        cut_s += left_s - agent_rate[i] * free_s
    return CpuSplit(times_s, call_rate, agent_rate, cut_s)


def _samples_of(times_s: list[float], groups: list[Cluster]) -> list[range]:
    """Which samples show each cluster: those during it and, until the next, just after it."""
    found: list[range] = []
    next_start = len(times_s)
    for cluster in reversed(groups):
        first = bisect_left(times_s, cluster.start_s)
        last = bisect_right(times_s, cluster.end_s + SAMPLE_LAG_S)
        found.append(range(first, max(first, min(last, next_start))))
        next_start = first
    return found[::-1]


def _add_overlap(total: list[float], times_s: list[float], start_s: float, end_s: float) -> None:
    """Add to each sample interval how much of `start_s`..`end_s` lies in it."""
    i = max(1, bisect_right(times_s, start_s))
    while i < len(times_s) and times_s[i - 1] < end_s:
        total[i] += max(0.0, min(end_s, times_s[i]) - max(start_s, times_s[i - 1]))
        i += 1
