# SPDX-License-Identifier: Apache-2.0
"""From a recording to the trace format that `agentcg replay` plays. Pure."""

from __future__ import annotations

import itertools

import msgspec

from agentcg.daemon.replay.trace import Samples, ToolCall, Trace, parse
from agentcg.daemon.report.recording import Recording, Sample
from agentcg.errors import TraceError

MIB = 1 << 20
SHELL = "Bash"  # what replay runs as processes


def trace(recording: Recording, session: str) -> Trace:
    """The trace of one session. Raises `TraceError` where the recording has too little for one."""
    part = recording.of(session)
    samples = _in_order(part.samples)
    if len(samples) < 2:
        raise TraceError(
            f"session {session!r}: {len(samples)} samples with memory and CPU",
            remedy="a trace needs 2: record while the session runs, with the memory controller",
        )
    begin = samples[0].time
    made = Trace(
        task=session,
        dataset="agentcg",
        run="",
        duration_s=round(samples[-1].time - begin, 3),
        samples=Samples(
            t_s=[round(one.time - begin, 3) for one in samples],
            memory_mib=[round((one.anon_bytes or 0) / MIB, 3) for one in samples],
            cpu_percent=_percents(samples),
        ),
        tool_calls=[
            ToolCall(
                id=one.call.id,
                tool=SHELL,
                cat=one.call.category,
                start_s=round(one.call.begun_at - begin, 3),
                end_s=round(one.end - begin, 3),
                command=one.call.command or one.call.tool,
            )
            for one in part.calls
            if begin <= one.call.begun_at and one.end <= samples[-1].time
        ],
    )
    return parse(msgspec.json.encode(made), f"session {session!r}")  # as replay will check it


def _in_order(samples: list[Sample]) -> list[Sample]:
    """Those that say memory and CPU, each at least a millisecond after the one before."""
    found: list[Sample] = []
    for one in sorted(samples, key=lambda one: one.time):
        known = one.anon_bytes is not None and one.cpu_us is not None
        if known and (not found or one.time - found[-1].time >= 0.001):
            found.append(one)
    return found


def _percents(samples: list[Sample]) -> list[float]:
    """CPU since the sample before; of the first it is not known: 0."""
    percents = [0.0]
    for before, now in itertools.pairwise(samples):
        used_s = ((now.cpu_us or 0) - (before.cpu_us or 0)) / 1e6
        percents.append(round(max(0.0, used_s / (now.time - before.time)) * 100, 2))
    return percents
