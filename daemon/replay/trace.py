# SPDX-License-Identifier: Apache-2.0
"""Reading recorded agent work: one JSON object per run, plain or gzipped.

A trace holds samples of a container's anonymous memory and CPU about once a second, and the tool
calls of the agent in it, on one clock (seconds since the first sample). Files come from outside:
everything is bounded and checked before anything uses it, and every refusal is a `TraceError`
that names file, field and rule. Fields that replay has no use for are ignored.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NoReturn

import msgspec

from agentcg.errors import TraceError, clip

FILE_MAX_BYTES = 32 << 20  # unpacked; the longest recording known has 0.1 MiB
SAMPLES_MAX = 200_000
CALLS_MAX = 20_000
TIME_MAX_S = 7 * 86400.0
MEMORY_MAX_MIB = float(1 << 20)  # 1 TiB
CPU_MAX_PERCENT = 100.0 * 4096
TIME_SLACK_S = 5.0  # agent log and samples come from different writers

SHELL_TOOL = "Bash"
CALL_MIN_S = 0.01  # the log's resolution: nothing runs for no time at all
MODEL_CHECK_DATASET = "glm-local"
MODEL_CHECK_S = 7.3  # median wait before a shell command in that data set (a model is asked first)
MODEL_CHECK_FROM_S = 3.0  # calls shorter than this were not checked


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of equal length, ordered by time."""

    t_s: list[float]
    memory_mib: list[float]  # anonymous memory of the whole container
    cpu_percent: list[float]  # since the sample before; 100 is one core


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call as the agent's log has it."""

    id: str
    tool: str
    cat: str
    start_s: float
    end_s: float | None  # None: no result was ever logged
    command: str = ""
    active_from_s: float | None = None  # first CPU activity, where it could be told


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded run."""

    task: str
    dataset: str
    run: str
    duration_s: float
    samples: Samples
    tool_calls: list[ToolCall]
    format: int = 1

    @property
    def name(self) -> str:
        """Short name for tables: data set, task and run."""
        return "__".join(part for part in (self.dataset, self.task, self.run) if part)


def load(path: Path) -> Trace:
    """The trace in `path` (JSON or gzipped JSON); raises TraceError."""
    return parse(_read(path), str(path))


def parse(raw: bytes, source: str) -> Trace:
    """The trace in `raw`; `source` is the file's name for messages. Raises TraceError."""
    if not raw.strip():
        _refuse(source, "file", "empty", "one JSON object")
    try:
        trace = msgspec.json.decode(raw, type=Trace)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        _refuse(source, where.strip("`$.") or "object", message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(source, "file", f"not JSON ({error})", "one JSON object")
    _check(trace, source)
    return trace


def shell_span(trace: Trace, call: ToolCall) -> tuple[float, float] | None:
    """When the command of a shell call ran, in seconds; None for tools without a process.

    Reading, editing and planning happen inside the agent's own process: only shell calls have
    processes of their own. A call that was never answered runs to the end of the trace.
    """
    if call.tool != SHELL_TOOL:
        return None
    end_s = trace.duration_s if call.end_s is None else min(call.end_s, trace.duration_s)
    start_s = call.start_s
    if call.active_from_s is not None:
        start_s = call.active_from_s
    elif trace.dataset == MODEL_CHECK_DATASET and end_s - start_s >= MODEL_CHECK_FROM_S:
        start_s = start_s + MODEL_CHECK_S
    end_s = max(end_s, CALL_MIN_S)
    return max(0.0, min(start_s, end_s - CALL_MIN_S)), end_s


def _read(path: Path) -> bytes:
    """The unpacked content, never more than the bound."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if packed:
                with gzip.open(plain) as unpacked:
                    raw = unpacked.read(FILE_MAX_BYTES + 1)
            else:
                raw = plain.read(FILE_MAX_BYTES + 1)
    except EOFError:
        _refuse(str(path), "file", "truncated gzip data", "a whole file")
    except (gzip.BadGzipFile, zlib.error) as error:
        _refuse(str(path), "file", f"damaged gzip data ({error})", "a whole file")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    if len(raw) > FILE_MAX_BYTES:
        _refuse(str(path), "file", "too large", f"at most {FILE_MAX_BYTES >> 20} MiB unpacked")
    return raw


def _check(trace: Trace, source: str) -> None:
    """The rules that types cannot express."""
    if trace.format != 1:
        _refuse(source, "format", trace.format, "1, the only format known")
    _in_range(source, "duration_s", trace.duration_s, 0.0, TIME_MAX_S)
    if trace.duration_s == 0:
        _refuse(source, "duration_s", 0, "more than 0 seconds")
    _check_samples(trace.samples, source)
    if len(trace.tool_calls) > CALLS_MAX:
        _refuse(source, "tool_calls", f"{len(trace.tool_calls)} entries", f"at most {CALLS_MAX}")
    for index, call in enumerate(trace.tool_calls):
        _check_call(call, f"tool_calls[{index}]", trace.duration_s + TIME_SLACK_S, source)


def _check_samples(samples: Samples, source: str) -> None:
    count = len(samples.t_s)
    if not 2 <= count <= SAMPLES_MAX:
        _refuse(source, "samples.t_s", f"{count} entries", f"2 to {SAMPLES_MAX}")
    columns = {
        "t_s": (samples.t_s, TIME_MAX_S),
        "memory_mib": (samples.memory_mib, MEMORY_MAX_MIB),
        "cpu_percent": (samples.cpu_percent, CPU_MAX_PERCENT),
    }
    for name, (column, highest) in columns.items():
        if len(column) != count:
            _refuse(source, f"samples.{name}", f"{len(column)} entries", f"{count}, as in t_s")
        for index, value in enumerate(column):
            _in_range(source, f"samples.{name}[{index}]", value, 0.0, highest)
    for index in range(1, count):
        if samples.t_s[index] <= samples.t_s[index - 1]:
            _refuse(
                source, f"samples.t_s[{index}]", samples.t_s[index], "later than the one before"
            )


def _check_call(call: ToolCall, where: str, latest_s: float, source: str) -> None:
    _in_range(source, f"{where}.start_s", call.start_s, -TIME_SLACK_S, latest_s)
    if call.end_s is not None:
        _in_range(source, f"{where}.end_s", call.end_s, call.start_s, latest_s)
    if call.active_from_s is not None:  # from samples: may lie a rounding error after the end
        last_s = latest_s if call.end_s is None else call.end_s
        _in_range(source, f"{where}.active_from_s", call.active_from_s, -TIME_SLACK_S, last_s + 0.1)


def _in_range(source: str, field: str, value: float, lowest: float, highest: float) -> None:
    if not (math.isfinite(value) and lowest <= value <= highest):
        _refuse(source, field, value, f"a number from {lowest:g} to {highest:g}")


def _refuse(source: str, field: str, value: object, rule: str = "") -> NoReturn:
    shown = value if isinstance(value, str) else clip(value)
    raise TraceError(f"{source}: {field}: {shown}" + (f"; it must be {rule}" if rule else ""))
