# SPDX-License-Identifier: Apache-2.0
"""Numbers and states of the API as the few letters that people see."""

from __future__ import annotations

from agentcg.daemon.messages import Call, Delayed, Scheduled, Session
from agentcg.units import format_duration, format_size

NEAR_LIMIT = 0.95  # of memory.max: the next step is reclaim or a kill
PRESSED_PERCENT = 10.0  # PSI some avg10: a tenth of the time somebody waits for memory

BAD, WARN, GOOD, QUIET = "bold red", "yellow", "green", "dim"
PRIORITY_STYLE = {"high": "bold", "normal": "", "low": "dim"}
PHASE_STYLE = {"calling": "green", "thinking": "cyan", "idle": "dim", "paused": "yellow"}


def of_limit(used_bytes: int | None, limit_bytes: int | None) -> str:
    """Memory against its limit: "96M/256M"; "96M" where there is none."""
    used = format_size(used_bytes)
    return used if limit_bytes is None else f"{used}/{format_size(limit_bytes)}"


def percent(value: float | None) -> str:
    """A share: "0%", "12%", "150%"; "<1%" for what is there but rounds to nothing."""
    if value is None:
        return "-"
    if 0 < value < 0.5:
        return "<1%"
    return f"{value:.0f}%"


def lowest(*limits_bytes: int | None) -> int | None:
    """The limit that binds: the lowest of those that are set."""
    return min((limit for limit in limits_bytes if limit is not None), default=None)


def session_limit(session: Session) -> int | None:
    """Where the session meets its bound: memory.high or memory.max."""
    return lowest(session.memory_high_bytes, session.memory_max_bytes)


def call_limit(call: Call) -> int | None:
    """The call's grant: memory.high or memory.max."""
    return lowest(call.grant.memory_high_bytes, call.grant.memory_max_bytes)


def session_state(session: Session) -> tuple[str, str]:
    """What one should know about a session in a word or two, and its style."""
    if session.memory_wait is not None:
        return "no room", WARN
    current, most = session.memory_current_bytes, session.memory_max_bytes
    if current is not None and most is not None and current >= NEAR_LIMIT * most:
        return "at limit", BAD
    if (session.pressure.memory_some_avg10 or 0.0) >= PRESSED_PERCENT:
        return "pressed", WARN
    if session.oom_kills:
        return f"{session.oom_kills} oom", BAD
    if session.calls_lingering:
        return "lingering", WARN
    return "ok", GOOD


def call_state(call: Call) -> tuple[str, str]:
    """A call's state as people ask for it: also whether it is throttled or was killed."""
    if call.account.oom_kills or call.end_reason == "oom":
        return "oom", BAD
    if call.state == "lingering":
        return "lingering", WARN
    if call.state == "ended":
        return ended_state(call)
    high, current = call.grant.memory_high_bytes, call.account.memory_current_bytes
    if high is not None and current is not None and current >= high:
        return "throttled", WARN
    return "running", GOOD


def ended_state(call: Call) -> tuple[str, str]:
    """How a call ended: "exit 0", "killed", "ended" where the status is not known."""
    if call.end_reason == "killed":
        return "killed", BAD
    if call.exit_status is None:
        return "ended", QUIET
    return f"exit {call.exit_status}", QUIET if call.exit_status == 0 else WARN


def throttled_percent(call: Call) -> float | None:
    """Share of its life that a call spent waiting at memory.high."""
    throttled_us = call.account.throttled_us
    if throttled_us is None or call.account.wall_s <= 0:
        return None
    return min(100.0, throttled_us / 10_000 / call.account.wall_s)


def cpu_us(call: Call) -> int | None:
    """CPU time of a call, user and system."""
    user, system = call.account.cpu_user_us, call.account.cpu_system_us
    return None if user is None or system is None else user + system


def total(counted: Scheduled | Delayed | None) -> str:
    """How long tasks waited for a CPU, or were held up for memory, in all."""
    if counted is None:
        return "-"
    total_us = counted.wait_us if isinstance(counted, Scheduled) else counted.total_us
    return format_duration(total_us / 1e6)


def tool_prefix(call: Call) -> str:
    """The tool's name before the command ("Bash: "), if the command does not say it itself."""
    if not call.command:
        return ""
    program = call.command.partition(" ")[0].rpartition("/")[2]
    return "" if program == call.tool else f"{call.tool}: "
