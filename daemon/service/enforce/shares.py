# SPDX-License-Identifier: Apache-2.0
"""What sessions of a user or tenant share, as knobs of each session: CPU by weight, processes and
memory under a cap. The tree is flat, so what the kernel cannot know is worked out here and
written to each session, whenever sessions come, go or change phase.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from agentcg.cgroups import MAX, Limits
from agentcg.cgroups.knobs import MEMORY_CURRENT, PIDS_CURRENT
from agentcg.cgroups.values import Limit
from agentcg.daemon.engine import Owner
from agentcg.daemon.engine.fairness import Contender, cpu_weights, split
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.rounds import Rounds
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import CgroupError, CgroupGone
from agentcg.policies import CapRule

log = logging.getLogger(__name__)

_PAUSE_S = 0.2
_WORTH = 0.1  # a cpu.weight that changes by less is left as it is
_AT_WORK = 4  # a session at work gets so many times the processes of one that waits


class Shares:
    """Shares out anew, soon after something has changed: many changes cost one round."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rounds = Rounds(self._share_out, "shares", _PAUSE_S)
        self._counts_processes = False
        core.contenders_changed = self.changed

    def changed(self) -> None:
        """Sessions came, went or changed phase, or the policy did."""
        self._rounds.ask()

    def tick(self) -> None:
        """Processes come and go unannounced: where they are capped, look again."""
        if self._counts_processes:
            self.changed()

    def close(self) -> None:
        """Stop sharing out."""
        self._rounds.close()

    def _share_out(self) -> Iterator[None]:
        for session, limits in self._limits():
            self._apply(session, limits)
            yield

    def _limits(self) -> list[tuple[LiveSession, Limits]]:
        sessions = [s for s in self._core.registry.sessions.values() if not s.closing]
        whole = self._core.memory_bytes()
        owners = {owner for session in sessions for owner in session.owners}
        rules = {owner: self._core.cap_rule(owner, whole)[0] for owner in owners}
        weights = cpu_weights(
            map(_contender, sessions), {owner: rule.weight for owner, rule in rules.items()}
        )
        pids = self._pids(sessions, rules)
        for session in sessions:
            session.owner_weight = rules[session.owners[0]].weight
            session.caps_bytes = tuple(
                (owner, memory_max) for owner in session.owners
                if (memory_max := rules[owner].memory_max) is not None
            )  # fmt: skip
        return [
            (
                session,
                Limits(
                    memory_max=_lowest(
                        session.record.memory_max_bytes,
                        *(rules[owner].memory_max for owner in session.owners),
                    ),
                    cpu_weight=weights[session.name],
                    pids_max=_lowest(session.record.pids_max, *pids.get(session.name, ())),
                ),
            )
            for session in sessions
        ]

    def _pids(
        self, sessions: Iterable[LiveSession], rules: Mapping[Owner, CapRule]
    ) -> dict[str, list[int]]:
        """Bounds of each session's processes, so that those under a cap keep it together."""
        capped = {owner: rule.pids_max for owner, rule in rules.items() if rule.pids_max}
        self._counts_processes = bool(capped)
        bounds: dict[str, list[int]] = {}
        for owner, pids_max in capped.items():
            members = [session for session in sessions if owner in session.owners]
            used = {session.name: _processes(session) for session in members}
            weights = {session.name: _weight(session) for session in members}
            for name, bound in split(pids_max, used, weights).items():
                bounds.setdefault(name, []).append(max(bound, 1))
        return bounds

    def _apply(self, session: LiveSession, limits: Limits) -> None:
        if not self._core.registry.is_open(session):
            return
        try:
            self._write(session, limits)
        except CgroupGone:
            return  # its turn of the regular look tells
        except CgroupError as error:
            log.error("session %s does not share as it should: %s", session.name, error)

    def _write(self, session: LiveSession, limits: Limits) -> None:
        """What has changed, and is worth it."""
        before = session.shared or Limits()
        if _is_near(before.cpu_weight, limits.cpu_weight):
            limits = limits._replace(cpu_weight=before.cpu_weight)
        if _holds_more(session, limits.memory_max):
            limits = limits._replace(memory_max=before.memory_max)
        if limits == before:
            return
        changes = Limits(
            memory_max=None if limits.memory_max == before.memory_max else limits.memory_max,
            cpu_weight=None if limits.cpu_weight == before.cpu_weight else limits.cpu_weight,
            pids_max=None if limits.pids_max == before.pids_max else limits.pids_max,
        )
        session.cgroup.apply(self._core.enforceable(changes))
        session.shared = limits


def _contender(session: LiveSession) -> Contender:
    record = session.record
    return Contender(
        session.name, record.priority, record.cpu_weight, session.owners,
        active=session.calls_running > 0,
    )  # fmt: skip


def _weight(session: LiveSession) -> float:
    return session.record.weight * (_AT_WORK if session.calls_running else 1)


def _processes(session: LiveSession) -> int:
    try:
        return session.cgroup.get(PIDS_CURRENT) or 0
    except CgroupGone:
        return 0


def _lowest(*bounds: int | None) -> Limit:
    return min((bound for bound in bounds if bound is not None), default=MAX)


def _holds_more(session: LiveSession, bound: Limit | None) -> bool:
    """Whether the kernel would have to kill to bring it below `bound`: then it waits."""
    if not isinstance(bound, int) or (session.shared and session.shared.memory_max == bound):
        return False
    return (session.cgroup.get(MEMORY_CURRENT) or 0) > bound


def _is_near(before: int | None, now: int | None) -> bool:
    """Whether a change of weight is not worth writing."""
    if before is None or now is None:
        return False
    return abs(before - now) < before * _WORTH
