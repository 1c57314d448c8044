# SPDX-License-Identifier: Apache-2.0
"""What a decision of the ladder does to calls, and what it knows of what was done to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agentcg.daemon.engine import leases
from agentcg.daemon.engine.ladder_level import last_part_bytes
from agentcg.daemon.engine.ladder_model import (
    MIB,
    Action,
    CallLoad,
    Load,
    Mark,
    State,
    Step,
    Tuning,
)
from agentcg.daemon.engine.ladder_survey import Survey, Target, survey
from agentcg.daemon.engine.ladder_words import OWN_LIMIT, action, holding
from agentcg.daemon.messages import ActionKind
from agentcg.units import format_duration

_ROUNDS_MAX = 2  # a call that had to be frozen so often for want of progress will not make any
_FLAT_BYTES = MIB  # a call whose memory changes by less neither grows nor shrinks,
_FLAT_PART = 16  # nor by less than this part of it: throttled by the kernel, it creeps


class Deeds:
    """Actions and marks as they come about, and the room that they leave."""

    def __init__(self, load: Load, state: State, now: float, tuning: Tuning) -> None:
        self._load = load
        self._state = state
        self._now = now
        self._tuning = tuning
        self._actions: list[Action] = []
        marks = {**state.marks, **self._begun_paused()}
        self._survey: Survey = survey(load, marks, tuning)
        self._marks = {id: marks[id] for id in self._survey.marked}
        self.leases: dict[str, int] = {}
        self._capped: frozenset[str] = frozenset()  # who is held up at a limit of its own
        self._free_bytes = self._coming_bytes = 0  # beyond what was just given

    def _begun_paused(self) -> dict[str, Mark]:
        """Calls for which there was no room at all; they may go on as soon as there is."""
        found = {}
        for session in self._load.sessions:
            for call in session.calls:
                if call.still and call.id not in self._state.marks:
                    found[call.id] = Mark("frozen", self._now - self._tuning.hold_s)
                    what = "paused before it began, there is no room for it"
                    self._actions.append(
                        action("freeze", self._load, self._tuning, session, call, what)
                    )
        return found

    def _note_progress(self) -> None:
        """A throttled call gets on if its memory changes, or if it does not meet its limit."""
        for call_id, mark in self._marks.items():
            call = self._survey.marked[call_id][1]
            held, events = call.held_bytes or 0, call.high_events or 0
            moved = abs(held - mark.seen_held_bytes) > max(_FLAT_BYTES, held // _FLAT_PART)
            rested = events == mark.seen_high_events
            if moved or (rested and self._now - mark.seen_at >= self._tuning.throttle_stuck_s):
                self._marks[call_id] = replace(
                    mark, seen_at=self._now, seen_held_bytes=held, seen_high_events=events
                )

    # --- Done to one call ---

    def _pause(self, target: Target, why: str) -> None:
        session, call = target
        if "freeze" not in session.steps or self._is_frozen(call):
            return
        frees = (
            "its memory can go to swap" if self._load.swap_free_bytes > 0
            else "there is no swap, so it keeps its memory and grows no more"
        )  # fmt: skip
        what = f"{holding(call)}; {why}paused, {frees}"
        self._mark("freeze", target, "frozen", what, rounds=call.id in self._capped)

    def _release(self, target: Target, why: str) -> None:
        if self._marks[target[1].id].step == "frozen" and self._fits(target[1]):
            self._thaw(target, why)
            if self._marks[target[1].id].rounds:
                return  # at a limit of its own: its time under throttle begins anew
        if self._marks[target[1].id].step == "throttled":
            self._mark("unthrottle", target, "free", f"it may grow again, {why}")

    def _thaw(self, target: Target, why: str) -> None:
        """Let it go on, with a lease for what it holds by now."""
        call = target[1]
        if call.lease_bytes is not None:
            lease, room = leases.to_go_on_bytes(call, self._tuning)
            self._free_bytes -= room
            if lease > call.lease_bytes:
                self.leases[call.id] = lease
        self._mark("thaw", target, "throttled", f"thawed, {why}")

    def _others(self) -> Iterator[Target]:
        """Calls that may be acted on and are not frozen, without the last to run."""
        last = self._survey.last_to_run
        return (target for target in self._survey.free if target[1] is not last)

    def _mark(  # noqa: PLR0917 - the parts of an action
        self, kind: ActionKind, target: Target, step: Step, what: str, size: int | None = None,
        rounds: int = 0,
    ) -> None:  # fmt: skip
        session, call = target
        before = self._marks.get(call.id)
        rounds += 0 if before is None else before.rounds
        rule = OWN_LIMIT if kind != "unthrottle" and self._is_at_own_limit(target) else None
        self._actions.append(
            action(kind, self._load, self._tuning, session, call, what, size, rule)
        )
        self._marks[call.id] = Mark(
            step, self._now, self._now, call.held_bytes or 0, call.high_events or 0, rounds
        )

    # --- Known of one call ---

    def _fits(self, call: CallLoad, floor_bytes: int | None = None) -> bool:
        """Whether there is room for what a paused call can take once it goes on."""
        if call.lease_bytes is None:
            return True
        if floor_bytes is None:
            floor_bytes = last_part_bytes(self._load, self._tuning)
        return leases.to_go_on_bytes(call, self._tuning)[1] <= self._free_bytes - floor_bytes

    def _is_at_own_limit(self, target: Target) -> bool:
        """Whether it is held up, or was paused, at a limit of its own that has not moved since."""
        mark = self._marks.get(target[1].id)
        if mark is None or not mark.rounds:
            return target[1].id in self._capped
        return leases.is_capped(*target)

    def _is_spent(self, target: Target) -> bool:
        """Whether it was paused and tried again so often at a limit of its own, and
        that has not moved."""
        return self._marks[target[1].id].rounds > _ROUNDS_MAX and self._is_at_own_limit(target)

    def _frozen_at_all(self) -> Iterator[Target]:
        """Paused calls of any priority, whether they may be acted on or not."""
        return (target for target in self._survey.marked.values() if self._is_frozen(target[1]))

    def _at_own_limit(self) -> Iterator[Target]:
        """Of any priority, and the last to run, too: that nobody else runs is no help to it."""
        return (target for target in self._survey.wanting if target[1].id in self._capped)

    def _held(self, mark: Mark) -> bool:
        """Whether the last change is long enough ago for another one."""
        return self._now - mark.since >= self._tuning.hold_s

    def _frozen(self, but: CallLoad | None) -> list[Target]:
        """Paused calls that may be acted on, without one."""
        frozen = self._survey.frozen
        return [t for t in frozen if self._is_frozen(t[1]) and t[1] is not but]

    def _is_frozen(self, call: CallLoad) -> bool:
        mark = self._marks.get(call.id)
        return mark is not None and mark.step == "frozen"

    def _worn_out(self, mark: Mark | None) -> str:
        """Why a throttled call moves on whatever the room; empty if it does not."""
        if mark is None or mark.step != "throttled":
            return ""
        if self._now - mark.seen_at >= self._tuning.throttle_stuck_s:
            return f"no progress for {format_duration(self._now - mark.seen_at)}; "
        if self._now - mark.since >= self._tuning.throttle_max_s:
            return f"slowed for {format_duration(self._now - mark.since)}; "
        return ""
