# SPDX-License-Identifier: Apache-2.0
"""What the status page is made of: one look at the daemon, and CPU use from two looks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agentcg.daemon.client import Client
from agentcg.daemon.client.client import CALLS_LISTED_MAX
from agentcg.daemon.messages import Call, Health, Host, Session

OOM_SHOWN_S = 60.0  # a call that the OOM killer ended is shown so long


@dataclass(frozen=True)
class Snapshot:
    """The daemon's answers, taken together at `taken_at` (seconds since the epoch)."""

    health: Health
    host: Host
    sessions: list[Session]
    calls: list[Call]
    taken_at: float


def take(client: Client) -> Snapshot:
    """Ask the daemon; raises `Unavailable`.

    Calls are those that run or linger, and those that the OOM killer has just ended.
    """
    health, host, sessions = client.health(), client.host(), client.sessions()
    calls = client.calls(state="running", limit=CALLS_LISTED_MAX)
    if any(session.calls_lingering for session in sessions):
        calls += client.calls(state="lingering", limit=CALLS_LISTED_MAX)
    now = time.time()
    for session in sessions:
        if session.oom_kills:
            ended = client.calls(session=session.name, state="ended")
            calls += [call for call in ended if _just_killed(call, now)]
    return Snapshot(health, host, sessions, calls, now)


def _just_killed(call: Call, now: float) -> bool:
    recent = call.ended_at is not None and now - call.ended_at <= OOM_SHOWN_S
    return recent and bool(call.end_reason == "oom" or call.account.oom_kills)


def cpu_percents(now: Snapshot, before: Snapshot | None) -> dict[str, float]:
    """CPU use in percent of one core, by session name and call id.

    Between two looks where there are two, else the average since the session was opened or
    the call begun.
    """
    earlier = _cpu_us(before) if before is not None else {}
    began = _began(now)
    percents = {}
    for key, total_us in _cpu_us(now).items():
        if key in earlier and before is not None:
            used_us = total_us - earlier[key]
            span_s = now.taken_at - before.taken_at
        else:
            used_us = total_us
            span_s = now.taken_at - began[key]
        if span_s > 0 and used_us >= 0:
            percents[key] = used_us / 10_000 / span_s
    return percents


def _cpu_us(look: Snapshot) -> dict[str, int]:
    used = {
        session.name: session.cpu_usage_us
        for session in look.sessions
        if session.cpu_usage_us is not None
    }
    for call in look.calls:
        parts = (call.account.cpu_user_us, call.account.cpu_system_us)
        if None not in parts:
            used[call.id] = sum(part or 0 for part in parts)
    return used


def _began(look: Snapshot) -> dict[str, float]:
    return {session.name: session.opened_at for session in look.sessions} | {
        call.id: call.begun_at for call in look.calls
    }
