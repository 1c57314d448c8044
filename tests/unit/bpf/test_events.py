# SPDX-License-Identifier: Apache-2.0
"""Records of the program become values: literal bytes in, dataclasses out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.bpf.events import (
    Counters,
    ExecEvent,
    ExitEvent,
    OomEvent,
    Sees,
    counters_of,
    event_of,
    seen,
    shell_status,
)
from agentcg.bpf.records import AccountRecord


def _record(kind: int, exit_code: int = 0, argv_bytes: int = 0, argv: bytes = b"") -> bytes:
    head = struct.pack("=QQIIII16s", 4711, 1000, kind, 42, exit_code, argv_bytes, b"tool")
    return head + argv.ljust(256, b"\xaa")


def test_exec_record() -> None:
    """The arguments end where the record says, not at what the ring held before."""
    event = event_of(_record(1, argv_bytes=7, argv=b"tool\0x\0"))
    assert event == ExecEvent(4711, 1000, 42, "tool", argv="tool x")


def test_exec_record_cut() -> None:
    """A length beyond the record means that the arguments were cut."""
    event = event_of(_record(1, argv_bytes=9000, argv=b"tool " * 60))
    assert isinstance(event, ExecEvent)
    assert event.argv.endswith("tool …'")


def test_exec_record_without_arguments() -> None:
    """Arguments that could not be read are empty, not an error."""
    event = event_of(_record(1))
    assert isinstance(event, ExecEvent)
    assert event.argv == ""


@pytest.mark.parametrize(
    ("code", "status", "signal"), [(0, 0, None), (0x300, 3, None), (9, 137, 9), (0x8B, 139, 11)]
)
def test_exit_record(code: int, status: int, signal: int | None) -> None:
    """Status and signal are taken apart as wait(2) defines; a core dump is no other signal."""
    event = event_of(_record(2, exit_code=code))
    assert event == ExitEvent(4711, 1000, 42, "tool", status=status, signal=signal)


def test_oom_record() -> None:
    """A victim is a process with its name."""
    assert event_of(_record(3)) == OomEvent(4711, 1000, 42, "tool")


def test_unknown_kind_is_passed_over() -> None:
    """A kind that a newer program writes is no reason to stop."""
    assert event_of(_record(99)) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(data: bytes) -> None:
    """No content of the ring makes reading fail."""
    event_of(data)


@given(st.integers(0, 0xFFFF))
def test_status_is_what_a_shell_shows(code: int) -> None:
    """Every encoded status maps to 0..255."""
    assert 0 <= shell_status(code) <= 255


def test_fresh_account() -> None:
    """Before anything happened there is no first process, no status and no victim."""
    assert counters_of(AccountRecord(), Sees()) == Counters(
        forks=0, threads=0, placed=0, execs=0, exits=0, oom_kills=0, events_lost=0,
        first_pid=None, first_exit_status=None, oom_victim=None,
        run_delay_us=0, sent_bytes=0, received_bytes=0, connections=0,
    )  # fmt: skip


def test_account_with_a_victim() -> None:
    """The victim is named with its pid, made printable."""
    record = AccountRecord(
        oom_kills=2, victim_pid=77, victim_comm=b"a\x1bb", first_pid=77, first_exited=1,
        first_exit_code=9,
    )  # fmt: skip
    counters = counters_of(record, Sees())
    assert counters.oom_victim == "a\\x1bb[77]"
    assert (counters.oom_kills, counters.first_exit_status) == (2, 137)


def test_absent_oom_tracepoint_is_not_zero() -> None:
    """Where the kernel cannot tell victims, their number is unknown."""
    assert counters_of(AccountRecord(), Sees(oom=False)).oom_kills is None


def test_what_this_kernel_does_not_tell_is_not_zero() -> None:
    """Without its tracepoints, traffic and connections are unknown; so are waits where the
    program says so."""
    unknown = counters_of(AccountRecord(run_delay_ns=(1 << 64) - 1), seen(["link_on_fork"]))
    assert (unknown.sent_bytes, unknown.received_bytes, unknown.connections) == (None, None, None)
    assert (unknown.run_delay_us, unknown.oom_kills) == (None, None)
    links = [
        "link_on_victim",
        "link_on_sent",
        "link_on_received",
        "link_on_socket_state",
        "link_on_runtime",
    ]
    assert seen(links) == Sees()


def test_processes_are_born_or_moved() -> None:
    """Processes of a leaf are those born there plus those moved there."""
    assert counters_of(AccountRecord(forks=3, placed=2), Sees()).processes == 5
