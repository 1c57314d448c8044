# SPDX-License-Identifier: Apache-2.0
"""What follows from an agent's hooks, and from shells that place themselves.

A hook is told about its peer by the kernel: which process asked, and so which agent it belongs to
and which session that lives in. An agent that lives in none gets one of its own, as one that is
adopted (but for containers, whose agents stay where they are).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec

from agentcg.daemon.engine.classify import command_of
from agentcg.daemon.hooks import Event, read, say
from agentcg.daemon.hooks.words import refused
from agentcg.daemon.messages import (
    BeginCall,
    Call,
    ChangeCall,
    DeclareIntent,
    EndCall,
    Feedback,
    HookAnswer,
    HookEvent,
    OpenSession,
    PlaceShell,
)
from agentcg.daemon.service.calls.calls import Calls
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.detection.adopting import CLIENT_LABEL, Adopting
from agentcg.daemon.service.detection.found import kept_forms
from agentcg.daemon.service.host import procfs
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.intents.intents import Intents
from agentcg.daemon.service.records import SESSION_MARK, encode
from agentcg.daemon.service.sessions import Sessions, came_from
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import CgroupError, Conflict, InvalidInput, LimitExceeded, NotFound
from agentcg.policies.signatures import ProcessFacts, Signatures

_GENERATIONS = 8  # from a hook to its agent: shells between them
_SHELL = re.compile(r"-?r?(bash|sh|dash|zsh|ash|ksh)[0-9.]*")
_ODD = re.compile(r"[^A-Za-z0-9]+")
_DYING_LOOKS, _DYING_LOOK_S = 8, 0.003
ENDED_SEARCHED = 256  # latest ended calls among which one is looked for by its reference


class Hooks:
    """What the API can do for programs that clients run."""

    def __init__(
        self,
        core: Core,
        parts: tuple[Sessions, Calls, Intents, Endings],
        adopting: Adopting | None,
        signatures: Signatures | None,
        catch_up: Callable[[], None],
    ) -> None:
        self._core = core
        self._sessions, self._calls, self._intents, self._endings = parts
        self._adopting = adopting
        self._signatures = signatures
        self._catch_up = catch_up
        self._told: dict[str, None] = {}
        self._beginning: set[tuple[str, str]] = set()  # session and reference of calls that wait

    async def told(
        self, peer: Peer, client: str, event: Event, *, session: str | None, wait_s: float,
        stay: bool, abandoned: bool = False,
    ) -> HookAnswer | None:  # fmt: skip
        """Do what follows from an event of `client`; what to tell its model, if anything.

        `session`: the name of the agent's session, where it has been given one. `stay`: leave
        the agent in the cgroup that it is in. `abandoned`: the hook has given up, its client goes
        on without it, and whose child it was cannot be seen: nothing is begun or opened.
        """
        if event.kind == "other":
            return None
        if abandoned and (event.kind == "begin" or not self._is_known(client, event, session)):
            return None
        if event.kind == "closed":
            await self._closed(peer, client, event, session)
            return None
        home = await self._home(peer, client, event, session, stay=stay)
        self._drop_denied(home, event)
        if event.kind == "begin":
            return say(event, await self._begin(peer, home, event, wait_s))
        if event.kind == "end":
            return say(event, await self._end(peer, home, event))
        if event.kind == "prompt":
            self._intents.declare(peer, home.name, DeclareIntent(kind="generating"))
        elif event.kind == "stopped":
            self._intents.declare(peer, home.name, DeclareIntent(kind="idle"))
        return None

    async def place(self, peer: Peer, request: PlaceShell) -> Call:
        """Put a shell (the peer, or its parent) into a call: that which was declared, or a new one.

        Raises `NotFound` where neither the request nor the cgroup of the peer names a session, and
        `Conflict` for a shell that is no tool's.
        """
        if peer.locate() is None:
            raise Conflict("the process that asks has ended")  # its pid may be another's by now
        pid = _shell_above(peer.pid) if request.parent else peer.pid
        if request.call is not None:
            return await self._calls.change(peer, request.call, ChangeCall(pid=pid))
        home = self._core.home(peer) if request.session is None else None
        if home is None:
            if request.session is None:
                raise NotFound("this process is in no session", remedy="name one: $AGENTCG_SESSION")
            home = self._core.authorised(peer, request.session)
        tool, command = self._shown(home, request.command)
        known = self._declared(home, pid, command)
        if known is not None:
            return await self._calls.change(peer, known.id, ChangeCall(pid=pid))
        begin = BeginCall(tool=tool, command=command, pid=pid, wait_s=request.wait_s)
        return await self._calls.begin(peer, home.name, begin)

    # --- Sessions ---

    async def _home(
        self, peer: Peer, client: str, event: Event, named: str | None, *, stay: bool
    ) -> LiveSession:
        """The session of the agent; opened, with the agent in it, where there is none."""
        home = self._core.home(peer)
        if home is not None and named is None:
            return home
        name = named or name_of(client, event.conversation)
        known = name in self._core.registry.sessions
        if known and event.kind != "opened":  # its agent was there when it was opened
            return self._core.authorised(peer, name)
        agent = None if stay or home is not None else self._agent(peer, client)
        pids = [] if agent is None or came_from(peer, [agent]).container else [agent]
        request = OpenSession(
            name=name,
            labels={CLIENT_LABEL: client},
            pids=pids,
        )
        if pids and self._adopting is not None:
            return await self._adopting.take(peer, request, agent or 0, closes=not known)
        await self._sessions.open(peer, request)
        session = self._core.registry.session(request.name)
        if not (known or named):  # nobody else knows of it, and a client may end without a word
            session.record = msgspec.structs.replace(session.record, distant=True)
            session.cgroup.set_attr(SESSION_MARK, encode(session.record))
        return session

    def _is_known(self, client: str, event: Event, named: str | None) -> bool:
        """Whether there is a session of the agent's by name."""
        return (named or name_of(client, event.conversation)) in self._core.registry.sessions

    def _agent(self, peer: Peer, client: str) -> int | None:
        """The agent that the peer is a hook of: the nearest ancestor that its signature fits."""
        pid = procfs.parent(peer.pid)
        for _ in range(_GENERATIONS):
            seen = procfs.sight(pid, 0) if pid is not None and pid > 1 else None
            if seen is None or self._signatures is None or seen.uid != peer.uid:
                return None
            facts = ProcessFacts(seen.comm, seen.argv, seen.environment, seen.sid == seen.pid)
            found = self._signatures.agent(facts)
            if found is not None and found.name == client:
                return seen.pid
            pid = seen.parent
        return None

    async def _closed(self, peer: Peer, client: str, event: Event, named: str | None) -> None:
        """The agent is about to end. A session that was opened for it alone goes with it."""
        home = self._core.home(peer)
        name = named or name_of(client, event.conversation)
        known = name in self._core.registry.sessions
        if home is not None:
            self._drop_denied(home, event)
            self._intents.declare(peer, home.name, DeclareIntent(kind="idle"))
        elif named is not None and known:
            self._drop_denied(self._core.authorised(peer, name), event)
        elif known:
            try:
                await self._sessions.close(peer, name, kill=False)
            except Conflict:
                return  # somebody lives there

    # --- Calls ---

    async def _begin(
        self, peer: Peer, home: LiveSession, event: Event, wait_s: float
    ) -> list[Feedback]:
        known = self._live(home, event.reference)
        if known is not None and known.state == "running":
            return []  # told twice: hooks of user and project settings both run
        one = (home.record.id, event.reference)
        if one in self._beginning:
            return []  # at the same time, and the other waits for room
        request = BeginCall(
            tool=event.tool, command=event.command, reference=event.reference, wait_s=wait_s
        )
        self._beginning.add(one)
        try:
            await self._calls.begin(peer, home.name, request)
        except LimitExceeded as error:
            return [refused(error.message, error.remedy)]
        finally:
            self._beginning.discard(one)
        begun = self._live(home, event.reference)
        if begun is not None:
            begun.hooked_by = (event.conversation, event.agent)
        return []  # what there is to say of its wait is said at its end

    async def _end(self, peer: Peer, home: LiveSession, event: Event) -> list[Feedback]:
        self._catch_up()  # the command may have begun and ended within a moment
        call = self._live(home, event.reference)
        if call is not None:
            call.hooked_by = None
        if call is not None and call.state == "running" and event.detached:
            return []  # it runs on in the background, in its call
        if call is not None:
            await self._left(call)
        if call is not None and call.state == "running":
            request = EndCall(exit_status=event.exit_status, cancelled=event.cancelled)
            over: Call | None = self._calls.end(peer, call.id, request)
        else:
            over = self._over(home, event.reference)
        if over is None or over.id in self._told:
            return []
        self._told_of(over.id)
        left = call is not None and await self._left(call)
        return [one for one in over.feedback if one.code != "lingering" or left]

    def _drop_denied(self, home: LiveSession, event: Event) -> None:
        """End calls of which nothing can come any more. A client does not tell of a command that
        its user, a rule or another hook has denied; it goes on with its turn, or ends it."""
        over = [call for call in home.calls.values() if _is_over(call, event)]
        if over:
            self._catch_up()  # it was not denied, and has begun a moment ago
        for call in over:
            self._endings.drop_unused(call)

    async def _left(self, call: LiveCall) -> bool:
        """Whether something of the call is left. Its client has seen the command end: what dies of
        that, or is on its way into the leaf, is gone in a moment."""
        try:
            for _ in range(_DYING_LOOKS):
                if self._core.registry.calls.get(call.id) is not call:
                    return False  # its leaf is removed
                if not (call.session.placing or call.cgroup.events().populated):
                    return False
                await asyncio.sleep(_DYING_LOOK_S)
        except CgroupError:
            return False
        return True

    @staticmethod
    def _live(home: LiveSession, reference: str) -> LiveCall | None:
        """The latest call with this reference that has a leaf: it runs, or it lingers."""
        for call in reversed(list(home.calls.values())):
            if call.record.reference == reference:
                return call
        return None

    def _over(self, home: LiveSession, reference: str) -> Call | None:
        """The latest call with this reference, which ended by itself: its process did."""
        live = self._live(home, reference)
        if live is not None:
            return self._calls.view(live)
        for number, ended in enumerate(reversed(self._core.registry.ended)):
            if number >= ENDED_SEARCHED:
                break
            if ended.call.reference == reference and ended.session_id == home.record.id:
                return ended.call
        return None

    def _told_of(self, call_id: str) -> None:
        """What was said of a call is not said again."""
        self._told[call_id] = None
        while len(self._told) > ENDED_SEARCHED:
            del self._told[next(iter(self._told))]

    def _declared(self, home: LiveSession, pid: int, command: str) -> LiveCall | None:
        """The call that this shell runs, if its client has declared it or it was found."""
        commands, born = kept_forms(command), procfs.start_ticks(pid)
        for call in home.calls.values():
            record = call.record
            if record.state != "running":
                continue
            if record.leader == pid and record.leader_start_ticks == born:
                return call
            unplaced = record.leader is None and not call.populated and record.found == "declared"
            if unplaced and record.command in commands:
                return call
        return None

    def _shown(self, home: LiveSession, line: str) -> tuple[str, str]:
        """The tool, and the agent's command in what its client makes of it for the shell.

        Raises `Conflict` for a shell that the client starts for itself.
        """
        argv = ("bash", "-c", line)
        label = home.record.labels.get(CLIENT_LABEL, "")
        client = None if self._signatures is None else self._signatures.by_name.get(label)
        rule = None if client is None else client.judge(ProcessFacts("bash", argv))
        if rule is not None and rule.role in ("helper", "hook"):
            raise Conflict(f"a shell that {label} starts for itself is no call")
        if rule is None or rule.role != "call":
            return "shell", line
        return rule.tool, command_of(rule, argv)


def event_of(given: HookEvent) -> Event:
    """What matters of what a client gave its hook."""
    return read(given.given())


def _is_over(call: LiveCall, event: Event) -> bool:
    """Whether its client goes on without a word about `call`, which its hook has declared."""
    if call.hooked_by is None:
        return False
    if event.kind == "batch":
        return call.record.reference in event.batch
    if event.kind == "closed":
        return call.hooked_by[0] == event.conversation
    turn_over = event.kind in ("prompt", "stopped")
    return turn_over and call.hooked_by == (event.conversation, event.agent)


def _shell_above(pid: int) -> int:
    """The shell that started a process. Raises `Conflict` where its parent is none: a shell that
    was killed meanwhile leaves its children to whatever reaps them, such as an agent or systemd.
    """
    parent = procfs.parent(pid)
    seen = None if parent is None else procfs.sight(parent, 0)
    if seen is None or not _SHELL.fullmatch(seen.comm):
        raise Conflict("the process that asks was started by no shell")
    return seen.pid


def name_of(client: str, conversation: str) -> str:
    """The name of a session that is opened for a conversation of `client`.

    Raises `InvalidInput` where the client names none.
    """
    slug = _ODD.sub("", conversation)[-12:]  # ids of Codex begin with the time: UUIDs, version 7
    if not slug:
        raise InvalidInput("session_id", conversation, "the client's id of its session")
    return f"{client}-{slug}"[:63]
