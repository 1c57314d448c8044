# SPDX-License-Identifier: Apache-2.0
"""Decisions as pure functions: the same input gives the same answer.

Nothing here reads a file, a clock or a random number; time comes in as `now` (seconds since
the epoch). So the engine runs alike in the daemon, in tests on literals and in a simulator.
Every function is total on what its types allow and linear in what it is given.

- `model`: what the engine sees of host, sessions and calls
- `need`, `intents`: what a call is taken to need, and on whose word
- `admission`: whether there is room for it, and whether it waits
- `grants`: what a call gets, at its begin and while it runs
- `protection`: how `memory.low` is shared out among sessions
- `ladder`: what is done, and to whom, when all sessions together run out of memory
- `phases`: what a session is doing
- `feedback`: what the agent is told about a call
"""

from agentcg.daemon.engine.admission import room_bytes
from agentcg.daemon.engine.feedback import of_call
from agentcg.daemon.engine.grants import grant, renegotiate, widen
from agentcg.daemon.engine.model import (
    Admit,
    CallRequest,
    CallView,
    Decision,
    Ending,
    HostView,
    IntentView,
    Refuse,
    SessionView,
    Wait,
    committed_bytes,
)
from agentcg.daemon.engine.phases import PhaseView, phase
from agentcg.daemon.engine.protection import Protection, protect, wanted

__all__ = [
    "Admit",
    "CallRequest",
    "CallView",
    "Decision",
    "Ending",
    "HostView",
    "IntentView",
    "PhaseView",
    "Protection",
    "Refuse",
    "SessionView",
    "Wait",
    "committed_bytes",
    "grant",
    "of_call",
    "phase",
    "protect",
    "renegotiate",
    "room_bytes",
    "wanted",
    "widen",
]
