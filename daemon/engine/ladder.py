# SPDX-License-Identifier: Apache-2.0
"""The ladder: what is done, and to whom, when all sessions together run out of memory.

    protect -> reclaim -> throttle -> freeze (+ reclaim) -> kill one call

Gentlest first, and taken back in reverse when room returns. The agent's own processes are
protected and reclaimed from, nothing else; the harsh steps meet calls. `ladder_survey` says
who may be acted on and in which order, `ladder_level` how far it may go, `ladder_model.Tuning`
has every number.

Example: 600M for all sessions, one call of high priority and three of low that outgrow their
grants. Below 20% of room, agents that wait for their model are reclaimed from; below 12% the
low calls are throttled at what they hold; below 6% they are frozen, the oldest last; below 2%
the one that exceeds its grant most is killed, and half a second later, if that was not enough,
the next. At 16% they are thawed, the oldest first, and then get their own limits back.

`decide` remembers nothing: what it needs to know next time is in `State`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentcg.daemon.engine import ladder_reclaim
from agentcg.daemon.engine.ladder_level import is_stalled, level_of, look_in_s
from agentcg.daemon.engine.ladder_model import (
    MIB,
    TUNING,
    Action,
    CallLoad,
    Level,
    Load,
    Mark,
    Reclaimed,
    State,
    Step,
    Tuning,
    Verdict,
)
from agentcg.daemon.engine.ladder_survey import (
    Survey,
    Target,
    survey,
    to_freeze,
    to_thaw,
    to_throttle,
)
from agentcg.daemon.engine.ladder_words import action, holding
from agentcg.daemon.messages import ActionKind
from agentcg.units import format_duration, format_size

_FLAT_BYTES = MIB  # a call whose memory changes by less neither grows nor shrinks


def is_relaxed(load: Load, state: State, tuning: Tuning = TUNING) -> bool:
    """Whether `decide` would do nothing whatever the sessions are: they need not be read."""
    stalled = is_stalled(load, state, tuning)
    return state.at_rest and level_of(load, stalled, state.level, tuning) == Level.RELAXED


def decide(load: Load, state: State, now: float, tuning: Tuning = TUNING) -> Verdict:
    """Actions for `load`, given what earlier decisions left in `state`. Total, deterministic,
    linear in sessions and calls; costs nothing to speak of while there is room."""
    stalled = is_stalled(load, state, tuning)
    level = level_of(load, stalled, state.level, tuning)
    if level == Level.RELAXED and state.at_rest:
        return Verdict((), State(), look_in_s(load, level, True, tuning))
    deciding = _Deciding(load, replace(state, level=level, stalled=stalled), now, tuning)
    actions, after = deciding.run()
    return Verdict(actions, after, look_in_s(load, level, after.at_rest, tuning))


class _Deciding:
    """One decision under way: actions and marks as they come about."""

    def __init__(self, load: Load, state: State, now: float, tuning: Tuning) -> None:
        self._load = load
        self._state = state
        self._level = state.level
        self._now = now
        self._tuning = tuning
        self._survey: Survey = survey(load, state.marks, tuning)
        self._marks = {id: state.marks[id] for id in self._survey.marked}
        self._actions: list[Action] = []
        self._thawed_at = state.thawed_at

    def run(self) -> tuple[tuple[Action, ...], State]:
        protects, protected = ladder_reclaim.protect(
            self._load, self._level, self._state.protected, self._tuning
        )
        self._note_progress()
        self._let_go()
        pressing = len(self._actions)
        reclaimed = self._reclaim()
        self._throttle()
        self._freeze()
        acted_at = self._state.acted_at
        if len(self._actions) > pressing or self._kill():
            acted_at = self._now
        state = replace(
            self._state, acted_at=acted_at, thawed_at=self._thawed_at,
            marks=self._marks, reclaimed=reclaimed, protected=protected,
        )  # fmt: skip
        return (*protects, *self._actions), state

    # --- Down the ladder ---

    def _note_progress(self) -> None:
        """A throttled call gets on if its memory changes, or if it does not meet its limit."""
        for call_id, mark in self._marks.items():
            call = self._survey.marked[call_id][1]
            held, events = call.held_bytes or 0, call.high_events or 0
            moved = abs(held - mark.seen_held_bytes) > _FLAT_BYTES
            rested = events == mark.seen_high_events
            if moved or (rested and self._now - mark.seen_at >= self._tuning.throttle_stuck_s):
                self._marks[call_id] = replace(
                    mark, seen_at=self._now, seen_held_bytes=held, seen_high_events=events
                )

    def _let_go(self) -> None:
        """Release whom nothing holds back any more, and take the rest down step by step."""
        last = self._survey.last_to_run
        for call_id, target in self._survey.marked.items():
            spared = call_id not in self._survey.eligible
            if spared or (last is not None and call_id == last.id):
                self._release(target, "it is the one to get on")
        if self._level < Level.THROTTLE:
            self._thaw_some()
            self._unthrottle_some()
        over = [id for id, m in self._marks.items() if m.step == "free" and self._held(m)]
        for call_id in over:
            del self._marks[call_id]

    def _release(self, target: Target, why: str) -> None:
        if self._marks[target[1].id].step == "frozen":
            self._mark("thaw", target, "throttled", f"thawed, {why}")
        if self._marks[target[1].id].step == "throttled":
            self._mark("unthrottle", target, "free", f"its own limits again, {why}")

    def _thaw_some(self) -> None:
        """One at a time while there is little room, since each may grow again."""
        waiting = [self._survey.marked[id] for id, m in self._marks.items() if m.step == "frozen"]
        if self._level > Level.RELAXED:
            if self._now - self._state.thawed_at < self._tuning.thaw_every_s:
                return
            count = 1
        else:
            count = self._tuning.batch
        for target in to_thaw(waiting, count):
            mark = self._marks[target[1].id]
            if not self._held(mark):
                return  # those behind it wait for their turn
            frozen = format_duration(self._now - mark.since)
            self._mark("thaw", target, "throttled", f"thawed after {frozen}")
            self._thawed_at = self._now

    def _unthrottle_some(self) -> None:
        waiting = [
            self._survey.marked[id]
            for id, mark in self._marks.items()
            if mark.step == "throttled" and self._held(mark)
        ]
        for target in to_thaw(waiting, self._tuning.batch):
            self._mark("unthrottle", target, "free", "its own limits again")

    def _held(self, mark: Mark) -> bool:
        """Whether the last change is long enough ago for another one."""
        return self._now - mark.since >= self._tuning.hold_s

    # --- Up the ladder ---

    def _reclaim(self) -> Mapping[str, Reclaimed]:
        frozen = [
            target for target in self._survey.frozen
            if self._marks[target[1].id].step == "frozen"
        ]  # fmt: skip
        actions, reclaimed = ladder_reclaim.reclaim(
            self._load, self._level, frozen, self._state.reclaimed, self._now, self._tuning
        )
        self._actions += actions
        return reclaimed

    def _throttle(self) -> None:
        """Calls over their grant or, before anything is frozen, any."""
        if self._level < Level.THROTTLE:
            return
        any_call = self._level >= Level.FREEZE
        chosen = [
            target for target in self._others()
            if (any_call or target[1].overshoot_bytes > 0) and self._can_throttle(target[1])
        ]  # fmt: skip
        for target in to_throttle(chosen, self._tuning.batch):
            call = target[1]
            size = self._throttled_at(call)
            what = f"{holding(call)}; slowed beyond {format_size(size)}"
            self._mark("throttle", target, "throttled", what, size)

    def _can_throttle(self, call: CallLoad) -> bool:
        mark = self._marks.get(call.id)
        return mark is None or (mark.step != "throttled" and self._held(mark))

    def _throttled_at(self, call: CallLoad) -> int:
        """What it holds; its own limit where that is less: then its clock starts, no more."""
        size = max(call.held_bytes or 0, self._tuning.throttle_least_bytes)
        return size if call.limit_bytes is None else min(size, call.limit_bytes)

    def _freeze(self) -> None:
        if self._level < Level.THROTTLE:
            return
        chosen = [target for target in self._survey.throttled if self._can_freeze(target[1])]
        frees = (
            "its memory can go to swap" if self._load.swap_free_bytes > 0
            else "there is no swap, so it keeps its memory and grows no more"
        )  # fmt: skip
        for target in to_freeze(chosen, self._tuning.batch):
            why = self._worn_out(self._state.marks.get(target[1].id))
            self._mark("freeze", target, "frozen", f"{holding(target[1])}; {why}paused, {frees}")

    def _can_freeze(self, call: CallLoad) -> bool:
        """Throttled before this decision, and that did not help."""
        mark = self._marks.get(call.id)
        if mark is None or mark.step != "throttled" or mark.since == self._now:
            return False
        if self._worn_out(mark) or self._level == Level.KILL:
            return True
        return self._level == Level.FREEZE and self._held(mark)

    def _worn_out(self, mark: Mark | None) -> str:
        """Why a throttled call moves on whatever the room; empty if it does not."""
        if mark is None or mark.step != "throttled":
            return ""
        if self._now - mark.seen_at >= self._tuning.throttle_stuck_s:
            return f"no progress for {format_duration(self._now - mark.seen_at)}; "
        if self._now - mark.since >= self._tuning.throttle_max_s:
            return f"slowed for {format_duration(self._now - mark.since)}; "
        return ""

    def _kill(self) -> bool:
        """Kill one call, if nothing gentler is left and the last step has had its time."""
        swap = self._load.swap_free_bytes > 0
        settle_s = self._tuning.settle_swap_s if swap else self._tuning.settle_s
        if self._level < Level.THROTTLE or self._now - self._state.acted_at < settle_s:
            return False
        frozen = [target for target in self._survey.frozen if self._is_frozen(target[1])]
        if self._level < Level.KILL:
            frozen = [target for target in frozen if self._frozen_too_long(target[1])]
            candidates = frozen
        elif any(True for _ in self._others()):
            return False  # a gentler step is left for them, as soon as their time comes
        else:
            candidates = frozen or self._survey.free
        for target in to_throttle(candidates, 1):
            what = f"{holding(target[1])}; killed, nothing gentler is left"
            self._mark("kill", target, "killed", what)
            return True
        return False

    def _is_frozen(self, call: CallLoad) -> bool:
        mark = self._marks.get(call.id)
        return mark is not None and mark.step == "frozen"

    def _frozen_too_long(self, call: CallLoad) -> bool:
        return self._now - self._marks[call.id].since >= self._tuning.freeze_max_s

    # --- Both ---

    def _others(self) -> list[Target]:
        """Calls that may be acted on and are not frozen, without the last to run."""
        last = self._survey.last_to_run
        return [target for target in self._survey.free if target[1] is not last]

    def _mark(
        self, kind: ActionKind, target: Target, step: Step, what: str, size: int | None = None
    ) -> None:
        session, call = target
        self._actions.append(action(kind, self._load, self._tuning, session, call, what, size))
        self._marks[call.id] = Mark(
            step, self._now, self._now, call.held_bytes or 0, call.high_events or 0
        )
