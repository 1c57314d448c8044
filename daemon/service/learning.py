# SPDX-License-Identifier: Apache-2.0
"""What a session's ended calls took, kept for its next ones: on the session's own cgroup, so that
it survives the daemon and goes with the session."""

from __future__ import annotations

import logging

import msgspec

from agentcg.cgroups import Cgroup, Usage
from agentcg.daemon.engine import history
from agentcg.daemon.engine.forecast import Sample
from agentcg.daemon.messages import EndReason
from agentcg.daemon.service.future import Future
from agentcg.daemon.service.records import encode
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import CgroupError

log = logging.getLogger(__name__)

HISTORY = "agentcg.history"
_TELLING: tuple[EndReason, ...] = ("declared", "exited", "emptied", "oom", "killed")
_BY_SIGNAL = 128  # exit statuses above it, as a shell has them


def learn(future: Future, call: LiveCall, usage: Usage, reason: EndReason, now: float) -> None:
    """Remember how `call` went, where that says something about the next of its kind."""
    held = history.held_peak_bytes(usage.memory_peak, _cache_bytes(usage), call.held_peak_bytes)
    record, session = call.record, call.session
    call.held_peak_bytes = held
    if reason not in _TELLING or record.shared:
        return
    failed = reason == "oom" or call.killed is not None
    if not failed and (call.cancelled or (record.exit_status or 0) > _BY_SIGNAL):
        return  # cut short: it may have needed more
    wall_s = None if record.ended_at is None else max(record.ended_at - record.begun_at, 0.0)
    if held is not None:
        declared = record.grant.source in ("declared", "intent")
        outcome = history.Outcome(
            record.tool, record.category, held, failed,
            record.grant.declared_bytes if declared else None, wall_s, record.grant.declared_s,
        )  # fmt: skip
        remember(session, history.learn(session.history, outcome, now))
    if not failed and wall_s is not None:
        future.learn(record.client, record.category, Sample(wall_s, held))


def remember(session: LiveSession, past: history.History) -> None:
    """Keep what is known of the session's calls and intents."""
    session.history = past
    try:
        session.cgroup.set_attr(HISTORY, encode(session.history))
    except CgroupError as error:  # advice only: an end never fails for it
        log.warning("history of session %s is not kept: %s", session.name, error)


def recall(cgroup: Cgroup) -> history.History:
    """What an earlier daemon remembered of this session; nothing where it cannot be read."""
    try:
        raw = cgroup.get_attr(HISTORY)
        return msgspec.json.decode(raw, type=history.History) if raw else history.EMPTY
    except (msgspec.DecodeError, UnicodeDecodeError, CgroupError) as error:
        log.warning("%s: the history kept there is not readable: %s", cgroup.path, error)
        return history.EMPTY


def _cache_bytes(usage: Usage) -> int | None:
    """Page cache charged to the call by now; what lies on tmpfs is held, not cached."""
    stat = usage.memory_stat
    if stat is None or stat.file is None:
        return None
    return max(stat.file - (stat.shmem or 0), 0)
