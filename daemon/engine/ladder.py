# SPDX-License-Identifier: Apache-2.0
"""The ladder: what is done, and to whom, when all sessions together run out of memory.

    protect -> reclaim -> throttle -> freeze (+ reclaim) -> kill one call

Gentlest first, and taken back in reverse when room returns. The agent's own processes are
protected and reclaimed from, nothing else; the harsh steps meet calls. `ladder_survey` says
who may be acted on and in which order, `ladder_level` how far it may go, `ladder_model.Tuning`
has every number.

Calls have leases (`leases`), and while room is short agents too (`ladder_agents`), so that the room
runs out without anybody running into the bound.
A call that can have no more is throttled by the kernel; the ladder sees to it that the right
one is, that it does not last, and that somebody always gets on.

Example: 600M for all sessions, one call of high priority and three of low that grow and grow.
Below 20% of room, agents that wait for their model are reclaimed from; at 4% the low calls get
no more, and only the high one grows; below 2.5% they are frozen, the oldest last; below 1.2% the
one that exceeds its grant most is killed, and half a second later, if that was not enough, the
next. At 6% they are thawed, the oldest first, and grow again as far as there is room.

`decide` remembers nothing: what it needs to know next time is in `State`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from agentcg.daemon.engine import ladder_agents, ladder_reclaim, leases
from agentcg.daemon.engine.ladder_deeds import Deeds
from agentcg.daemon.engine.ladder_level import (
    is_overdrawn,
    is_stalled,
    last_part_bytes,
    level_of,
    look_in_s,
)
from agentcg.daemon.engine.ladder_model import (
    RANK,
    TUNING,
    Action,
    CallLoad,
    Level,
    Load,
    Reclaimed,
    SessionLoad,
    State,
    Tuning,
    Verdict,
)
from agentcg.daemon.engine.ladder_survey import (
    Target,
    to_freeze,
    to_thaw,
    to_throttle,
)
from agentcg.daemon.engine.ladder_words import holding
from agentcg.units import format_duration, format_size


def is_relaxed(load: Load, state: State, tuning: Tuning = TUNING) -> bool:
    """Whether `decide` would do nothing as long as no call has met its lease: sessions need not
    be read."""
    stalled = is_stalled(load, state, tuning)
    level = level_of(load, stalled, state.level, tuning)
    plenty = not (state.agents_leased or ladder_agents.is_due(load, False, tuning))
    return plenty and state.at_rest and level == Level.RELAXED and not is_overdrawn(load, tuning)


def decide(load: Load, state: State, now: float, tuning: Tuning = TUNING) -> Verdict:
    """Actions for `load`, given what earlier decisions left in `state`. Total, deterministic,
    linear in sessions and calls; costs nothing to speak of while there is room."""
    stalled = is_stalled(load, state, tuning)
    level = level_of(load, stalled, state.level, tuning)
    if is_relaxed(load, state, tuning) and not _is_asked(load):
        return Verdict((), State(), look_in_s(load, level, True, tuning))
    deciding = _Deciding(load, replace(state, level=level, stalled=stalled), now, tuning)
    actions, after = deciding.run()
    look = look_in_s(load, level, after.at_rest and not deciding.later, tuning)
    return Verdict(actions, after, look, deciding.leases, deciding.agents.leases)


def _is_asked(load: Load) -> bool:
    for session in load.sessions:
        for call in session.calls:
            if call.met or call.still:
                return True
    return False


class _Deciding(Deeds):
    """One decision under way: whom each step meets."""

    def __init__(self, load: Load, state: State, now: float, tuning: Tuning) -> None:
        super().__init__(load, state, now, tuning)
        self._level = state.level
        self._thawed_at = state.thawed_at
        self._waiting: dict[str, float] = {}
        self.later: tuple[str, ...] = ()  # who is given something as soon as the kernel has it
        self._agents_due = ladder_agents.is_due(load, state.agents_leased, tuning)
        self.agents = ladder_agents.lend(load, self._agents_due, state.agents_waiting, now, tuning)

    def run(self) -> tuple[tuple[Action, ...], State]:
        protects, protected = ladder_reclaim.protect(
            self._load, self._level, self._state.protected, self._tuning
        )
        self._note_progress()
        self._share_out()
        self._level = self._urgent_level()
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
            marks=self._marks, reclaimed=reclaimed, protected=protected, waiting=self._waiting,
            agents_waiting=self.agents.waiting, agents_leased=self._agents_due,
        )  # fmt: skip
        return (*protects, *self._actions), state

    def _share_out(self) -> None:
        """Let calls that are held up at their leases grow, as far as there is room."""
        found = self._survey
        shared = leases.share_out(
            self._load, found.wanting, found.last_to_run, self._state.waiting, self._now,
            self._tuning, self._needed_bytes(),
        )  # fmt: skip
        self.leases = shared.leases
        self._capped, self.later = frozenset(shared.capped), shared.later
        self._free_bytes, self._coming_bytes = shared.free_bytes, shared.coming_bytes
        waiting = [*shared.starved]
        for call_id, target in self._survey.marked.items():
            call = target[1]
            if self._is_frozen(call) and self._may_go_on(target) and not self._fits(call):
                waiting.append(call_id)
        self._waiting = {id: self._state.waiting.get(id, self._now) for id in waiting}

    def _needed_bytes(self) -> int:
        """What would help an agent that waits, or else the smallest of the paused calls."""
        if is_overdrawn(self._load, self._tuning):
            return 0  # all that is not used is taken back anyway
        if self.agents.waiting:
            return self._load.bound_bytes
        paused = (call for _, call in self._survey.marked.values() if self._is_frozen(call))
        return min((leases.to_go_on_bytes(call, self._tuning)[1] for call in paused), default=0)

    def _may_go_on(self, target: Target) -> bool:
        """Whether nothing but room keeps it from being let go."""
        call = target[1]
        mark = self._marks[call.id]
        if call.id in self._capped or self._is_spent(target):
            return False
        if mark.rounds and not self._held(mark):
            return False
        return call is self._survey.last_to_run or call.id not in self._survey.eligible

    def _urgent_level(self) -> Level:
        """The level; as far as it goes where the one who is to get on cannot.

        High priority waits only as long as a step needs to take effect, others until they are
        stuck, and while no one gets on who would make room; who is alone, longer.
        """
        first = self._survey.last_to_run
        since = None if first is None else self._waiting.get(first.id)
        if first is None or since is None:
            return self._level
        waited_s = self._now - since
        if not _worth_it([*self._others(), *self._frozen(first)], self._tuning):
            patient = waited_s < self._patience_s
        elif self._survey.last_rank == RANK["high"]:
            patient = waited_s < self._settle_s
        else:
            others = self._load.sessions
            stuck = waited_s >= self._tuning.throttle_stuck_s
            patient = not stuck or self._somebody_gets_on(first, others)
        return self._level if patient else Level.KILL

    def _somebody_gets_on(self, first: CallLoad | None, among: Sequence[SessionLoad]) -> bool:
        """Whether another call runs that is not held back."""
        return any(
            call.running and call is not first and call.id not in self._waiting
            and call.id not in self._marks
            for session in among
            for call in session.calls
        )  # fmt: skip

    @property
    def _patience_s(self) -> float:
        """How long one waits for room that nobody can make."""
        swap = self._load.swap_free_bytes > 0
        return self._tuning.freeze_max_s if swap else self._tuning.throttle_max_s

    @property
    def _settle_s(self) -> float:
        swap = self._load.swap_free_bytes > 0
        return self._tuning.settle_swap_s if swap else self._tuning.settle_s

    # --- Down the ladder ---

    def _let_go(self) -> None:
        """Release whom nothing holds back any more, and take the rest down step by step."""
        for target in self._survey.marked.values():
            if self._may_go_on(target):
                again = self._marks[target[1].id].rounds
                self._release(target, "tried again" if again else "it is the one to get on")
        if self._level < Level.THROTTLE:
            self._thaw_some()
            self._unthrottle_some()
        over = [id for id, m in self._marks.items() if m.step == "free" and self._held(m)]
        for call_id in over:
            del self._marks[call_id]

    def _thaw_some(self) -> None:
        """One at a time while there is little room, since each may grow again, and after those
        who wait to grow."""
        if self._waiting and self._level > Level.RELAXED:
            return
        frozen = (self._survey.marked[id] for id, m in self._marks.items() if m.step == "frozen")
        waiting = [target for target in frozen if not self._is_spent(target)]
        if self._level > Level.RELAXED:
            if self._now - self._state.thawed_at < self._tuning.thaw_every_s:
                return
            count = 1
        else:
            count = self._tuning.batch
        if not waiting:
            return
        kept = leases.kept_by_rank(self._load, self._tuning)
        for target in to_thaw(waiting, count):
            mark = self._marks[target[1].id]
            if not self._held(mark) or not self._fits(target[1], kept[RANK[target[0].priority]]):
                return  # those behind it wait for their turn
            self._thaw(target, f"after {format_duration(self._now - mark.since)}")
            self._thawed_at = self._now

    def _unthrottle_some(self) -> None:
        waiting = [
            self._survey.marked[id]
            for id, mark in self._marks.items()
            if mark.step == "throttled" and self._held(mark) and not self._is_short(id)
        ]
        for target in to_thaw(waiting, self._tuning.batch):
            self._mark("unthrottle", target, "free", "it may grow again")

    # --- Up the ladder ---

    def _reclaim(self) -> Mapping[str, Reclaimed]:
        frozen = self._frozen(None)
        actions, reclaimed = ladder_reclaim.reclaim(
            self._load, self._level, frozen, self._state.reclaimed, self._now, self._tuning
        )
        self._actions += actions
        return reclaimed

    def _throttle(self) -> None:
        """Calls that can have no more; where little room is left, calls over their grant or,
        before anything is frozen, any."""
        short = self._level >= Level.THROTTLE
        if not (short or self._waiting or self._capped):
            return
        any_call = self._level >= Level.FREEZE
        chosen = [t for t in self._at_own_limit() if self._can_throttle(*t)]
        for targets in self._survey.free_by_rank:  # only as many as the batch can need
            chosen += [
                target for target in targets
                if (any_call or (short and target[1].overshoot_bytes > 0)
                    or target[1].id in self._waiting)
                and target[1].id not in self._capped and self._can_throttle(*target)
            ]  # fmt: skip
            if len(chosen) >= self._tuning.batch:
                break
        for target in to_throttle(chosen, self._tuning.batch):
            call = target[1]
            size = self._throttled_at(call)
            what = f"{holding(call)}; slowed beyond {format_size(size)}"
            self._mark("throttle", target, "throttled", what, size)

    def _can_throttle(self, session: SessionLoad, call: CallLoad) -> bool:
        kept = call is self._survey.last_to_run and call.id not in self._capped
        if "throttle" not in session.steps or kept:
            return False
        if self._is_short(call.id) and leases.is_at_edge(call) and "freeze" in session.steps:
            return False  # it would be killed by the kernel before that helps
        mark = self._marks.get(call.id)
        return mark is None or (mark.step != "throttled" and self._held(mark))

    def _is_short(self, call_id: str) -> bool:
        return call_id in self._waiting or call_id in self._capped

    def _throttled_at(self, call: CallLoad) -> int:
        """What it holds; its lease or limit where that is less: then its clock starts, no more."""
        size = max(call.held_bytes or 0, self._tuning.throttle_least_bytes)
        bounds = (call.limit_bytes, self.leases.get(call.id, call.lease_bytes))
        return min([size, *(bound for bound in bounds if bound is not None)])

    def _freeze(self) -> None:
        chosen = [target for target in self._survey.throttled if self._can_freeze(target[1])]
        chosen += [t for t in self._at_own_limit() if self._worn_out(self._marks.get(t[1].id))]
        if self._level >= Level.FREEZE:
            chosen += [target for target in self._others() if "throttle" not in target[0].steps]
        chosen = to_freeze((t for t in chosen if "freeze" in t[0].steps), self._tuning.batch)
        for target in chosen:
            self._pause(target, self._worn_out(self._state.marks.get(target[1].id)))
        for target in self._survey.wanting:  # whoever it is: the kernel kills it else
            if self._is_short(target[1].id) and leases.is_at_edge(target[1], self._edge(target[1])):
                self._pause(target, "at the end of its lease; ")
        short = last_part_bytes(self._load, self._tuning) - self._free_bytes - self._coming_bytes
        promised = self._load.promised_bytes > 0
        if short <= 0 or not promised or not is_overdrawn(self._load, self._tuning):
            return
        for target in to_freeze(self._ordinary(), self._tuning.batch):
            if short > 0 and target[1].unused_bytes:
                short -= target[1].unused_bytes
                self._pause(target, "more is promised than there is; ")

    def _edge(self, call: CallLoad) -> float:
        return leases.LAST_EDGE if call is self._survey.last_to_run else leases.EDGE

    def _ordinary(self) -> Iterator[Target]:
        """All calls but those of high priority and the last to run, however small."""
        for session in self._load.sessions:
            if session.priority != "high":
                for call in session.calls:
                    mark = self._marks.get(call.id)
                    gone = mark is not None and mark.step == "killed"
                    if not gone and call is not self._survey.last_to_run:
                        yield session, call

    def _can_freeze(self, call: CallLoad) -> bool:
        """Throttled before this decision, and that did not help."""
        mark = self._marks.get(call.id)
        if mark is None or mark.step != "throttled" or mark.since == self._now:
            return False
        if self._worn_out(mark) or self._level == Level.KILL:
            return True
        return self._level == Level.FREEZE and self._held(mark)

    def _kill(self) -> bool:
        """Kill one call, if nothing gentler is left and the last step has had its time."""
        if self._now - self._state.acted_at < self._settle_s:
            return False
        frozen = self._frozen(self._survey.last_to_run)
        if self._level < Level.KILL:
            candidates = [*self._spent(), *(t for t in frozen if self._frozen_too_long(t))]
        else:
            last: list[Target] = []
            for target in self._others():
                if not self._is_at_its_last(*target):
                    return False  # a gentler step is left for it, as soon as its time comes
                last.append(target)
            candidates = [*frozen, *last] or [*self._frozen(None), *self._survey.free]
            candidates = _worth_it(candidates, self._tuning) or self._hopeless()
        candidates = [target for target in candidates if "kill" in target[0].steps]
        for target in to_throttle(candidates, 1):
            what = f"{holding(target[1])}; killed, nothing gentler is left"
            self._mark("kill", target, "killed", what)
            return True
        return False

    def _hopeless(self) -> list[Target]:
        """The one to get on, if it cannot and nobody can make way for it."""
        last = self._survey.last_to_run
        if last is None or self._now - self._waiting.get(last.id, self._now) < self._patience_s:
            return []
        return [target for target in self._survey.marked.values() if target[1] is last]

    def _is_at_its_last(self, session: SessionLoad, call: CallLoad) -> bool:
        """Whether nothing but a kill may be done to a call that is not frozen."""
        if "freeze" in session.steps:
            return False
        mark = self._marks.get(call.id)
        return "throttle" not in session.steps or (mark is not None and mark.step == "throttled")

    def _spent(self) -> Iterator[Target]:
        """Who is to die for a limit of its own: at once, if nobody runs who may share it."""
        spent = [target for target in self._frozen_at_all() if self._is_spent(target)]
        bounded = [s for s in self._load.sessions if spent and s.room_bytes is not None]
        shared = self._somebody_gets_on(None, bounded)
        for target in spent:
            ripe = self._held(self._marks[target[1].id]) and not shared
            if ripe or self._frozen_too_long(target):
                yield target

    def _frozen_too_long(self, target: Target) -> bool:
        return self._now - self._marks[target[1].id].since >= self._tuning.freeze_max_s


def _worth_it(candidates: list[Target], tuning: Tuning) -> list[Target]:
    """Those whose end makes room: with more than a little, or else with anything at all."""
    for least in (tuning.throttle_least_bytes, tuning.lease_step_bytes):
        found = [target for target in candidates if (target[1].held_bytes or 0) >= least]
        if found:
            return found
    return []
