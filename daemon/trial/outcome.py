# SPDX-License-Identifier: Apache-2.0
"""What the engine makes of a snapshot under a policy. Pure.

Sessions get what rules give them; calls are begun one after the other, in the order in which
they began, as if each might wait; then the ladder looks at what they hold. Taken as held is
all that is charged, page cache included, since a snapshot does not tell them apart: a real
daemon sees rather more room. With a time to look ahead, memory stays as it is but for what
kills give back: what follows if nobody lets go of anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from msgspec import structs

from agentcg.daemon.engine import (
    CallRequest,
    CallView,
    HostView,
    Refuse,
    SessionView,
    Wait,
    grant,
    ladder,
    protect,
    wanted,
)
from agentcg.daemon.engine.ladder_model import Action, CallLoad, Load, SessionLoad, State
from agentcg.daemon.engine.tuning import tuning_of
from agentcg.daemon.messages import Grant
from agentcg.daemon.trial.facts import of_session
from agentcg.daemon.trial.snapshot import CallSeen, SessionSeen, Snapshot
from agentcg.policies import CapRule, Policy, SessionRule, categorise

LOOKS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """What a session gets. `memory_low_bytes`: its share of what can be protected."""

    name: str
    priority: str
    weight: int
    tenant: str | None
    memory_max_bytes: int | None
    memory_high_bytes: int | None
    memory_low_bytes: int
    steps: tuple[str, ...]
    rule: str | None


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What a call would get. `decision`: begins, waits (then it begins with this grant), or is
    refused."""

    id: str
    session: str
    decision: str
    held_bytes: int
    memory_need_bytes: int | None
    memory_high_bytes: int | None
    memory_max_bytes: int | None
    reason: str
    rule: str | None


@dataclass(frozen=True, slots=True)
class CapOutcome:
    """What a user or a tenant has and may have, all sessions together."""

    owner: str
    held_bytes: int
    memory_max_bytes: int | None
    calls: int
    max_calls: int | None

    @property
    def exceeded(self) -> bool:
        """Whether it has more than it may."""
        memory = self.memory_max_bytes is not None and self.held_bytes > self.memory_max_bytes
        return memory or (self.max_calls is not None and self.calls > self.max_calls)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One action of the ladder, `after_s` the moment of the snapshot."""

    after_s: float
    kind: str
    session: str
    call: str | None
    size_bytes: int | None
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of it. `room_bytes`: what all sessions may still take."""

    bound_bytes: int
    room_bytes: int
    sessions: tuple[SessionOutcome, ...]
    caps: tuple[CapOutcome, ...]
    calls: tuple[CallOutcome, ...]
    steps: tuple[StepOutcome, ...]


@dataclass(slots=True)
class _Session:
    """A session on its way through a trial."""

    seen: SessionSeen
    rule: SessionRule
    held_bytes: int
    runtime_bytes: int
    views: list[CallView]
    seen_calls: list[CallSeen]


def outcome(policy: Policy, snapshot: Snapshot, ahead_s: float = 0.0) -> Outcome:
    """What the engine does at the moment of `snapshot` and, with `ahead_s`, after it."""
    host = snapshot.host
    bound = host.memory_max_bytes
    if bound is None:
        bound = policy.host(host.memory_total_bytes).memory_max
    of_all = min(host.memory_total_bytes if bound is None else bound, host.memory_total_bytes)
    sessions = _sessions(policy, snapshot, of_all)
    calls = _begin(policy, snapshot, sessions, of_all)
    shares = protect([wanted(name, s.rule) for name, s in sessions.items()], of_all)
    held = sum(session.held_bytes for session in sessions.values())
    load = Load(
        bound_bytes=of_all,
        held_bytes=held,
        current_bytes=max(host.memory_current_bytes or 0, held),
        stall_percent=host.pressure.memory_some_avg10,
        swap_free_bytes=host.swap_free_bytes,
        sessions=tuple(_load(session, shares[name]) for name, session in sessions.items()),
    )
    return Outcome(
        bound_bytes=of_all,
        room_bytes=of_all - held,
        sessions=tuple(_session(session, shares[name]) for name, session in sessions.items()),
        caps=_caps(policy, sessions, of_all),
        calls=tuple(calls),
        steps=tuple(_climb(policy, load, ahead_s)) if policy.ladder.enabled else (),
    )


def _sessions(policy: Policy, snapshot: Snapshot, of_all: int) -> dict[str, _Session]:
    calls: dict[str, list[CallSeen]] = defaultdict(list)
    for call in sorted(snapshot.calls, key=lambda call: call.begun_at):
        if call.state != "ended":
            calls[call.session].append(call)
    found = {}
    for seen in snapshot.sessions:
        own = calls[seen.name]
        in_calls = sum(call.account.memory_current_bytes or 0 for call in own)
        held = max(seen.memory_current_bytes or 0, in_calls)
        rule = policy.session(of_session(seen, seen.user, of_all))
        found[seen.name] = _Session(seen, rule, held, held - in_calls, [], own)
    return found


def _begin(
    policy: Policy, snapshot: Snapshot, sessions: Mapping[str, _Session], of_all: int
) -> list[CallOutcome]:
    """Begin all calls in their order; each sees those before it."""
    found, total, running = [], sum(s.runtime_bytes for s in sessions.values()), 0
    calls = [(call, s) for s in sessions.values() for call in s.seen_calls]
    for number, (call, session) in enumerate(sorted(calls, key=lambda each: each[0].begun_at)):
        host = HostView(
            memory_total_bytes=snapshot.host.memory_total_bytes,
            memory_max_bytes=of_all,
            reserve_bytes=policy.host(snapshot.host.memory_total_bytes).reserve_bytes(of_all),
            committed_bytes=total,
            calls_running=running,
        )
        name = call.id or f"call-{number + 1}"
        told, given = _decide(policy, host, session, call, name)
        found.append(told)
        if given is None:
            continue
        view = CallView(
            name, call.category or categorise(call.tool, call.command), call.state, call.begun_at,
            given, call.account.memory_current_bytes,
        )  # fmt: skip
        session.views.append(view)
        total += view.committed_bytes
        running += call.state == "running"
    return found


def _decide(
    policy: Policy, host: HostView, session: _Session, call: CallSeen, name: str
) -> tuple[CallOutcome, Grant | None]:
    view = SessionView(
        name=session.seen.name,
        priority=session.rule.priority,
        memory_max_bytes=session.rule.memory_max,
        max_calls=session.rule.max_calls,
        runtime_held_bytes=session.runtime_bytes,
        calls=tuple(session.views),
    )
    request = CallRequest(
        tool=call.tool, command=call.command, category=call.category,
        memory_bytes=call.declared_bytes, wait_s=policy.admission.wait_max_s,
    )  # fmt: skip
    decision = grant(policy, host, view, request, (), call.begun_at)
    reason, word = "", "begins"
    if isinstance(decision, Wait):
        reason, word = decision.reason, "waits"
        decision = grant(
            policy, host, view, structs.replace(request, wait_s=0.0), (), call.begun_at
        )
    if isinstance(decision, Refuse | Wait):
        held = call.account.memory_current_bytes or 0
        refused = CallOutcome(
            name, session.seen.name, "refused", held, None, None, None, decision.reason, None
        )
        return refused, None
    given = decision.grant
    told = CallOutcome(
        id=name,
        session=session.seen.name,
        decision=word,
        held_bytes=call.account.memory_current_bytes or 0,
        memory_need_bytes=given.memory_need_bytes,
        memory_high_bytes=given.memory_high_bytes,
        memory_max_bytes=given.memory_max_bytes,
        reason=reason or given.reason,
        rule=given.rule,
    )
    return told, given


def _load(session: _Session, protected: int) -> SessionLoad:
    return SessionLoad(
        name=session.seen.name,
        priority=session.rule.priority,
        phase=session.seen.phase,
        runtime_held_bytes=session.runtime_bytes,
        runtime_current_bytes=session.runtime_bytes,
        runtime_low_bytes=min(session.rule.runtime_memory_low, protected),
        peak_bytes=session.held_bytes,
        weight=session.rule.weight,
        steps=session.rule.steps,
        calls=tuple(
            CallLoad(
                id=view.id,
                begun_at=view.begun_at,
                running=view.state == "running",
                held_bytes=view.held_bytes,
                granted_bytes=view.grant.memory_need_bytes or view.grant.memory_high_bytes,
                limit_bytes=view.grant.memory_high_bytes,
            )
            for view in session.views
        ),
    )


def _session(session: _Session, protected: int) -> SessionOutcome:
    rule = session.rule
    return SessionOutcome(
        session.seen.name, rule.priority, rule.weight, rule.tenant, rule.memory_max,
        rule.memory_high, protected, tuple(sorted(rule.steps)), rule.rule,
    )  # fmt: skip


def _caps(policy: Policy, sessions: Mapping[str, _Session], of_all: int) -> tuple[CapOutcome, ...]:
    """Users, then tenants, that have a cap."""
    owners: dict[tuple[str, str], tuple[CapRule, list[_Session]]] = {}
    for session in sessions.values():
        seen, tenant = session.seen, session.rule.tenant
        user = policy.user(seen.uid, seen.user, of_all)
        owners.setdefault(("user", seen.user or str(seen.uid)), (user, []))[1].append(session)
        if tenant is not None:
            rule = policy.tenant(tenant, of_all)
            owners.setdefault(("tenant", tenant), (rule, []))[1].append(session)
    return tuple(
        CapOutcome(
            f"{kind} {name}",
            sum(session.held_bytes for session in own),
            rule.memory_max,
            sum(1 for session in own for view in session.views if view.state == "running"),
            rule.max_calls,
        )
        for (kind, name), (rule, own) in sorted(owners.items(), reverse=True)
        if rule.memory_max is not None or rule.max_calls is not None
    )


def _climb(policy: Policy, load: Load, ahead_s: float) -> list[StepOutcome]:
    """Looks of the ladder until the time is over or it rests."""
    tuning, state, steps = tuning_of(policy.ladder), State(), []
    begun = max((c.begun_at for s in load.sessions for c in s.calls), default=0.0)
    after = 0.0
    for _ in range(LOOKS_MAX):
        verdict = ladder.decide(load, state, begun + after, tuning)
        steps += [_step(action, after) for action in verdict.actions]
        state = verdict.state
        killed = {action.call for action in verdict.actions if action.kind == "kill"}
        load = _without(load, killed)
        if verdict.look_in_s is None or after + verdict.look_in_s > ahead_s:
            break
        after += max(verdict.look_in_s, 0.01)
    return steps


def _step(action: Action, after: float) -> StepOutcome:
    return StepOutcome(
        round(after, 3), action.kind, action.session, action.call, action.size_bytes,
        action.reason, action.rule,
    )  # fmt: skip


def _without(load: Load, killed: set[str | None]) -> Load:
    if not killed:
        return load
    gone = sum(c.held_bytes or 0 for s in load.sessions for c in s.calls if c.id in killed)
    sessions = tuple(
        replace(session, calls=tuple(call for call in session.calls if call.id not in killed))
        for session in load.sessions
    )
    return replace(
        load, held_bytes=load.held_bytes - gone, current_bytes=load.current_bytes - gone,
        sessions=sessions,
    )  # fmt: skip
