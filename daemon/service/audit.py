# SPDX-License-Identifier: Apache-2.0
"""What is kept for `agentcg explain` beside the ladder's steps: waits, grants and leases."""

from __future__ import annotations

from collections.abc import Mapping

from agentcg.daemon.messages import Action, ActionKind, Grant
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.units import format_duration, format_size

_SETTINGS: dict[ActionKind, str] = {
    "protect": "reclaim_below",
    "reclaim": "reclaim_below",
    "throttle": "throttle_below",
    "unthrottle": "throttle_until",
    "freeze": "freeze_below",
    "thaw": "throttle_until",
    "kill": "kill_below",
}


def begun(core: Core, call: LiveCall, held_up: str | None) -> None:
    """A call has begun, at once or after having been held up."""
    grant, now = call.record.grant, call.record.begun_at
    if held_up is not None:
        waited = f"{held_up}; waited {format_duration(grant.waited_s)}"
        rule = core.policy.policy.admission.rules.get("wait", "admission")
        _note(core, call, "wait", waited, rule, now - grant.waited_s)
    granted(core, call, grant, now)


def granted(core: Core, call: LiveCall, grant: Grant, now: float) -> None:
    """A call has this grant from now on."""
    size = grant.memory_high_bytes
    _note(core, call, "grant", grant.reason, grant.rule or grant.source, now, size)


def leased(core: Core, call: LiveCall, lease_bytes: int) -> None:
    """A call may grow to `lease_bytes` for now. Changes in a row are one line: there are many."""
    before = call.lease_bytes
    if before is None or before == lease_bytes:
        return
    count, first = 1, before
    if call.actions and call.actions[-1].kind == "lease" and call.lease_run is not None:
        first, count = call.lease_run[0], call.lease_run[1] + 1
        call.actions.pop()
    call.lease_run = (first, count)
    steps = "" if count == 1 else f" in {count} steps"
    reason = f"may grow to {format_size(lease_bytes)}, from {format_size(first)}{steps}"
    _note(core, call, "lease", reason, "leases: what is free", core.clock(), lease_bytes)


def agent_waits(core: Core, session: LiveSession, text: str) -> None:
    """The agent itself can grow no further for now."""
    session.actions.append(
        told(
            core, session, "lease", text, "leases: what is free",
            size_bytes=session.runtime_lease_bytes, held_bytes=session.runtime_bytes,
        )
    )  # fmt: skip


def told(  # noqa: PLR0917 - the parts of a line
    core: Core, session: LiveSession, kind: ActionKind, reason: str, rule: str,
    call: LiveCall | None = None, *, at: float | None = None, size_bytes: int | None = None,
    held_bytes: int | None = None, granted_bytes: int | None = None,
) -> Action:  # fmt: skip
    """What was decided about a session or a call, or done to it, at `at` (None: now), with the
    room that there is now."""
    bound = core.memory_bytes()
    return Action(
        time=core.clock() if at is None else at,
        kind=kind,
        session=session.name,
        call=None if call is None else call.id,
        reason=reason,
        rule=rule,
        size_bytes=size_bytes,
        room_bytes=bound - core.registry.committed_bytes,
        bound_bytes=bound,
        stall_percent=None,
        swap_free_bytes=None,
        held_bytes=held_bytes,
        granted_bytes=granted_bytes,
    )


def placed(kind: ActionKind, rule: str, places: Mapping[str, str]) -> str:
    """`rule` of the ladder with the place in the policy that its number is from; one of leases
    has none."""
    where = places.get(_SETTINGS.get(kind, "")) if rule.startswith("ladder:") else None
    return rule if where is None else f"{rule} ({where})"


def _note(  # noqa: PLR0917 - the parts of a line
    core: Core, call: LiveCall, kind: ActionKind, reason: str, rule: str, at: float,
    size_bytes: int | None = None,
) -> None:  # fmt: skip
    call.actions.append(
        told(
            core, call.session, kind, reason, rule, call, at=at, size_bytes=size_bytes,
            held_bytes=call.memory_bytes, granted_bytes=call.record.grant.memory_need_bytes,
        )
    )  # fmt: skip
