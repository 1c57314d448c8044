# SPDX-License-Identifier: Apache-2.0
"""From what the kernel reports of sessions' processes to calls: the loop's side of detection."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

from agentcg.bpf import Detection, Sight
from agentcg.daemon.engine.classify import Classifier
from agentcg.daemon.engine.sights import Began, Joins, Key, Over
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.detection.adopting import CLIENT_LABEL, Adopting
from agentcg.daemon.service.detection.found import Found
from agentcg.daemon.service.detection.servers import adopt
from agentcg.daemon.service.host import procfs
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError, BpfError
from agentcg.policies.signatures import Signatures

log = logging.getLogger(__name__)


class Detecting:
    """Watches the runtime of every session. Without BPF calls are those that are declared.

    `reason`: why nothing is detected, None while it is.
    """

    def __init__(
        self, core: Core, found: Found, adopting: Adopting, signatures: Signatures
    ) -> None:
        self._core = core
        self._found = found
        self._signatures = signatures
        self._adopting = adopting
        self._detection: Detection | None = None
        self._classifiers: dict[str, Classifier] = {}
        self._sessions: dict[int, LiveSession] = {}  # by id of the runtime leaf
        self._hears_each: set[str] = set()  # names of those of which each execution is told at once
        found.on_moved = self._soon
        self.reason: str | None = "it needs what accounting by BPF needs"

    async def start(self, pins: Path) -> None:
        """Attach off the loop, then watch what there is."""
        self.reason = "programs are being attached"
        loop = asyncio.get_running_loop()
        scope = self._core.root.cgroup.path
        try:
            detection = await loop.run_in_executor(None, partial(Detection.open, scope, pins))
            detection.read_variables(self._signatures.variables)
            detection.look_for(self._signatures.agent_names)
            detection.tell_at_once(self._signatures.names_at_once)
        except (BpfError, OSError) as error:
            self.reason = str(error)
            log.warning("calls are not detected: %s", error)
            return
        self._detection, self.reason = detection, None
        sessions = list(self._core.registry.sessions.values())
        for old in detection.watched() - {session.runtime.id for session in sessions}:
            detection.unwatch(old)
        for session in sessions:
            adopt(session)
            self.opened(session)
        self._adopting.survey()
        loop.add_reader(detection.fileno(), self.catch_up)

    def close(self) -> None:
        """Let go; what happens meanwhile waits in the kernel for the next daemon."""
        if self._detection is not None:
            asyncio.get_running_loop().remove_reader(self._detection.fileno())
            self._detection.close()
            self._detection = None

    @property
    def lost(self) -> int:
        """Sights that found the ring full."""
        return 0 if self._detection is None else self._detection.lost

    # --- Sessions ---

    def opened(self, session: LiveSession) -> None:
        """Watch a session, and get to know who lives in it."""
        if self._detection is None or session.closed:
            return
        try:
            self._detection.watch(session.runtime.id, each=session.name in self._hears_each)
        except BpfError as error:
            log.warning("calls of %s are not detected: %s", session.name, error)
            return
        if session.name not in self._classifiers:
            label = session.record.labels.get(CLIENT_LABEL)
            classifier = Classifier(self._signatures, label)
            for key in self._found.restore(session):
                classifier.restore(key)
            self._classifiers[session.name] = classifier
            self._sessions[session.runtime.id] = session
        self._meet(session)
        self._listen(session)

    def closed(self, session: LiveSession) -> None:
        """Forget a session."""
        self._found.closed(session)
        if self._classifiers.pop(session.name, None) is not None and self._detection is not None:
            self._detection.unwatch(session.runtime.id)
            self._sessions.pop(session.runtime.id, None)
            self._hears_each.discard(session.name)

    def _meet(self, session: LiveSession) -> None:
        """Processes that were there before they were watched, parents first."""
        leaf = session.runtime.id
        sights = [procfs.sight(pid, leaf) for pid in session.runtime.procs()]
        known = [sight for sight in sights if sight is not None]
        for sight in sorted(known, key=lambda sight: (sight.start_ticks, sight.pid)):
            if not self._classifiers[session.name].knows(Key(sight.pid, sight.start_ticks)):
                self._observe(session, sight)

    def _listen(self, session: LiveSession) -> None:
        """Be told at once of each program that may begin a call; of all, where any may."""
        each = self._classifiers[session.name].needs_each
        if self._detection is None or each == (session.name in self._hears_each):
            return
        self._detection.watch(session.runtime.id, each=each)
        if each:
            self._hears_each.add(session.name)
            self._soon()  # what came before this was told
        else:
            self._hears_each.discard(session.name)

    # --- Sights ---

    def _soon(self) -> None:
        """Catch up in the next turn of the loop: births are not told by themselves, and a process
        that was moved may have had children before."""
        asyncio.get_running_loop().call_soon(self.catch_up)

    def catch_up(self) -> None:
        """Take what the kernel has written so far."""
        if self._detection is None:
            return
        for sight in self._detection.poll():
            if not sight.watched:
                self._adopting.saw(sight)
                continue
            session = self._sessions.get(sight.cgroup_id)
            if session is None or session.closing:
                continue
            try:
                self._introduce(session, sight)
                self._observe(session, sight)
                self._listen(session)
            except AgentcgError as error:
                log.warning("%s: %s", session.name, error)

    def _introduce(self, session: LiveSession, sight: Sight) -> None:
        """Get to know a parent that came into the runtime without being seen."""
        parent = Key(sight.parent, sight.parent_start_ticks)
        if sight.kind == "gone" or self._classifiers[session.name].knows(parent):
            return
        if sight.parent in session.runtime.procs():
            self._meet(session)

    def _observe(self, session: LiveSession, sight: Sight) -> None:
        classifier = self._classifiers[session.name]
        for decision in classifier.observe(sight):
            if isinstance(decision, Began):
                self._found.began(session, decision)
            elif isinstance(decision, Over):
                self._found.over(session, decision)
                classifier.forget(decision.call)
            elif isinstance(decision, Joins) and not self._found.joins(
                session, decision.process, decision.call
            ):
                classifier.forget(decision.call)
                self._again(session, classifier, sight)

    def _again(self, session: LiveSession, classifier: Classifier, sight: Sight) -> None:
        """The call that a process would have joined is over: it may begin one of its own."""
        for decision in classifier.observe(sight):
            if isinstance(decision, Began):
                self._found.began(session, decision)

    async def tick(self) -> None:
        """Catch up, and forget what has ended."""
        self.catch_up()
        self._found.tick()
        await self._adopting.tick()
        for name, classifier in self._classifiers.items():
            session = self._core.registry.sessions.get(name)
            if session is not None:
                for key in self._found.forgotten(session):
                    classifier.forget(key)
