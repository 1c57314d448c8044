# SPDX-License-Identifier: Apache-2.0
"""What the processes of a session leave behind even if they are killed: shared memory.

One array of signed 64-bit words per session, written by the agent and its calls and read by the
one who watches. Every word has one writer, so nothing is locked: a call writes only its own record
and its own part of the latencies. Times are CLOCK_MONOTONIC in nanoseconds; 0 is "not yet".
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum

from agentcg.daemon.replay.plan import Plan

_WORD = 8
_HEADER = 8
_RECORD = 5


class AgentWord(IntEnum):
    """Words of the header."""

    START = 0  # written by the watcher: the run begins at this time
    READY = 1  # the base is held
    BEGUN = 2
    DONE = 3  # the plan is played to its end


class CallWord(IntEnum):
    """Words of a call's record."""

    BEGUN = 0  # the agent wants the call
    STARTED = 1  # its process exists (after `begin` was answered)
    ENDED = 2  # its process is gone
    STATUS = 3  # as a shell has it: 128 + n for signal n
    UNGOVERNED = 4  # 1: the daemon did not take the call, it ran without it


class Board:
    """The shared memory of one session; inherited as a file descriptor."""

    def __init__(self, descriptor: int, plan: Plan) -> None:
        self.descriptor = descriptor
        self._latencies = _layout(plan)
        size_bytes = self._latencies[-1] * _WORD
        self._words = memoryview(mmap.mmap(descriptor, size_bytes)).cast("q")

    @classmethod
    def create(cls, plan: Plan) -> Board:
        """A new board with room for `plan`, charged to the caller's cgroup."""
        descriptor = os.memfd_create("agentcg-replay")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(bytes(_layout(plan)[-1] * _WORD))  # touched here: no session pays for it
        return cls(descriptor, plan)

    def close(self) -> None:
        """Close the descriptor; the memory goes when nobody looks at it any more."""
        os.close(self.descriptor)

    def agent(self, word: AgentWord) -> int:
        """One word of the header."""
        return self._words[word]

    def set_agent(self, word: AgentWord, value: int) -> None:
        """Write one word of the header."""
        self._words[word] = value

    def call(self, index: int, word: CallWord) -> int:
        """One word of a call's record."""
        return self._words[_HEADER + index * _RECORD + word]

    def set_call(self, index: int, word: CallWord, value: int) -> None:
        """Write one word of a call's record."""
        self._words[_HEADER + index * _RECORD + word] = value

    def latencies(self, part: int) -> memoryview[int]:
        """The latencies of one part (0: the agent, n: call n - 1), in order of allocation.

        A positive word is nanoseconds; a negative one is minus the time at which an allocation
        began that has not ended; 0 was not begun.
        """
        return self._words[self._latencies[part] : self._latencies[part + 1]]

    def all_latencies(self) -> list[int]:
        """The words of all parts."""
        return self._words[self._latencies[0] : self._latencies[-1]].tolist()


def _layout(plan: Plan) -> list[int]:
    """Where the latencies of each part begin, and where the last ends."""
    calls = plan.calls
    offsets = [_HEADER + _RECORD * len(calls)]
    for allocations in [plan.agent_allocations, *(call.allocations for call in calls)]:
        offsets.append(offsets[-1] + allocations)
    return offsets
