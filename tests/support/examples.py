# SPDX-License-Identifier: Apache-2.0
"""Answers of the daemon with everything filled in; a test names only what it is about."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from agentcg.daemon.messages import (
    Account,
    Call,
    Control,
    Feedback,
    Grant,
    Health,
    Host,
    Pressure,
    Session,
)

MIB = 1 << 20
NOW = 1_800_000_000.0

_CALM = Pressure(
    memory_some_avg10=0.0, memory_full_avg10=0.0, cpu_some_avg10=1.5, io_some_avg10=0.0
)


def a_session(name: str = "reviewer", **changes: Any) -> Session:
    """A session of high priority that thinks, without calls."""
    root = f"/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions/{name}"
    session = Session(
        id="s3ss10n000", name=name, uid=1000, priority="high", weight=100, labels={},
        phase="thinking", phase_since=NOW - 12, opened_at=NOW - 600,
        cgroup=root, runtime=f"{root}/runtime",
        processes=3, calls_running=0, calls_lingering=0, calls_total=17,
        memory_current_bytes=212 * MIB, memory_peak_bytes=700 * MIB,
        memory_max_bytes=1536 * MIB, memory_high_bytes=None, memory_low_bytes=200 * MIB,
        swap_current_bytes=0, cpu_usage_us=60_000_000, cpu_weight=200, pids_max=4096,
        oom_kills=0, pressure=_CALM, rule="default.yaml:12",
    )  # fmt: skip
    return replace(session, **changes)


def a_call(id: str = "k3f9a2b7c1", **changes: Any) -> Call:
    """A running test call within its grant of 256 MiB."""
    call = Call(
        id=id, session="reviewer", tool="pytest", command="pytest -x tests/unit",
        category="test", reference=None, state="running", found="declared",
        begun_at=NOW - 12, ended_at=None, end_reason=None, exit_status=None,
        cgroup=f"/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions/reviewer/call-{id}",
        grant=Grant(
            memory_high_bytes=256 * MIB, memory_max_bytes=None, cpu_weight=100, pids_max=1024,
            source="policy", reason="category test", rule="default.yaml:30",
        ),
        account=Account(
            wall_s=12.0, cpu_user_us=11_000_000, cpu_system_us=640_000,
            memory_current_bytes=96 * MIB, memory_peak_bytes=120 * MIB, throttled_us=0, oom_kills=0,
        ),
        processes_now=2,
    )  # fmt: skip
    return replace(call, **changes)


def with_account(call: Call, **changes: Any) -> Call:
    """`call` with parts of its account changed."""
    return replace(call, account=replace(call.account, **changes))


def ended(call: Call, exit_status: int = 0, *feedback: Feedback, **changes: Any) -> Call:
    """`call` after its end."""
    return replace(
        call, state="ended", ended_at=NOW, end_reason="declared", exit_status=exit_status,
        feedback=list(feedback), processes_now=0, **changes,
    )  # fmt: skip


def a_host(**changes: Any) -> Host:
    """A host of 8 GiB on which agents may have 6."""
    host = Host(
        hostname="build7", kernel="7.2.0", cpus=2, memory_total_bytes=8192 * MIB,
        memory_available_bytes=4200 * MIB, memory_max_bytes=6144 * MIB,
        memory_current_bytes=1229 * MIB, swap_total_bytes=0, swap_free_bytes=0, pressure=_CALM,
        cgroup="/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions",
        sessions=1, calls_running=1, calls_lingering=0, calls_total=17,
    )  # fmt: skip
    return replace(host, **changes)


def a_health(**changes: Any) -> Health:
    """A daemon that is well, up for two hours."""
    health = Health(
        state="ok", version="0.1.0", pid=812, started_at=NOW - 7200, uptime_s=7200.0,
        policy="built-in default", policy_error=None, accounting="bpf", events_lost=0,
        controls=[
            Control(name="memory.high", state="enforced", backend="cgroup file", detail=""),
            Control(
                name="accounting", state="enforced", backend="bcc raw tracepoints", detail=""
            ),
        ],
    )  # fmt: skip
    return replace(health, **changes)
