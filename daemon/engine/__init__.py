# SPDX-License-Identifier: Apache-2.0
"""Decisions as pure functions: the same input gives the same answer.

Nothing here reads a file, a clock or a random number; time comes in as `now` (seconds since
the epoch). So the engine runs alike in the daemon, in tests on literals and in a simulator.
Every function is total on what its types allow and linear in what it is given.

- `model`: what the engine sees of host, sessions and calls
- `need`, `intents`, `history`: what a call is taken to need, and on whose word
- `forecast`, `occupancy`: how long calls will run and what they will hold, one by one and together
- `admission`, `caps`, `family`: whether there is room for it, and whether it waits
- `queue`: the order of those that wait
- `offers`: what an intent is answered, and what is held for it
- `grants`: what a call gets, at its begin and while it runs
- `fairness`: shares of CPU among sessions of users and tenants
- `protection`: how `memory.low` is shared out among sessions
- `ladder`: what is done, and to whom, when all sessions together run out of memory
- `idle`: what is asked back from agents that wait
- `phases`: what a session is doing
- `feedback`, `timeline`: what the agent is told about a call
"""

from agentcg.daemon.engine.admission import room_bytes
from agentcg.daemon.engine.feedback import is_plain, of_call
from agentcg.daemon.engine.grants import grant, renegotiate, widen
from agentcg.daemon.engine.limits import lowest_limit
from agentcg.daemon.engine.model import (
    Admit,
    CallRequest,
    CallView,
    Cap,
    Decision,
    Ending,
    HostView,
    IntentView,
    Leaving,
    Owner,
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
    "Cap",
    "Decision",
    "Ending",
    "HostView",
    "IntentView",
    "Leaving",
    "Owner",
    "PhaseView",
    "Protection",
    "Refuse",
    "SessionView",
    "Wait",
    "committed_bytes",
    "grant",
    "is_plain",
    "lowest_limit",
    "of_call",
    "phase",
    "protect",
    "renegotiate",
    "room_bytes",
    "wanted",
    "widen",
]
