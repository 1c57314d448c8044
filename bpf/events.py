# SPDX-License-Identifier: Apache-2.0
"""What the program saw, as Python values. Pure: bytes in, frozen values out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agentcg.bpf.masking import escape, shown_argv
from agentcg.bpf.records import (
    ARGV_BYTES,
    EXEC,
    EXIT,
    OOM,
    AccountRecord,
    EventRecord,
)

_UNKNOWN = (1 << 64) - 1
_HEAD_BYTES = ctypes.sizeof(EventRecord)


class Counters(NamedTuple):
    """What happened in one tracked leaf so far. Exact, also when events were lost."""

    forks: int
    """Processes born in the leaf."""
    threads: int
    """Threads born in the leaf, first threads of processes not counted."""
    placed: int
    """Processes moved into the leaf after their birth."""
    execs: int
    exits: int
    """Processes that ended, by exit or by signal."""
    oom_kills: int | None
    """Processes that the OOM killer marked (memory.events has those that it killed); None where
    the kernel does not tell (before 6.9)."""
    events_lost: int
    """Events of this leaf that found the ring full."""
    first_pid: int | None
    """The first process seen in the leaf, in the host's pid namespace."""
    first_exit_status: int | None
    """Its status as a shell sees it (128+n for signal n); None while it lives."""
    oom_victim: str | None
    """First victim of the OOM killer: "python3[1234]"."""

    run_delay_us: int | None
    """What threads that ended had waited on a run queue, ready to run; None without
    CONFIG_SCHED_INFO."""
    sent_bytes: int | None
    """Through IPv4 and IPv6 sockets, without headers; None before Linux 6.3."""
    received_bytes: int | None
    connections: int | None
    """TCP connections that it began."""

    @property
    def processes(self) -> int:
        """Processes that ever were in the leaf: born there or moved there."""
        return self.forks + self.placed


@dataclass(frozen=True)
class Event:
    """Base of the events; `time_ns` is CLOCK_BOOTTIME, `pid` the process, `comm` its name."""

    cgroup_id: int
    time_ns: int
    pid: int
    comm: str


@dataclass(frozen=True)
class ExecEvent(Event):
    """A program was executed."""

    argv: str
    """Printable, bounded, secrets masked; "" where it could not be read."""


@dataclass(frozen=True)
class ExitEvent(Event):
    """A process ended."""

    status: int
    """As a shell sees it: 0 to 255, 128+n for signal n."""
    signal: int | None
    """The signal that ended it, if one did."""


@dataclass(frozen=True)
class OomEvent(Event):
    """The OOM killer chose this process."""


def shell_status(code: int) -> int:
    """The status that a shell shows for `code`, which is encoded as wait(2) does."""
    signal = code & 0x7F
    return 128 + signal if signal else code >> 8 & 0xFF


class Sees(NamedTuple):
    """What the running kernel tells, of what not every kernel does."""

    oom: bool = True
    traffic: bool = True
    connections: bool = True
    curves: bool = True


def seen(links: Iterable[str]) -> Sees:
    """What programs with these `links` see."""
    attached = set(links)
    return Sees(
        oom="link_on_victim" in attached,
        traffic={"link_on_sent", "link_on_received"} <= attached,
        connections="link_on_socket_state" in attached,
        curves="link_on_runtime" in attached,
    )


def counters_of(record: AccountRecord, sees: Sees) -> Counters:
    """`record` in words; absent facts become None."""
    victim = f"{_text(record.victim_comm)}[{record.victim_pid}]" if record.victim_pid else None
    return Counters(
        forks=record.forks,
        threads=record.threads,
        placed=record.placed,
        execs=record.execs,
        exits=record.exits,
        oom_kills=record.oom_kills if sees.oom else None,
        events_lost=record.lost,
        first_pid=record.first_pid or None,
        first_exit_status=shell_status(record.first_exit_code) if record.first_exited else None,
        oom_victim=victim,
        run_delay_us=None if record.run_delay_ns == _UNKNOWN else record.run_delay_ns // 1000,
        sent_bytes=record.sent_bytes if sees.traffic else None,
        received_bytes=record.received_bytes if sees.traffic else None,
        connections=record.connections if sees.connections else None,
    )


def event_of(data: bytes) -> ExecEvent | ExitEvent | OomEvent | None:
    """The event in one ring record; None for a kind that this version does not know."""
    if len(data) < _HEAD_BYTES:
        return None
    head = EventRecord.from_buffer_copy(data)
    common = (head.cgroup_id, head.time_ns, head.pid, _text(head.comm))
    if head.kind == EXEC:
        kept = data[_HEAD_BYTES:][: min(head.argv_bytes, ARGV_BYTES)]
        argv = shown_argv(kept, cut=head.argv_bytes > ARGV_BYTES) if kept else ""
        return ExecEvent(*common, argv=argv)
    if head.kind == EXIT:
        return ExitEvent(
            *common,
            status=shell_status(head.exit_code),
            signal=head.exit_code & 0x7F or None,
        )
    return OomEvent(*common) if head.kind == OOM else None


def _text(name: bytes) -> str:
    """A process name, which may be any bytes, as printable text."""
    return escape(name.decode("utf-8", "backslashreplace"))
