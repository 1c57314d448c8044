# SPDX-License-Identifier: Apache-2.0
"""The status page: what stands where, at 80 columns and at others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from agentcg.daemon.cli.snapshot import Snapshot, cpu_percents
from agentcg.daemon.cli.view.status import page
from agentcg.daemon.messages import (
    Call,
    Control,
    Delayed,
    MemoryWait,
    Pressure,
    Scheduled,
    Session,
)
from support.examples import MIB, NOW, a_call, a_health, a_host, a_session, ended, with_account


def snapshot(
    sessions: list[Session] | None = None, calls: list[Call] | None = None, **changes: Any
) -> Snapshot:
    """A look at a host where one agent of high priority runs its tests."""
    parts: dict[str, Any] = {"health": a_health(), "host": a_host(), "taken_at": NOW}
    chosen = [a_session(phase="calling", calls_running=1)] if sessions is None else sessions
    return Snapshot(**{**parts, **changes}, sessions=chosen, calls=calls or [])


def shown(look: Snapshot, width: int = 80, before: Snapshot | None = None) -> list[str]:
    """The page as plain lines."""
    return [line.plain for line in page(look, before, width)]


def row_of(lines: list[str], start: str) -> str:
    """The one line that begins with `start`."""
    (found,) = (line for line in lines if line.strip().startswith(start))
    return found


def test_page_at_80_columns() -> None:
    """The whole page of a calm host."""
    assert shown(snapshot(calls=[a_call()])) == [
        "agentcg 0.1.0 on build7  Linux 7.2.0, 2 CPUs                    daemon ok, up 2h",
        "memory  agents 1.2G of 6.0G  ━━━━━──────────────────────  host 4.1G free of 8.0G",
        "stall   memory 0%  cpu 2%  io 0%  calls 1, 17 in all     policy built-in default",
        "",
        "SESSION    PRIO   PHASE                     TIME    MEMORY   CPU STALL STATE",
        "reviewer   high   calling                    12s 212M/1.5G   10%    0% ok",
        "  k3f9a2b7c1 pytest -x tests/unit            12s  96M/256M   97%    0% running",
    ]


def test_more_columns_show_more() -> None:
    """From 110 columns on there are peaks and processes, and longer commands."""
    call = a_call(command="pytest -x tests/unit/cli/test_status_view.py::test_more_columns")
    lines = shown(snapshot(calls=[call]), 120)
    assert "PEAK PROCS" in lines[4]
    assert " 120M     2 " in row_of(lines, call.id)
    assert "test_status_view.py::test_more" in row_of(lines, call.id)


def test_the_scheduler_has_columns_where_it_is_in_charge() -> None:
    """How long tasks waited for a CPU and were held up for memory, in all; without the scheduler
    there are no such columns, and on a narrow terminal no room for them."""
    ran = Scheduled(run_us=1, wait_us=1_300_000, waits=9, longest_wait_us=1, boosts=0)
    held = Delayed(count=3, total_us=410_000, longest_us=1, overshoot_bytes=1)
    call = with_account(a_call(), scheduled=ran)
    look = snapshot([a_session(scheduled=ran, delayed=held)], [call])
    assert "  CPU  WAIT DELAY STALL" in shown(look, 120)[4]
    assert "   10%  1.3s 410ms    0% ok" in row_of(shown(look, 120), "reviewer")
    assert "   97%  1.3s     -    0% running" in row_of(shown(look, 120), call.id)
    assert "WAIT" not in shown(look)[4]
    assert "WAIT" not in shown(snapshot(calls=[a_call()]), 120)[4]


def test_calls_stand_below_their_session() -> None:
    """Sessions by priority; in each the running calls first, the oldest first."""
    sessions = [a_session("batch", priority="low"), a_session("reviewer")]
    calls = [
        a_call("c0000000", session="batch"),
        a_call("c3333333", begun_at=NOW - 1),
        a_call("c2222222", begun_at=NOW - 5),
        a_call("c1111111", begun_at=NOW - 90, state="lingering"),
    ]
    names = [line.split()[0] for line in shown(snapshot(sessions, calls))[5:]]
    assert names == ["reviewer", "c2222222", "c3333333", "c1111111", "batch", "c0000000"]


@pytest.mark.parametrize(
    ("call", "state"),
    [
        (a_call(), "running"),
        (with_account(a_call(), memory_current_bytes=300 * MIB), "throttled"),
        (a_call(state="lingering"), "lingering"),
        (with_account(a_call(), oom_kills=1), "oom"),
        (replace(ended(a_call(), 137), end_reason="oom"), "oom"),
    ],
)
def test_state_of_a_call(call: Call, state: str) -> None:
    """What happens to a call, in a word."""
    assert row_of(shown(snapshot(calls=[call])), call.id).split()[-1] == state


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ok"),
        ({"memory_current_bytes": 1530 * MIB}, "at limit"),
        ({"pressure": Pressure(memory_some_avg10=31.0)}, "pressed"),
        ({"oom_kills": 2}, "2 oom"),
        ({"calls_lingering": 1}, "lingering"),
        (
            {
                "memory_wait": MemoryWait(NOW - 9, 655 * MIB, 650 * MIB),
                "pressure": Pressure(memory_some_avg10=98.0),
            },
            "no room",
        ),
        ({"memory_current_bytes": None, "cpu_usage_us": None, "pressure": Pressure()}, "ok"),
    ],
)
def test_state_of_a_session(changes: dict[str, Any], state: str) -> None:
    """The worst that is to be said of a session; a kernel without figures is no trouble."""
    assert row_of(shown(snapshot([a_session(**changes)])), "reviewer").endswith(state)


def test_calls_that_wait_for_room_are_counted() -> None:
    """They have not begun, so there is no row for them."""
    lines = shown(snapshot(host=a_host(calls_waiting=2)), 120)
    assert any("calls 1 + 2 waiting for room, 17 in all" in line for line in lines)


def test_throttled_share() -> None:
    """STALL of a call is the share of its life under memory.high."""
    call = with_account(a_call(), throttled_us=3_000_000)
    assert " 25% " in row_of(shown(snapshot(calls=[call])), call.id)


def test_absent_figures_are_dashes() -> None:
    """What the kernel does not say is shown as not known, never as zero."""
    call = with_account(a_call(), cpu_user_us=None, memory_current_bytes=None, throttled_us=None)
    assert row_of(shown(snapshot(calls=[call])), call.id).split()[-4:] == [
        "-/256M", "-", "-", "running",
    ]  # fmt: skip


def test_cpu_between_two_looks() -> None:
    """Use between the looks, in percent of one core; the average where there is one look."""
    before = snapshot(calls=[a_call()])
    calls = [with_account(a_call(), cpu_user_us=12_500_000), a_call("new00000", begun_at=NOW)]
    later = snapshot([a_session(cpu_usage_us=61_000_000)], calls, taken_at=NOW + 2)
    percents = cpu_percents(later, before)
    assert percents["reviewer"] == pytest.approx(50)
    assert percents["k3f9a2b7c1"] == pytest.approx(75)
    assert percents["new00000"] == pytest.approx(582)


def test_cpu_of_a_reopened_session_is_not_negative() -> None:
    """A session of the same name that was opened anew has used less than the one before."""
    later = snapshot([a_session(cpu_usage_us=5)], taken_at=NOW + 1)
    assert "reviewer" not in cpu_percents(later, snapshot())


def test_what_is_wrong_is_on_top() -> None:
    """A refused policy, weak controls and lost events stand above the sessions, in full."""
    weak = Control(
        name="accounting", state="degraded", backend="cgroup file",
        detail="bcc is not installed, so that processes and commands are not counted: "
        "apt install python3-bpfcc",
    )  # fmt: skip
    health = a_health(
        state="degraded", policy_error="50-site.yaml:3:14: memory_max: '1.5X' is not valid",
        controls=[*a_health().controls, weak], events_lost=7,
    )  # fmt: skip
    lines = shown(snapshot(health=health))
    assert "daemon degraded" in lines[0]
    assert lines[3] == "POLICY   not taken: 50-site.yaml:3:14: memory_max: '1.5X' is not valid"
    assert lines[4].startswith("DEGRADED accounting: bcc is not installed")
    assert lines[5] == "         not counted: apt install python3-bpfcc"
    assert lines[6].startswith("LOST     7 kernel events")


def test_many_weak_controls_are_counted() -> None:
    """A host where nothing works does not push the sessions off the page."""
    weak = [
        Control(name=f"control-{n}", state="absent", backend="-", detail=f"no {n}")
        for n in range(9)
    ]
    lines = shown(snapshot(health=a_health(state="degraded", controls=weak)))
    assert lines[7] == "         and 5 more; see: agentcg doctor"


def test_controls_with_one_cause_are_told_together() -> None:
    """One missing controller takes several controls with it, and is said once."""
    weak = [
        Control(name=name, state="absent", backend="-", detail="no memory controller")
        for name in ("memory.high", "memory.max", "memory.low")
    ]
    lines = shown(snapshot(health=a_health(state="degraded", controls=weak)))
    assert lines[3] == "DEGRADED memory.high, memory.max, memory.low: no memory controller"


def test_daemon_that_went_away_is_said_first() -> None:
    """While the page is watched and the daemon is away, the old figures are marked as old."""
    lines = [line.plain for line in page(snapshot(), None, 80, gone="/run/x: nobody listens")]
    assert lines[0] == "GONE     /run/x: nobody listens; what is shown is old"


def test_no_sessions() -> None:
    """An empty host says how to begin."""
    assert shown(snapshot([]))[-1].startswith("No sessions. The first `agentcg run -- COMMAND`")


def test_height_is_kept() -> None:
    """On a low terminal the last line says how many are missing."""
    sessions = [a_session(f"s{number:03}") for number in range(100)]
    lines = page(snapshot(sessions), None, 80, 24)
    assert len(lines) == 24
    assert lines[-1].plain == "… 82 more lines; see: agentcg calls"


def test_escape_sequences_do_not_get_through() -> None:
    """Whatever a command or a label holds, the terminal sees letters."""
    call = a_call(tool="Ba\x1b]0;x\asch", command="echo \x1b[2J\n\x9b31m")
    line = row_of(shown(snapshot(calls=[call]), 200), call.id)
    assert line.isprintable()
    assert r"\x1b[2J\n\x9b31m" in line


@given(
    width=st.integers(20, 250),
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z"),
    command=st.text(max_size=200),
    memory=st.none() | st.integers(0, 1 << 50),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, name: str, command: str, memory: int | None
) -> None:
    """No line wraps, whatever is in it and however narrow the terminal is."""
    session = a_session(name, memory_current_bytes=memory, memory_max_bytes=memory)
    call = with_account(a_call(session=name, command=command), memory_current_bytes=memory)
    for line in shown(snapshot([session], [call]), width):
        assert cell_len(line) <= width
        assert line.isprintable()
