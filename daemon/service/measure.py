# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of sessions and calls, in the words of the API."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from agentcg.bpf import Counters
from agentcg.cgroups import Cgroup, Psi, Resource, Usage
from agentcg.cgroups.usage import MEMORY_STAT
from agentcg.cgroups.values import Limit, MemoryStat
from agentcg.daemon.messages import Account, Call, Feedback, Pressure, Session
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import CgroupGone

COMMANDS_KEPT = 16
"""Executed programs that are kept for one call; `execs` counts them all."""


def account(
    call: LiveCall, now: float, counters: Counters | None, usage: Usage | None = None
) -> Account:
    """What `call` has used so far. Files are read, unless `usage` brings what they say."""
    used = usage or call.cgroup.usage()
    events, stat, io = used.memory_events, used.memory_stat, used.io_stat
    full = used.memory_pressure.full if used.memory_pressure else None
    until = call.record.ended_at or now
    return Account(
        wall_s=max(0.0, until - call.record.begun_at),
        cpu_user_us=used.cpu_stat.user_us,
        cpu_system_us=used.cpu_stat.system_us,
        memory_current_bytes=used.memory_current,
        memory_peak_bytes=used.memory_peak,
        swap_peak_bytes=used.memory_swap_peak,
        page_faults_minor=_minor(stat.pgfault, stat.pgmajfault) if stat else None,
        page_faults_major=stat.pgmajfault if stat else None,
        io_read_bytes=io.rbytes if io else None,
        io_write_bytes=io.wbytes if io else None,
        io_read_operations=io.rios if io else None,
        io_write_operations=io.wios if io else None,
        processes=counters.processes if counters else None,
        processes_peak=used.pids_peak,
        execs=counters.execs if counters else None,
        commands=list(call.commands),
        memory_high_events=events.high if events else None,
        memory_max_events=events.max if events else None,
        throttled_us=full.total_us if full and used.memory_events else None,
        cpu_throttled_us=used.cpu_stat.throttled_us,
        oom_kills=oom_kills(call, used),
        oom_victim=call.victim or (counters.oom_victim if counters else None),
        first_exit_status=counters.first_exit_status if counters else None,
    )


def _minor(faults: int | None, major: int | None) -> int | None:
    return None if faults is None or major is None else faults - major


def oom_kills(call: LiveCall, used: Usage) -> int | None:
    """Processes of `call` that the OOM killer took: as the memory controller counts, else BPF."""
    if used.memory_events is not None:
        return used.memory_events.oom_kill
    return call.kills or None


def held_now(leaf: Cgroup) -> int | None:
    """`held_bytes` of a leaf as it is now."""
    return held_bytes(leaf.get(MEMORY_STAT))


def held_bytes(stat: MemoryStat | None) -> int | None:
    """What processes hold for themselves: page cache is given back when others need room."""
    if stat is None or stat.anon is None:
        return None
    return stat.anon + (stat.shmem or 0) + (stat.kernel or 0)


def fresh_account() -> Account:
    """The account of a call that has just begun: there is nothing to read yet."""
    return Account(wall_s=0.0)


def call_view(
    call: LiveCall, account: Account, processes: int, feedback: list[Feedback] | None = None
) -> Call:
    """`call` in the words of the API."""
    record = call.record
    return Call(
        id=record.id,
        session=call.session.name,
        tool=record.tool,
        command=record.command,
        category=record.category,
        reference=record.reference,
        state=record.state,
        found="declared",
        begun_at=record.begun_at,
        ended_at=record.ended_at,
        end_reason=record.end_reason,
        exit_status=record.exit_status,
        cgroup=str(call.cgroup.path),
        grant=record.grant,
        account=account,
        processes_now=processes,
        feedback=call.feedback if feedback is None else feedback,
    )


def pressure_of(read: Callable[[Resource], Psi | None]) -> Pressure:
    """Pressure of the three resources, each read by `read`."""
    memory, cpu, io = read("memory"), read("cpu"), read("io")
    return Pressure(
        memory_some_avg10=memory.some.avg10 if memory else None,
        memory_full_avg10=memory.full.avg10 if memory and memory.full else None,
        cpu_some_avg10=cpu.some.avg10 if cpu else None,
        io_some_avg10=io.some.avg10 if io else None,
    )


def session_view(session: LiveSession) -> Session:
    """`session` in the words of the API, its use read from the kernel now."""
    record, used, limits = session.record, session.cgroup.usage(), session.cgroup.limits()
    return Session(
        id=record.id,
        name=record.name,
        uid=record.uid,
        priority=record.priority,
        weight=record.weight,
        labels=record.labels,
        phase=session.phase,
        phase_since=session.phase_since,
        opened_at=record.opened_at,
        cgroup=str(session.cgroup.path),
        runtime=str(session.runtime.path),
        processes=processes_in(session),
        calls_running=session.calls_running,
        calls_lingering=len(session.calls) - session.calls_running,
        calls_total=session.calls_total,
        memory_current_bytes=used.memory_current,
        memory_peak_bytes=used.memory_peak,
        memory_max_bytes=size(limits.memory_max),
        memory_high_bytes=size(limits.memory_high),
        memory_low_bytes=size(limits.memory_low),
        swap_current_bytes=used.memory_swap_current,
        cpu_usage_us=used.cpu_stat.usage_us,
        cpu_weight=limits.cpu_weight,
        pids_max=size(limits.pids_max),
        oom_kills=used.memory_events.oom_kill if used.memory_events else None,
        pressure=pressure_of(session.cgroup.pressure),
        rule=record.rule,
    )


def processes_in(session: LiveSession) -> int:
    """Processes in the session's runtime and calls."""
    leaves: list[Cgroup] = [session.runtime, *(call.cgroup for call in session.calls.values())]
    return sum(processes_below(leaf) for leaf in leaves)


def processes_below(cgroup: Cgroup) -> int:
    """Processes in a cgroup and in those that its processes made in it."""
    if not cgroup.events().populated:
        return 0
    count = len(cgroup.procs())
    for name in cgroup.children():
        with suppress(CgroupGone), cgroup.child(name) as child:
            count += processes_below(child)
    return count


def size(limit: Limit | None) -> int | None:
    """A limit in the words of the API, in which no limit and no such knob are both None."""
    return limit if isinstance(limit, int) else None
