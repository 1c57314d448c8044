#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What decisions cost, and how that grows with the number of running calls.

    python tests/bench/engine.py [--json FILE]

- `grant_us`: one begin, with all other sessions as one number; must not grow with the host.
- `committed_us_per_call`: the walk over every session and call, which gives that number.
- `protect_us_per_session`: sharing protection out anew.
- `ladder_us_per_call`: one decision under pressure, by room in percent of the bound, after 40
  decisions that led there; 50 is the relaxed case, which must cost nothing. `met_a_tenth` and
  `met_all`: so many calls are held up at their leases at that moment and ask for more.
- `policy_us`: the rules alone; `categorise_us`: reading a command alone.

Ten calls a session. Times are CPU time, the best of five repetitions (the least disturbed one).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    CallView,
    HostView,
    Protection,
    SessionView,
    committed_bytes,
    grant,
    protect,
)
from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import CallLoad, Load, SessionLoad, State
from agentcg.daemon.engine.leases import backstop_bytes
from agentcg.policies import DEFAULT, CallFacts, categorise

MIB = 1 << 20
SIZES = (100, 1000, 10_000)
CALLS_PER_SESSION = 10
REPETITIONS = 5
ROOMS_PERCENT = (50, 18, 3, 2, 1)
COMMAND = "cd /srv/project && PYTHONPATH=. timeout 600 python3 -m pytest -x tests/unit 2>&1 | tail"
REQUEST = CallRequest("Bash", COMMAND, wait_s=10.0)


def best_us(what: Callable[[], Any], rounds: int) -> float:
    """Microseconds of one `what()`; what others do on the machine meanwhile does not count."""
    seconds = timeit.repeat(what, number=rounds, repeat=REPETITIONS, timer=time.process_time)
    return min(seconds) / rounds * 1e6


def sessions_with(calls: int) -> list[SessionView]:
    """Sessions that run so many calls between them."""
    host = HostView(memory_total_bytes=1 << 40)
    empty = SessionView("s", "low")
    admitted = grant(DEFAULT, host, empty, REQUEST, (), 0.0)
    assert isinstance(admitted, Admit)
    return [
        SessionView(
            name=f"s{number}",
            priority=("high", "normal", "low")[number % 3],  # type: ignore[arg-type]
            runtime_held_bytes=200 * MIB,
            calls=tuple(
                CallView(f"c{call}", "test", "running", 0.0, admitted.grant, call * 40 * MIB)
                for call in range(CALLS_PER_SESSION)
            ),
        )
        for number in range(calls // CALLS_PER_SESSION)
    ]


def leased(number: int, call: int, met: int) -> CallLoad:
    """A call over its grant, with a lease; the first `met` of a session are held up at theirs."""
    held = (call + 1) * 40 * MIB
    lease = held if call < met else held + 16 * MIB
    return CallLoad(
        f"{number}-{call}", call, True, held, 32 * MIB,
        lease_bytes=lease, ceiling_bytes=backstop_bytes(lease, None), met=call < met,
    )  # fmt: skip


def ladder_us(calls: int, room_percent: int, met: int) -> float:
    """One decision of the ladder, all calls over their grants, `met` of ten at their leases."""
    sessions = tuple(
        SessionLoad(
            f"s{number}",
            ("high", "normal", "low")[number % 3],
            ("thinking", "calling")[number % 2],
            200 * MIB, 300 * MIB, 100 * MIB,
            tuple(leased(number, call, met) for call in range(CALLS_PER_SESSION)),
            peak_bytes=4096 * MIB,
        )
        for number in range(calls // CALLS_PER_SESSION)
    )  # fmt: skip
    bound = 1 << 40
    load = Load(bound, bound * (100 - room_percent) // 100, bound, 0.0, 0, sessions)
    state = State()
    for tenth in range(40):
        state = decide(load, state, tenth / 10).state
    return best_us(lambda: decide(load, state, 4.0), 5)


def measure(calls: int) -> dict[str, Any]:
    """Figures on a host that runs so many calls."""
    sessions = sessions_with(calls)
    host = HostView(
        memory_total_bytes=1 << 40, committed_bytes=committed_bytes(sessions), calls_running=calls
    )
    wishes = [Protection(s.name, s.priority, 200 * MIB) for s in sessions]
    return {
        "calls": calls,
        "ladder_us_per_call": {
            name: {
                str(room): round(ladder_us(calls, room, met) / calls, 3) for room in ROOMS_PERCENT
            }
            for name, met in (("met_none", 0), ("met_a_tenth", 1), ("met_all", CALLS_PER_SESSION))
        },
        "grant_us": best_us(lambda: grant(DEFAULT, host, sessions[-1], REQUEST, (), 0.0), 2000),
        "committed_us_per_call": best_us(lambda: committed_bytes(sessions), 5) / calls,
        "protect_us_per_session": best_us(lambda: protect(wishes, 1 << 40), 20) / len(sessions),
    }


def report() -> dict[str, Any]:
    """Everything, with the machine that it was measured on."""
    facts = CallFacts("Bash", COMMAND, "test", "low", 1 << 40)
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "policy_us": best_us(lambda: DEFAULT.call(facts), 5000),
        "categorise_us": best_us(lambda: categorise.__wrapped__("Bash", COMMAND), 5000),
        "by_calls": [measure(calls) for calls in SIZES],
    }


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    figures = report()
    text = json.dumps(figures, indent=2)
    if options.json is not None:
        options.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
