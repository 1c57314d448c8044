# SPDX-License-Identifier: Apache-2.0
"""How calls end, and what becomes of their leaves.

    declared ----------------------> ended ........... its leaf was empty
       |                               ^
       +--> lingering --(empties)------+   (call.gone)
    emptied, after a grace ------------+
    never used for a long time, oom ---+

The account is read before the leaf is removed: `memory.events` and the like die with it. The
leaf itself is removed after the answer has gone out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from itertools import islice

import msgspec

from agentcg.bpf import Curve
from agentcg.daemon.messages import Call, EndReason
from agentcg.daemon.service import bounds, views
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.core import Core, packed
from agentcg.daemon.service.learning import learn
from agentcg.daemon.service.records import CALL_MARK, encode
from agentcg.daemon.service.state import EndedCall, LiveCall
from agentcg.errors import CgroupError, CgroupGone, Conflict

log = logging.getLogger(__name__)

_BY_OTHERS: tuple[EndReason, ...] = ("oom", "killed")
"""Ends that no caller brought about; its word that the call has ended comes after."""
_DYING_S = 0.02  # processes that are dying are gone after a few ms


class Endings:
    """Ends calls and removes what they leave."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._leftovers: dict[str, LiveCall] = {}

    # --- What makes a call end ---

    def declare(
        self, call: LiveCall | EndedCall, exit_status: int | None, *, cancelled: bool = False
    ) -> Call:
        """End `call` as its caller says. Raises `Conflict` if that was said before."""
        if isinstance(call, EndedCall):
            return self._settle(call, exit_status)
        if call.state == "lingering":
            raise Conflict(f"call {call.id!r} has ended; its leftovers are still running")
        call.record = msgspec.structs.replace(call.record, exit_status=exit_status)
        call.cancelled = cancelled
        return self.end(call, "declared")

    def populated_changed(self, call: LiveCall) -> None:
        """The kernel says that the leaf was populated or emptied."""
        if self._core.registry.calls.get(call.id) is not call:
            return  # ended by what came before in the same batch of news
        try:
            populated = call.cgroup.events().populated
        except CgroupGone:
            populated = False  # removed by somebody else: nothing can live there any more
        call.populated = True
        if populated:
            call.emptied_at = None
        elif call.state == "lingering":
            self._finish(call)
        elif call.emptied_at is None:
            call.emptied_at = self._core.clock()
            loop = asyncio.get_running_loop()
            loop.call_later(bounds.EMPTIED_GRACE_S, self._end_if_empty, call)

    def _end_if_empty(self, call: LiveCall) -> None:
        if call.emptied_at is not None and self._is_running(call):
            self.end(call, "emptied")

    def tell_oom(self, call: LiveCall) -> None:
        """The OOM killer took something of the call; said once, whoever notices first."""
        if call.record.told_oom:
            return
        self._core.note(call, told_oom=True, told_over_grant=call.record.told_over_grant)
        victim = f" {call.victim}" if call.victim else ""
        self._core.publish(
            "call.oom", f"The kernel killed{victim} for memory.", call.session, call.id
        )

    def expire(self, call: LiveCall) -> None:
        """End a call into which nothing was placed for long."""
        if self._core.clock() - call.record.begun_at > bounds.UNUSED_CALL_S:
            self.drop_unused(call)

    def drop_unused(self, call: LiveCall) -> None:
        """End a call into which nothing was placed; others go on."""
        if call.state == "running" and not call.populated:
            self.end(call, "expired")

    def remove_leftovers(self, count: int) -> None:
        """Try again to remove leaves whose processes were dying, so many of them."""
        for call in [*islice(self._leftovers.values(), count)]:
            self._remove_leaf(call)

    def _is_running(self, call: LiveCall) -> bool:
        return self._core.registry.calls.get(call.id) is call and call.state == "running"

    # --- What then happens ---

    def end(self, call: LiveCall, reason: EndReason) -> Call:
        """End a running call: it is over, or lingers while processes are left in its leaf."""
        core = self._core
        core.tracking.catch_up()
        try:
            left = measure.processes_below(call.cgroup)
            usage = call.cgroup.usage(core.root.controllers)
        except CgroupGone:
            return self._lost(call)
        if measure.oom_kills(call, usage):
            self.tell_oom(call)
            reason = "oom"
        if call.killed is not None:
            reason = "killed"
        call.record = msgspec.structs.replace(
            call.record, ended_at=core.clock(), end_reason=reason,
            state="lingering" if left else "ended",
        )  # fmt: skip
        curve: Curve | None = None
        if left:
            counters = core.tracking.counters(call.cgroup.id)
            counted = core.counts.look(call.cgroup.id)
        else:
            counters, curve = core.tracking.untrack(call.cgroup.id)
            counted = core.counts.close(call.cgroup.id)
        used = measure.account(call, core.clock(), counters, counted, usage)
        call.memory_bytes = measure.held_bytes(usage.memory_stat)
        learn(core.future, call, usage, reason, core.clock())
        core.registry.stop_running(call)
        call.feedback = views.feedback_of(core, call, used, left)
        view = measure.call_view(call, used, left)
        if left:
            core.registry.commit(call, views.call_view(call).committed_bytes)
            call.cgroup.set_attr(CALL_MARK, encode(call.record))
        else:
            self._forget(call, view, curve)
        self._tell_ended(call, view)
        return view

    def close(self, call: LiveCall) -> None:
        """End whatever is left of a call whose session is closed; its leaf goes with it."""
        if call.state == "running":
            self.end(call, "session-closed")
        else:
            self._finish(call)

    def _lost(self, call: LiveCall) -> Call:
        """The leaf was removed behind our back; what it used is not known any more."""
        log.warning("%s was removed by somebody else", call.cgroup.path)
        was_running = call.state == "running"
        if was_running:
            self._core.registry.stop_running(call)
        ended_at = call.record.ended_at or self._core.clock()
        call.record = msgspec.structs.replace(
            call.record, state="ended", ended_at=ended_at,
            end_reason=call.record.end_reason or "emptied",
        )  # fmt: skip
        counted = self._core.counts.close(call.cgroup.id)
        used = msgspec.structs.replace(
            measure.fresh_account(), wall_s=max(0.0, ended_at - call.record.begun_at),
            scheduled=counted.scheduled, delayed=counted.delayed,
        )  # fmt: skip
        view = measure.call_view(call, used, 0)
        _, curve = self._core.tracking.untrack(call.cgroup.id)
        self._forget(call, view, curve)
        if was_running:
            self._tell_ended(call, view)
        else:
            self._tell_gone(call)
        return view

    def _tell_ended(self, call: LiveCall, view: Call) -> None:
        reason = view.end_reason or "declared"
        self._core.registry.ends[reason] += 1
        told = view.feedback[0] if view.feedback else None
        self._core.publish(
            "call.ended", told.text if told else f"{call.record.tool}: {reason}",
            call.session, call.id, told,
        )  # fmt: skip
        call.session.active_at = view.ended_at or self._core.clock()
        views.update_phase(self._core, call.session)
        self._core.waiting.room_changed()

    def _finish(self, call: LiveCall) -> None:
        """The last leftover of an ended call is gone: complete its record."""
        core = self._core
        try:
            usage = call.cgroup.usage(core.root.controllers)
        except CgroupGone:
            self._lost(call)
            return
        call.record = msgspec.structs.replace(call.record, state="ended")
        counters, curve = core.tracking.untrack(call.cgroup.id)
        counted = core.counts.close(call.cgroup.id)
        used = measure.account(call, core.clock(), counters, counted, usage)
        self._forget(call, measure.call_view(call, used, 0), curve)
        self._tell_gone(call)

    def _tell_gone(self, call: LiveCall) -> None:
        text = "The last process that the call left is gone."
        self._core.publish("call.gone", text, call.session, call.id)
        self._core.waiting.room_changed()

    def _forget(self, call: LiveCall, view: Call, curve: Curve | None) -> None:
        """From live to ended; the leaf goes right after the answer."""
        core = self._core
        core.watcher.forget(call)
        core.budgets.forget(call)
        core.registry.drop_call(call)
        core.keep_ended(
            EndedCall(
                call=view,
                owner=call.session.uid,
                session_id=call.session.record.id,
                curve=packed(curve, view.account.memory_peak_bytes is not None),
                session_cgroup=str(call.session.cgroup.path),
                settled=view.end_reason not in ("emptied", "expired")
                and (view.exit_status is not None or view.end_reason not in _BY_OTHERS),
                actions=tuple(call.actions),
            )
        )
        asyncio.get_running_loop().call_soon(self._remove_leaf, call)

    def _settle(self, ended: EndedCall, exit_status: int | None) -> Call:
        """A declared end that comes after the leaf emptied: it adds the exit status, once."""
        if ended.settled:
            raise Conflict(
                f"call {ended.call.id!r} has ended already ({ended.call.end_reason})",
                remedy="a call can be ended once; GET it for its account",
            )
        ended.settled = True
        reason = ended.call.end_reason
        ended.call = msgspec.structs.replace(
            ended.call, exit_status=exit_status,
            end_reason=reason if reason in _BY_OTHERS else "declared",
        )  # fmt: skip
        self._core.history.keep(ended)
        return ended.call

    # --- Leaves ---

    def _remove_leaf(self, call: LiveCall) -> None:
        """Remove an empty leaf; one whose processes are still dying is tried again."""
        try:
            if not call.session.closed:  # else it went with its session
                self._remove_directory(call)
        except CgroupGone:
            pass
        except CgroupError as error:
            if error.errno == errno.EBUSY:
                self._try_again(call)
                return
            log.error("a leaf is left behind: %s", error)
        self._leftovers.pop(call.id, None)
        call.cgroup.close()

    def _remove_directory(self, call: LiveCall) -> None:
        parent, name = call.session.cgroup, call.cgroup.path.name
        if call.id in self._leftovers and not call.cgroup.events().populated:
            parent.remove_tree(name, timeout_s=0)  # with cgroups that the tool made inside
        else:
            parent.remove_held(call.cgroup, timeout_s=0)

    def _try_again(self, call: LiveCall) -> None:
        """Soon for the first time, then by and by."""
        if self._leftovers.pop(call.id, None) is None:
            asyncio.get_running_loop().call_later(_DYING_S, self._remove_leaf, call)
        self._leftovers[call.id] = call  # behind the others
