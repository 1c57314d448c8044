# SPDX-License-Identifier: Apache-2.0
"""Traces for the tests, as literals and as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from agentcg.daemon.replay.trace import Samples, ToolCall, Trace


def shell(name: str, start_s: float, end_s: float | None, **more: object) -> ToolCall:
    """A shell call."""
    fields: dict[str, object] = {"tool": "Bash", "cat": "test", "command": f"run {name}"} | more
    return ToolCall(id=name, start_s=start_s, end_s=end_s, **fields)  # type: ignore[arg-type]


def trace(
    memory_mib: list[float],
    calls: list[ToolCall] | None = None,
    *,
    cpu_percent: list[float] | None = None,
    dataset: str = "tests",
) -> Trace:
    """A trace with a sample each second, the first at 0."""
    count = len(memory_mib)
    return Trace(
        task="task",
        dataset=dataset,
        run="a1",
        duration_s=float(count - 1),
        samples=Samples(
            t_s=[float(i) for i in range(count)],
            memory_mib=memory_mib,
            cpu_percent=cpu_percent or [0.0] * count,
        ),
        tool_calls=calls or [],
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Any trace that `trace.parse` accepts, of up to a minute."""
    count = draw(st.integers(2, 40))
    steps = draw(st.lists(st.floats(0.1, 3.0), min_size=count - 1, max_size=count - 1))
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    duration_s = times[-1]
    spans = st.tuples(st.floats(0.0, duration_s), st.floats(0.0, duration_s / 2))
    calls = [
        shell(
            f"c{index}",
            start_s,
            draw(st.sampled_from([None, start_s + length_s])),
            tool=draw(st.sampled_from(["Bash", "Bash", "Read"])),
        )
        for index, (start_s, length_s) in enumerate(draw(st.lists(spans, max_size=8)))
    ]
    numbers = {"min_size": count, "max_size": count}
    return Trace(
        task="task",
        dataset=draw(st.sampled_from(["tests", "glm-local"])),
        run="a1",
        duration_s=duration_s + draw(st.floats(0.0, 2.0)),
        samples=Samples(
            t_s=times,
            memory_mib=draw(st.lists(st.floats(0.0, 2000.0), **numbers)),
            cpu_percent=draw(st.lists(st.floats(0.0, 800.0), **numbers)),
        ),
        tool_calls=calls,
    )
