# SPDX-License-Identifier: Apache-2.0
"""One session, call or host in full: a name and a value per line."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.text import Text

from agentcg.daemon.cli.view import figures
from agentcg.daemon.cli.view.counted import words
from agentcg.daemon.client.text import printable
from agentcg.daemon.messages import Account, Call, Host, MemoryWait, Pressure, Session
from agentcg.units import format_duration, format_size

_NAME_CELLS = 12
_Pair = tuple[str, str | None]


def lines_of(pairs: Iterable[_Pair]) -> list[Text]:
    """A line for each pair that has a value."""
    lines = []
    for name, value in pairs:
        if value:
            line = Text(f"{name:<{_NAME_CELLS}}", "bold", no_wrap=True, end="")
            line.append(f" {printable(value)}", "none")
            lines.append(line)
    return lines


def session_details(session: Session) -> list[Text]:
    """Everything about a session."""
    labels = " ".join(f"{key}={value}" for key, value in session.labels.items())
    return lines_of(
        [
            ("session", f"{session.name} (uid {session.uid})"),
            ("priority", f"{session.priority}, weight {session.weight}"),
            ("phase", f"{session.phase} since {_clock(session.phase_since)}"),
            ("no room", _memory_wait(session.memory_wait)),
            ("opened", _clock(session.opened_at)),
            ("labels", labels),
            ("tenant", session.tenant),
            ("container", session.container),
            ("image", session.image),
            ("from unit", session.from_unit),
            ("from", session.from_cgroup),
            ("memory", _memory(session)),
            ("swap", format_size(session.swap_current_bytes)),
            ("cpu", _cpu(session.cpu_usage_us, session.cpu_weight)),
            ("processes", _of(session.processes, session.pids_max)),
            ("calls", _calls(session.calls_running, session.calls_lingering, session.calls_total)),
            ("oom kills", str(session.oom_kills) if session.oom_kills else None),
            ("pressure", _pressure(session.pressure)),
            *(_use(session.account) if session.account else []),
            ("rule", session.rule),
            ("cgroup", session.cgroup),
        ]
    )


def call_details(call: Call) -> list[Text]:
    """Everything about a call; what is not known is left out."""
    account, grant = call.account, call.grant
    limits = [
        f"memory.high {format_size(grant.memory_high_bytes)}",
        f"memory.max {format_size(grant.memory_max_bytes)}",
        f"cpu.weight {grant.cpu_weight}",
        f"pids.max {grant.pids_max if grant.pids_max is not None else '-'}",
    ]
    why = f"{grant.source}: {grant.reason}" + (f" ({grant.rule})" if grant.rule else "")
    used = [
        f"{format_size(account.memory_current_bytes)} now",
        f"{format_size(account.memory_peak_bytes)} at most",
    ]
    pairs: list[_Pair] = [
        ("call", f"{call.id} of session {call.session}"),
        ("tool", f"{call.tool} ({call.category})"),
        ("command", call.command),
        ("reference", call.reference),
        ("state", _state(call)),
        ("begun", f"{_clock(call.begun_at)}, lasts {format_duration(account.wall_s)}"),
        ("grant", ", ".join(limits)),
        ("because", why),
        ("waited", format_duration(grant.waited_s) if grant.waited_s else None),
        ("memory", ", ".join(used)),
        ("cpu", _user_system(account.cpu_user_us, account.cpu_system_us)),
        ("throttled", _throttled(call)),
        *_use(account),
        ("processes", _processes(call)),
        ("oom kills", _oom(call)),
        ("cgroup", call.cgroup),
    ]
    pairs += [("executed", executed.argv) for executed in account.commands]
    pairs += [("feedback", feedback.text) for feedback in call.feedback if feedback.code != "ok"]
    return lines_of(pairs)


def host_details(host: Host) -> list[Text]:
    """Everything about the host."""
    bound = "no bound" if host.memory_max_bytes is None else format_size(host.memory_max_bytes)
    free, total = format_size(host.memory_available_bytes), format_size(host.memory_total_bytes)
    return lines_of(
        [
            ("host", f"{host.hostname}, Linux {host.kernel}, {host.cpus} CPUs"),
            ("memory", f"{free} free of {total}"),
            ("swap", f"{format_size(host.swap_free_bytes)} free of "
                     f"{format_size(host.swap_total_bytes)}"),
            ("agents", f"{format_size(host.memory_current_bytes)} used, bound: {bound}"),
            ("sessions", str(host.sessions)),
            ("calls", _calls(host.calls_running, host.calls_lingering, host.calls_total)),
            ("pressure", _pressure(host.pressure)),
            *(_use(host.account) if host.account else []),
            ("cgroup", host.cgroup),
        ]
    )  # fmt: skip


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _memory_wait(wait: MemoryWait | None) -> str | None:
    if wait is None:
        return None
    return (
        f"the agent waits for memory since {_clock(wait.since)}: holds "
        f"{format_size(wait.held_bytes)}, slowed beyond {format_size(wait.memory_high_bytes)}"
    )


def _memory(session: Session) -> str:
    knobs = (
        ("memory.low", session.memory_low_bytes),
        ("memory.high", session.memory_high_bytes),
        ("memory.max", session.memory_max_bytes),
    )
    limits = [f"{name} {format_size(value)}" for name, value in knobs if value is not None]
    used = [
        f"{format_size(session.memory_current_bytes)} now",
        f"{format_size(session.memory_peak_bytes)} at most",
    ]
    return ", ".join(used + limits)


def _cpu(usage_us: int | None, weight: int | None) -> str:
    used = format_duration(None if usage_us is None else usage_us / 1e6)
    return used if weight is None else f"{used}, cpu.weight {weight}"


def _of(number: int, most: int | None) -> str:
    return str(number) if most is None else f"{number} of {most}"


def _calls(running: int, lingering: int, total: int) -> str:
    return f"{running} running, {lingering} lingering, {total} in all"


def _pressure(pressure: Pressure) -> str:
    return (
        f"memory {figures.percent(pressure.memory_some_avg10)}"
        f", cpu {figures.percent(pressure.cpu_some_avg10)}"
        f", io {figures.percent(pressure.io_some_avg10)} of the last 10 s"
    )


def _state(call: Call) -> str:
    word = figures.call_state(call)[0]
    parts = [word]
    if call.end_reason:
        parts.append(f"ended: {call.end_reason}")
    if call.exit_status is not None and not word.startswith("exit"):
        parts.append(f"exit {call.exit_status}")
    return ", ".join(parts)


def _user_system(user_us: int | None, system_us: int | None) -> str | None:
    if user_us is None or system_us is None:
        return None
    return f"{format_duration(user_us / 1e6)} user, {format_duration(system_us / 1e6)} system"


def _throttled(call: Call) -> str | None:
    throttled_us = call.account.throttled_us
    if not throttled_us:
        return None
    share = figures.percent(figures.throttled_percent(call))
    return f"{format_duration(throttled_us / 1e6)} at memory.high, {share} of its life"


def _use(account: Account) -> list[_Pair]:
    """What accounts of calls, sessions and hosts have in common; what is 0 is left out."""
    return [
        ("faults", _list((account.page_faults_minor, "minor"),
                         (account.page_faults_major, "major"))),
        ("io", _sizes((account.io_read_bytes, "read"), (account.io_write_bytes, "written"))),
        ("network", _sizes((account.network_sent_bytes, "sent"),
                           (account.network_received_bytes, "received"))),
        ("connections", _list((account.connections, "begun"))),
        ("reclaim", _sizes((account.reclaimed_bytes, "reclaimed"),
                           (account.refault_bytes, "read again"))),
        ("swap in/out", _sizes((account.swap_in_bytes, "in"), (account.swap_out_bytes, "out"))),
        ("waited", _times((account.run_queue_us, "for a CPU"),
                          (account.memory_some_us, "for memory"),
                          (account.io_some_us, "for io"))),
        ("frozen", _times((account.frozen_us, ""))),
        ("scheduler", words(account.scheduled, account.delayed)),
    ]  # fmt: skip


_Counts = tuple[int | None, str]


def _list(*counts: _Counts) -> str | None:
    return ", ".join(f"{number} {what}" for number, what in counts if number) or None


def _sizes(*counts: _Counts) -> str | None:
    return ", ".join(f"{format_size(size)} {what}" for size, what in counts if size) or None


def _times(*counts: _Counts) -> str | None:
    told = (f"{format_duration(us / 1e6)} {what}".strip() for us, what in counts if us)
    return ", ".join(told) or None


def _processes(call: Call) -> str:
    parts = [f"{call.processes_now} now"]
    for number, what in (
        (call.account.processes, "started"),
        (call.account.execs, "programs executed"),
        (call.account.processes_peak, "at once at most"),
    ):
        if number is not None:
            parts.append(f"{number} {what}")
    return ", ".join(parts)


def _oom(call: Call) -> str | None:
    if not call.account.oom_kills:
        return None
    victim = f", {call.account.oom_victim}" if call.account.oom_victim else ""
    return f"{call.account.oom_kills}{victim}"
