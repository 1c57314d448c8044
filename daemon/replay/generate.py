# SPDX-License-Identifier: Apache-2.0
"""Traces drawn from the distributions of recorded ones: the same seed gives the same trace.

For machines without recordings, and for more mixes than were recorded. Calls are independent of
each other, so the habit of real runs to repeat a call is missing; so is memory that a call leaves
behind. What is kept: durations, bursts, gaps, base, growth, CPU, the share of shell calls.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import NormalDist

from agentcg.daemon.replay import distributions as known
from agentcg.daemon.replay.trace import SHELL_TOOL, Samples, ToolCall, Trace

_NORMAL = NormalDist()
_FIRST_CALL_S = 2.0  # the agent starts


@dataclass(frozen=True)
class _Burst:
    """A shell call with what it does to memory and CPU."""

    call: ToolCall
    start_s: float
    end_s: float
    rise_s: float
    rise_mib: float
    cpu: float

    def memory_mib(self, time_s: float) -> float:
        """MiB held at `time_s`."""
        if not self.start_s <= time_s < self.end_s:
            return 0.0
        return self.rise_mib * min(1.0, (time_s - self.start_s) / self.rise_s)

    def cpu_s(self, from_s: float, to_s: float) -> float:
        """CPU seconds used between two times."""
        return self.cpu * max(0.0, min(to_s, self.end_s) - max(from_s, self.start_s))


def generate(seed: str, *, duration_s: float | None = None) -> Trace:
    """A trace for `seed`; of `duration_s` seconds, or as long as recorded runs are."""
    source = random.Random(f"agentcg/{seed}")  # noqa: S311 - to repeat, not to hide
    length_s = known.RUN_S.draw(source) if duration_s is None else duration_s
    bursts, calls = _calls(source, length_s)
    return Trace(
        task=f"gen-{seed}",
        dataset="generated",
        run="g1",
        duration_s=length_s,
        samples=_samples(source, length_s, bursts),
        tool_calls=calls,
    )


def _calls(source: random.Random, length_s: float) -> tuple[list[_Burst], list[ToolCall]]:
    """Tool calls with gaps between them until the run is over."""
    bursts: list[_Burst] = []
    calls: list[ToolCall] = []
    now_s = _FIRST_CALL_S + known.GAP_S.draw(source)
    while now_s < length_s:
        name = f"gen{len(calls):04d}"
        tool = _tool(source)
        if tool is None:
            burst = _burst(source, name, now_s, length_s)
            bursts.append(burst)
            calls.append(burst.call)
            if source.random() < known.PARALLEL:
                now_s += burst.rise_s / 2
                continue
        else:
            end_s = min(length_s, now_s + known.AGENT_TOOL_S.draw(source))
            calls.append(ToolCall(id=name, tool=tool[0], cat=tool[1], start_s=now_s, end_s=end_s))
        now_s = max([call.end_s or 0.0 for call in calls]) + known.GAP_S.draw(source)
    return bursts, calls


def _tool(source: random.Random) -> tuple[str, str] | None:
    """A tool inside the agent, or None for a shell call."""
    left = source.random()
    for name, category, share in known.AGENT_TOOLS:
        left -= share
        if left < 0:
            return name, category
    return None


def _burst(source: random.Random, name: str, start_s: float, length_s: float) -> _Burst:
    """A shell call of some kind: the longer, the larger, by and large."""
    kind = source.choices(known.CALLS, [kind.share for kind in known.CALLS])[0]
    score = source.gauss(0.0, 1.0)
    duration_s = kind.duration_s.at(_NORMAL.cdf(score))
    end_s = min(length_s, start_s + duration_s)
    call = ToolCall(
        id=name,
        tool=SHELL_TOOL,
        cat=kind.category,
        start_s=start_s,
        end_s=end_s,
        command=kind.command,
    )
    rise_s = min(duration_s, known.RISE_S.draw(source))
    rise_mib = kind.rise_mib.at(_related(source, score))
    return _Burst(call, start_s, end_s, rise_s, rise_mib, kind.cpu.at(_related(source, score)))


def _related(source: random.Random, score: float) -> float:
    """A share, evenly distributed by itself, correlated with the one behind `score`."""
    weight = known.LONGER_IS_LARGER
    return _NORMAL.cdf(weight * score + (1 - weight**2) ** 0.5 * source.gauss(0.0, 1.0))


def _samples(source: random.Random, length_s: float, bursts: list[_Burst]) -> Samples:
    """What a sampler would have seen."""
    base_mib, growth_mib = known.BASE_MIB.draw(source), known.GROWTH_MIB.draw(source)
    count = max(2, int(length_s / known.SAMPLE_S) + 1)
    times_s = [i * known.SAMPLE_S for i in range(count)]
    memory: list[float] = []
    cpu: list[float] = []
    for i, now_s in enumerate(times_s):
        before_s = times_s[i - 1] if i else 0.0
        near = [burst for burst in bursts if burst.start_s <= now_s and burst.end_s >= before_s]
        own = base_mib + growth_mib * now_s / length_s
        memory.append(own + sum(burst.memory_mib(now_s) for burst in near))
        idle_s = known.GAP_CPU.draw(source) * known.SAMPLE_S
        used_s = idle_s + sum(burst.cpu_s(before_s, now_s) for burst in near)
        cpu.append(100 * used_s / known.SAMPLE_S)
    return Samples(t_s=times_s, memory_mib=memory, cpu_percent=cpu)
