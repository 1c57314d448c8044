# SPDX-License-Identifier: Apache-2.0
"""Calls that nobody declared: a leaf for each, its processes in it, and its end.

A process that is found runs already: it is never made to wait, and where it may have no leaf (the
session has as many calls as it may have) it goes on in the runtime. The number of a process may
belong to another by the time it is moved: it is moved by descriptor, and only if its birth and its
cgroup are those that were seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress

import msgspec

from agentcg.bpf import mask_secrets
from agentcg.bpf.masking import escape
from agentcg.cgroups import Cgroup, find_mount
from agentcg.daemon.engine.sights import Began, Key, Over
from agentcg.daemon.messages import BeginCall
from agentcg.daemon.service import bounds
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.accounts.tracking import wall_time
from agentcg.daemon.service.calls.calls import Calls
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.detection.servers import Servers
from agentcg.daemon.service.host.mover import Mover
from agentcg.daemon.service.host.peers import cgroup_of
from agentcg.daemon.service.host.procfs import start_ticks
from agentcg.daemon.service.records import CALL_MARK, encode
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession
from agentcg.errors import AgentcgError
from agentcg.policies import CallFacts

log = logging.getLogger(__name__)

COMMAND_MAX_CHARS = 4096  # as of a declared one
_MISSED_KEPT = 256


class Found:
    """Carries out what the classifier decides about the processes of sessions."""

    def __init__(self, core: Core, calls: Calls, endings: Endings, mover: Mover) -> None:
        self._core = core
        self._calls = calls
        self._endings = endings
        self._mover = mover
        self._servers = Servers(core)
        self._mount = str(find_mount().path)
        self._live: dict[tuple[str, Key], LiveCall] = {}
        self._missed: dict[tuple[str, Key], Began] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving: dict[str, asyncio.Task[None]] = {}  # first processes, by id of the call
        self.on_moved: Callable[[], None] = lambda: None
        self.unplaced = 0
        """Calls that could have no leaf and went on in the runtime."""

    # --- What the classifier decides ---

    def began(self, session: LiveSession, began: Began) -> None:
        """A call or a server of tools begins with a process that runs in the runtime."""
        held = self._hold(session, began.call)
        if held is None and began.ends_with_leader:
            declared = None if began.role == "mcp" else self._declared(session, began)
            if declared is None:
                self._miss(session, began)
            else:
                self._live[session.name, began.call] = declared
                self._place(declared, None, began)
            return
        try:
            if began.role == "mcp":
                leaf = self._servers.start(session, began.call, shown(began.command))
                if held is not None:
                    self._move(session, leaf, held, began.call.pid)
            else:
                call = self._declared(session, began) or self._create(session, began)
                self._live[session.name, began.call] = call
                self._place(call, held, began)
        except AgentcgError as error:
            if held is not None:
                os.close(held)
            self.unplaced += 1
            log.warning("%s: a call is left in the runtime: %s", session.name, error)

    def joins(self, session: LiveSession, process: Key, call: Key) -> bool:
        """One more process of a call that is still in the runtime; False if that call is over."""
        missed = self._missed.get((session.name, call))
        target = self._servers.find(session, call)
        if target is None and missed is None:
            live = self._live.get((session.name, call))
            if live is None or (
                live.state != "running" and not (live.record.ends_with_leader and live.populated)
            ):
                return False
            target = live.cgroup
        held = self._hold(session, process)
        if held is None:
            return True
        if target is None and missed is not None:
            # Its first process was gone before the leaf; what that one left gets it.
            del self._missed[session.name, call]
            target = self._create(session, missed).cgroup
        if target is not None:
            self._move(session, target, held, process.pid)
        return True

    def over(self, session: LiveSession, over: Over) -> None:
        """The first process of a call ended in the runtime, or its shell goes on to another."""
        began = self._missed.pop((session.name, over.call), None)
        if began is not None:
            self._record_missed(session, began, over)
            return
        call = self._live.get((session.name, over.call))
        if call is not None:
            self.end(call, over.status)

    def exited(self, call: LiveCall, pid: int, status: int) -> None:
        """A process ended in the leaf of `call`."""
        record = call.record
        if record.leader == pid and record.ends_with_leader and record.found != "declared":
            self.end(call, status)

    def end(self, call: LiveCall, status: int | None) -> None:
        """End a found call that runs; not before it is known when its first process was in its
        leaf: the thread that moves it may tell that after the kernel has told of its end."""
        moving = self._moving.get(call.id)
        if moving is not None:
            moving.add_done_callback(lambda _: self.end(call, status))
            return
        if self._core.registry.calls.get(call.id) is call and call.state == "running":
            call.record = msgspec.structs.replace(call.record, exit_status=status)
            self._endings.end(call, "exited")

    def forgotten(self, session: LiveSession) -> list[Key]:
        """First processes of calls of `session` that ended since this was asked."""
        gone = [
            key for key, call in self._live.items()
            if key[0] == session.name and call.state != "running"
        ]  # fmt: skip
        for key in gone:
            del self._live[key]
        return [key for _, key in gone]

    def closed(self, session: LiveSession) -> None:
        """Forget a session: nobody asks for what of it has ended any more."""
        for kept in (self._live, self._missed):
            for key in [key for key in kept if key[0] == session.name]:
                del kept[key]

    def restore(self, session: LiveSession) -> list[Key]:
        """First processes of the found calls that an earlier daemon left running."""
        keys = []
        for call in session.calls.values():
            record = call.record
            if record.leader is not None and record.state == "running":
                key = Key(record.leader, record.leader_start_ticks)
                self._live[session.name, key] = call
                keys.append(key)
        return keys

    def tick(self) -> None:
        """Remove leaves of servers that have ended; end jobs of which nothing came to a leaf."""
        now = self._core.clock()
        for call in list(self._live.values()):
            record = call.record
            if (
                not (record.ends_with_leader or call.populated)
                and record.found != "declared"
                and now - record.begun_at > bounds.TICK_S
            ):
                self.end(call, None)
        self._reap(now)
        for session in self._core.registry.sessions.values():
            self._servers.tick(session)

    def _reap(self, now: float) -> None:
        """Kill what calls left running for longer than the policy lets it."""
        for call in list(self._core.registry.calls.values()):
            record = call.record
            if record.state == "lingering" and record.ended_at is not None:
                facts = CallFacts(
                    record.tool, record.command, record.category, call.session.record.priority,
                    self._core.memory_bytes(),
                )  # fmt: skip
                most_s = self._core.policy.policy.call(facts).linger_max_s
                if most_s is not None and now - record.ended_at > most_s:
                    log.info("call %s: what it left for %g s is killed", record.id, most_s)
                    call.cgroup.kill()

    # --- Calls ---

    @staticmethod
    def _declared(session: LiveSession, began: Began) -> LiveCall | None:
        """A call that was declared without a process, by a hook or an SDK: this is its process."""
        commands = kept_forms(began.command)
        for call in session.calls.values():
            record = call.record
            if call.populated or record.leader is not None or record.state != "running":
                continue
            if record.found == "declared" and (
                record.command in commands
                or (began.reference is not None and record.reference == began.reference)
            ):
                return call
        return None

    def _create(self, session: LiveSession, began: Began) -> LiveCall:
        begun_at = wall_time(began.time_ns)
        call = self._calls.create_found(session, _request(began), begun_at, began)
        self._live[session.name, began.call] = call
        return call

    def _place(self, call: LiveCall, held: int | None, began: Began) -> None:
        record = call.record
        call.record = msgspec.structs.replace(
            record,
            leader=began.call.pid,
            leader_start_ticks=began.call.start_ticks,
            ends_with_leader=began.ends_with_leader,
            found="hook" if record.found == "declared" else record.found,
            client=began.client,
        )
        if held is not None:
            task = self._move(
                call.session, call.cgroup, held, began.call.pid,
                lambda at_ns: self._placed(call, began, at_ns),
            )  # fmt: skip
            if task is not None:
                self._moving[call.id] = task
                task.add_done_callback(lambda _: self._moving.pop(call.id))
        # After the move, which is in a hurry.
        call.cgroup.set_attr(CALL_MARK, encode(call.record))

    @staticmethod
    def _placed(call: LiveCall, began: Began, at_ns: int) -> None:
        call.populated = True
        call.record = msgspec.structs.replace(
            call.record, placed_after_us=(at_ns - began.time_ns) // 1000
        )

    def _move(
        self, session: LiveSession, leaf: Cgroup, held: int, pid: int,
        placed: Callable[[int], None] = lambda _: None,
    ) -> asyncio.Task[None] | None:  # fmt: skip
        """Move the process of `held` and close it; `placed` hears when it was there, if it had
        not ended. At once where that is quick, else by a task in the background."""
        if self._mover.quick:
            try:
                with suppress(AgentcgError):
                    placed(self._mover.place_now(session, leaf, held, pid))
                    self.on_moved()
            finally:
                os.close(held)
            return None

        async def moving() -> None:
            try:
                with suppress(AgentcgError):
                    placed(await self._mover.place(session, leaf, held, pid))
                    self.on_moved()
            finally:
                os.close(held)

        task = asyncio.get_running_loop().create_task(moving())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _hold(self, session: LiveSession, process: Key) -> int | None:
        """A descriptor of the process, if it still runs in the session's runtime."""
        try:
            held = os.pidfd_open(process.pid)
        except OSError:
            return None
        born, where = start_ticks(process.pid), cgroup_of(process.pid, self._mount)
        if born == process.start_ticks and where == str(session.runtime.path):
            return held
        os.close(held)
        return None

    # --- Calls that ended before anybody could place them ---

    def _miss(self, session: LiveSession, began: Began) -> None:
        if began.role == "mcp":
            return
        self._missed[session.name, began.call] = began
        while len(self._missed) > _MISSED_KEPT:
            del self._missed[next(iter(self._missed))]

    def _record_missed(self, session: LiveSession, began: Began, over: Over) -> None:
        """The account of a call that never was in a leaf: what it used is in the runtime's."""
        core = self._core
        begun_at, ended_at = wall_time(began.time_ns), wall_time(over.time_ns)
        view = self._calls.missed_view(session, _request(began), begun_at, began)
        used = msgspec.structs.replace(
            measure.fresh_account(), wall_s=max(0.0, ended_at - begun_at), processes=1, execs=1,
            first_exit_status=over.status,
        )  # fmt: skip
        view = msgspec.structs.replace(
            view, state="ended", ended_at=ended_at, end_reason="exited",
            exit_status=over.status, account=used,
        )  # fmt: skip
        core.keep_ended(
            EndedCall(
                call=view,
                owner=session.uid,
                session_id=session.record.id,
                session_cgroup=str(session.cgroup.path),
                settled=True,
            )
        )
        core.registry.ends["exited"] += 1
        core.count_call(session)
        core.publish("call.begun", f"{view.tool}: found", session, view.id)
        core.publish("call.ended", f"{view.tool}: ended before it had a leaf", session, view.id)


def shown(text: str) -> str:
    """A command as it may be kept and shown: printable, bounded, secrets masked."""
    return mask_secrets(escape(text[:COMMAND_MAX_CHARS]))[:COMMAND_MAX_CHARS]


def kept_forms(text: str) -> frozenset[str]:
    """How a call of this command may be kept: as it was declared, with its line breaks, or as it is
    shown. Masking takes long enough that it is not for each call of a session."""
    return frozenset((shown(text), mask_secrets(text[:COMMAND_MAX_CHARS])))


def _request(began: Began) -> BeginCall:
    reference = None if began.reference is None else escape(began.reference)[:128]
    return BeginCall(tool=began.tool, command=shown(began.command), reference=reference)
