# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of sessions and calls, in the words of the API."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from agentcg.bpf import Counters
from agentcg.bpf.curves import PAGE_BYTES
from agentcg.cgroups import Cgroup, Psi, Resource, Usage
from agentcg.cgroups.knobs import MEMORY_CURRENT
from agentcg.cgroups.usage import MEMORY_STAT
from agentcg.cgroups.values import Limit, MemoryStat
from agentcg.daemon.engine.timeline import held_back
from agentcg.daemon.messages import (
    Account,
    Call,
    Feedback,
    MemoryWait,
    Pressure,
    Session,
    ToolServer,
)
from agentcg.daemon.service.accounts.counts import Counted
from agentcg.daemon.service.state import LiveCall, LiveServer, LiveSession
from agentcg.errors import CgroupGone

_NO_STAT = MemoryStat(None, None, None, None, None, None)


def account(
    call: LiveCall,
    now: float,
    counters: Counters | None,
    counted: Counted,
    usage: Usage | None = None,
) -> Account:
    """What `call` has used so far. Files are read, unless `usage` brings what they say."""
    used = usage or call.cgroup.usage()
    until = call.record.ended_at or now
    account = of_files(used, max(0.0, until - call.record.begun_at))
    return msgspec.structs.replace(
        account,
        processes=counters.processes if counters else None,
        execs=counters.execs if counters else None,
        commands=list(call.commands),
        oom_kills=oom_kills(call, used),
        oom_victim=call.victim or (counters.oom_victim if counters else None),
        first_exit_status=counters.first_exit_status if counters else None,
        run_queue_us=counters.run_delay_us if counters else None,
        frozen_us=_frozen_us(call, used, until),
        network_sent_bytes=counters.sent_bytes if counters else None,
        network_received_bytes=counters.received_bytes if counters else None,
        connections=counters.connections if counters else None,
        scheduled=counted.scheduled,
        delayed=counted.delayed,
    )


def of_files(used: Usage, wall_s: float) -> Account:
    """What files of a cgroup say of it and of all below it."""
    events, stat, io = used.memory_events, used.memory_stat, used.io_stat
    paging = stat or _NO_STAT
    memory, cpu_waits, io_waits = used.memory_stalled, used.cpu_stalled, used.io_stalled
    return Account(
        wall_s=wall_s,
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
        processes_peak=used.pids_peak,
        memory_high_events=events.high if events else None,
        memory_max_events=events.max if events else None,
        throttled_us=memory.full_us if memory and events else None,
        cpu_throttled_us=_cpu_throttled_us(used),
        oom_kills=events.oom_kill if events else None,
        refault_bytes=_pages(paging.workingset_refault_anon, paging.workingset_refault_file),
        reclaimed_bytes=_pages(paging.pgsteal),
        swap_in_bytes=_pages(paging.pswpin),
        swap_out_bytes=_pages(paging.pswpout),
        memory_some_us=memory.some_us if memory and events else None,
        cpu_some_us=cpu_waits.some_us if cpu_waits else None,
        io_some_us=io_waits.some_us if io_waits else None,
        io_full_us=io_waits.full_us if io_waits else None,
        frozen_us=used.frozen_us,
    )


def _pages(*counts: int | None) -> int | None:
    """Bytes of some counts of pages; None where one is not counted."""
    known = [count for count in counts if count is not None]
    return sum(known) * PAGE_BYTES if len(known) == len(counts) else None


def _cpu_throttled_us(used: Usage) -> int | None:
    """Time without CPU for a quota: `cpu.stat` has that of the cgroup's own alone, and a call's
    is its session's."""
    return used.cpu_stat.throttled_us if used.cpu_throttled_us is None else used.cpu_throttled_us


def _frozen_us(call: LiveCall, used: Usage, until: float) -> int:
    """How long a call was frozen: by the actions on it where the kernel does not count that."""
    if used.frozen_us is not None:
        return used.frozen_us
    held = held_back(call.actions, until)
    return round((held.frozen_s + held.by_hand_s) * 1e6)


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
        found=record.found,
        begun_at=record.begun_at,
        ended_at=record.ended_at,
        end_reason=record.end_reason,
        exit_status=record.exit_status,
        cgroup=str(call.cgroup.path),
        grant=record.grant,
        account=account,
        processes_now=processes,
        feedback=call.feedback if feedback is None else feedback,
        client=record.client,
        shared=record.shared,
        placed_after_us=record.placed_after_us,
        held_peak_bytes=call.held_peak_bytes,
        foreseen=record.foreseen,
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


def session_view(session: LiveSession, counted: Counted) -> Session:
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
        tenant=record.tenant,
        memory_anon_bytes=used.memory_stat.anon if used.memory_stat else None,
        asked_priority=record.asked_priority,
        asked_weight=record.asked_weight,
        from_cgroup=record.origin.cgroup,
        from_unit=record.origin.unit,
        container=record.origin.container_name or record.origin.container,
        image=record.origin.image,
        servers=[server_view(server) for server in session.servers.values()],
        memory_wait=memory_wait(session),
        scheduled=counted.scheduled,
        delayed=counted.delayed,
    )


def memory_wait(session: LiveSession) -> MemoryWait | None:
    """What the agent itself waits for; None where it does not, or where its lease has ended since
    all agents waited."""
    since, lease_bytes = session.runtime_waits_since, session.runtime_lease_bytes
    if since is None or lease_bytes is None:
        return None
    return MemoryWait(since, session.runtime_bytes, lease_bytes)


def server_view(server: LiveServer) -> ToolServer:
    """`server` in the words of the API."""
    return ToolServer(
        name=server.cgroup.path.name,
        command=server.record.command,
        started_at=server.record.started_at,
        cgroup=str(server.cgroup.path),
        processes=processes_below(server.cgroup),
        memory_current_bytes=server.cgroup.get(MEMORY_CURRENT),
    )


def processes_in(session: LiveSession) -> int:
    """Processes in the session's runtime, calls and servers."""
    leaves: list[Cgroup] = [session.runtime, *(call.cgroup for call in session.calls.values())]
    leaves += [server.cgroup for server in session.servers.values()]
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
