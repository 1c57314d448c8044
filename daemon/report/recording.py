# SPDX-License-Identifier: Apache-2.0
"""A recording: calls with their curves, and samples of sessions; in memory and as a directory.

DIR/calls.jsonl      one ended call a line, with its curve
DIR/samples.jsonl    one look at one session a line
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from agentcg.daemon.messages import Call, Curve, Session
from agentcg.errors import TraceError

CALLS, SAMPLES = "calls.jsonl", "samples.jsonl"
FILE_MAX_BYTES = 256 << 20


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A session at one moment (seconds since the epoch)."""

    time: float
    session: str
    memory_bytes: int | None
    anon_bytes: int | None
    cpu_us: int | None


class RecordedCall(msgspec.Struct, frozen=True, kw_only=True):
    """An ended call and how its use went."""

    call: Call
    curve: Curve | None = None

    @property
    def end(self) -> float:
        """When it ended."""
        return self.call.begun_at if self.call.ended_at is None else self.call.ended_at


class Recording(msgspec.Struct, kw_only=True):
    """What was recorded, each list in order of time."""

    calls: list[RecordedCall] = msgspec.field(default_factory=list)
    samples: list[Sample] = msgspec.field(default_factory=list)

    def sessions(self) -> list[str]:
        """Names of the sessions in it."""
        names = {one.call.session for one in self.calls} | {one.session for one in self.samples}
        return sorted(names)

    def of(self, session: str) -> Recording:
        """The part of one session."""
        calls = [one for one in self.calls if one.call.session == session]
        return Recording(
            calls=sorted(calls, key=lambda one: one.call.begun_at),
            samples=[one for one in self.samples if one.session == session],
        )


_Line = TypeVar("_Line", RecordedCall, Sample)
_encoder = msgspec.json.Encoder()


def sample_of(session: Session, time: float) -> Sample:
    """What a recording keeps of one look at `session`."""
    return Sample(
        time=time,
        session=session.name,
        memory_bytes=session.memory_current_bytes,
        anon_bytes=session.memory_anon_bytes,
        cpu_us=session.cpu_usage_us,
    )


def append(directory: Path, recording: Recording) -> None:
    """Add to the recording in `directory`, which is made if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, lines in ((CALLS, recording.calls), (SAMPLES, recording.samples)):
            with (directory / name).open("ab") as file:
                file.writelines(_encoder.encode(line) + b"\n" for line in lines)
    except OSError as error:
        raise TraceError(f"{error.filename or directory}: {error.strerror}") from error


def load(directory: Path) -> Recording:
    """The recording in `directory`; raises `TraceError` with file and line."""
    if not (directory / CALLS).exists() and not (directory / SAMPLES).exists():
        raise TraceError(
            f"{directory}: no recording: neither {CALLS} nor {SAMPLES} is there",
            remedy="make one with `agentcg record DIR`",
        )
    return Recording(
        calls=list(_lines(directory / CALLS, RecordedCall)),
        samples=list(_lines(directory / SAMPLES, Sample)),
    )


def _lines(path: Path, kind: type[_Line]) -> Iterable[_Line]:
    decoder = msgspec.json.Decoder(kind)
    try:
        if not path.exists():
            return
        if path.stat().st_size > FILE_MAX_BYTES:
            raise TraceError(f"{path}: larger than {FILE_MAX_BYTES >> 20} MiB")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    last = len(lines) - 1
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            if number == last:  # being written, or cut off with its recorder
                return
            raise TraceError(f"{path}: line {number + 1}: {error}") from error
